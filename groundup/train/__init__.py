"""Training: one loop, its objective, the optimisers, checkpoints, and more than one process."""
