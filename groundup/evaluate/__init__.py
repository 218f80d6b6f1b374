"""Evaluation of a model: figures with their interval and number of cases."""
