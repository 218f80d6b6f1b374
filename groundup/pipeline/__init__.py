"""The pipeline: the stages of a recipe, which of them are stale, and running them."""
