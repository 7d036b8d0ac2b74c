"""Audits: the model card's claims, measured, one subject a file."""
