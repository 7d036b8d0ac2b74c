"""Studies, one a file: what a model does, looked at step by step or node by node."""
