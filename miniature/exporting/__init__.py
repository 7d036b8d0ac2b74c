"""Trained parts in the formats of stock libraries."""
