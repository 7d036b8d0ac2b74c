"""Studies, one a file: a model's denoising, looked at step by step or node by node."""
