"""One table a file, found by name; others come through the entry-point group ``reusebench.tables``."""
