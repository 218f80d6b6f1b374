"""Layouts that other tools read."""
