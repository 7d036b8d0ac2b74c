"""Shared by every room: errors for users, plug-in discovery, files that are whole or absent."""
