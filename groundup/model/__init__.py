"""The model: config and cost, the transformer, cross-entropy of its head, and loading and saving of weights."""
