"""How each part of the miniature was trained: one part a file, each rerunnable and resumable."""
