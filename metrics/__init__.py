"""What the figures are and how sure they are: one metric a file, the statistics and the FLOP counter beside them."""
