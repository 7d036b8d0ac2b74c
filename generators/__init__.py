"""Everything up to the pictures: prompts, conditioning, clustering, sharing plans, model families, the executor."""
