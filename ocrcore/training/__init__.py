"""Training: the loop, its state, optimizers, checkpoints, metrics."""
