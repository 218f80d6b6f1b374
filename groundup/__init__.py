"""Grow foundation models from the ground up: raw files to a model you own, with its record."""
