"""The leaves of the model in C, for serving on a processor; everything works without them, more slowly."""
