"""A recipe as stages, and their runs."""
