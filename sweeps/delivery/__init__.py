"""Pictures as they are handed over: their format, names, what stands in their files, where they go, and their table."""
