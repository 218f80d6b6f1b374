"""How a model sees."""
