"""Models, the loop, training, checkpoints, the store: everything that knows a device or a disk."""
