"""Servers of pictures: one of our own, and the judgement of any."""
