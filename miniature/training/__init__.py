"""The training of each part of the miniature: one part a file, each rerunnable and resumable."""
