"""Generation: the key/value cache, sampling, and the engine that batches prompts. No HTTP here."""
