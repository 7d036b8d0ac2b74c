"""Studies of a tiny model, in this process."""

from sweeping import surroundings, tiny_spec  # noqa: F401 - fixtures
