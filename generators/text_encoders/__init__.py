"""Text encoders, one a file: what prompts are clustered by when a plan is made without their model."""
