"""Metrics and their uncertainty: one metric a file, the statistics and the FLOP counter beside them."""
