"""Kernel backends: the operations of the forward pass for one type of processor."""
