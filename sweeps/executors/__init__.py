"""Where plans are denoised: one way a file, found by name."""
