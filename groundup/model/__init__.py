"""The model: its config and cost, the transformer, the loss of its head, and weights in and out."""
