"""The command line, thin: it parses, wires the rooms below, and prints."""
