"""What any network needs to run: devices, caches, states, checkpoints, metrics."""
