"""What targets are worth: every source of targets against the losses of a retrained model, with its cost."""
