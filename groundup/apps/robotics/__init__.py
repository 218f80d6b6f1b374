"""Robots: their interface, guard and episodes."""
