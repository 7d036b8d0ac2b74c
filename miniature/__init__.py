"""The embedded default: a small world of captioned pictures, how its models were trained, and their checkpoints."""
