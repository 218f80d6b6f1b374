"""The leaves of the trunk in C, for serving on a processor; everything works without them, more slowly."""
