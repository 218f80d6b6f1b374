"""The kernel backend for CPUs, in C; without it the model runs on plain torch, more slowly."""
