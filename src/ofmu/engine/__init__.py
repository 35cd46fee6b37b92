"""What runs a method: models, oracles, the loop, checkpoints and the store."""
