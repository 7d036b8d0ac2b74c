"""Executors of groups of jobs: one way to denoise them a file, found by name."""
