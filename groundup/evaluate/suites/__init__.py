"""Evaluation suites, one file each: requirements, measurement, typed result and display."""
