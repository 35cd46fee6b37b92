"""Models, oracles, the loop, checkpoints and the store: all that knows about devices, processes and files."""
