"""The simulated sorting line."""
