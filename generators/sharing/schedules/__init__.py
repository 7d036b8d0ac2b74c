"""Sharing schedules, one a file, found by name."""
