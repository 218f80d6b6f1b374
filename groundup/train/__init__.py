"""Training: the training loop, losses and objectives, optimisers, checkpoints, and distributed training."""
