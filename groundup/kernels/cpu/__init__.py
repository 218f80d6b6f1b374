"""The kernel backend for CPUs, in C; everything works without it, more slowly."""
