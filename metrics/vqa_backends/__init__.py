"""Models that say how likely "yes" is the answer to a question about a picture, one kind a file."""
