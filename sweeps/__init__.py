"""From what a user asks for to a run folder of records: spec, grid, store, runner."""
