"""Sharing of denoising steps between prompts: trees, schedules and plans. NumPy only."""
