"""Evaluation: what a model is worth, in figures that come with their interval and their number of cases."""
