"""Evaluation suites, one file each: what a suite needs, how it measures, its typed result, and what that displays."""
