"""Clustering strategies, one a file, found by name: features in, tree out."""
