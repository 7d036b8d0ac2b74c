"""Combiners, one a file: how a cluster is conditioned on its prompts."""
