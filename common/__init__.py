"""What every room needs: errors for users, plug-in discovery, files that are whole or absent."""
