"""A browser for the leaderboard."""

from browsing import chromium, visit

__all__ = ["chromium", "visit"]
