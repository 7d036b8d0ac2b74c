"""What the model card claims, measured: one subject a file."""
