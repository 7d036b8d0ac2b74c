"""Caches inside one trajectory, one a file: what diffusers ships for reusing work between the steps of a picture."""
