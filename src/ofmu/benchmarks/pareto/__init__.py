"""Quality against cost: every method at every budget, everything counted, beside the floor and the original."""
