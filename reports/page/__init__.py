"""The report as one HTML file: it needs no network, reads from disk, prints, and runs nothing that a prompt says."""
