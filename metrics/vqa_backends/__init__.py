"""VQA backends: models that give the probability of "yes" to a question about a picture, one kind a file."""
