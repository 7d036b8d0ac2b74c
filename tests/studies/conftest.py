"""Studies of a tiny model, in this process."""

from sweeping import surroundings, sweep, tiny_spec  # noqa: F401 - fixtures
