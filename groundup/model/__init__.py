"""The model: its shape and cost, the trunk, the loss of its head, and weights in and out."""
