"""Who shares which denoising steps with whom: trees, schedules and plans. NumPy only."""
