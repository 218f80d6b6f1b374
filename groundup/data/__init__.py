"""Data: raw files, or things made, to documents, to packed shards, to the batch of any step."""
