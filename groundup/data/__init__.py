"""Data: raw files, or generated documents, to clean documents, to packed shards, to the batch of any step."""
