"""Data: records and images with stable ids, read lazily from the formats people already have.

`read` opens files and hub data sets, `select` names the forget set in them, `encode` turns text into token
batches, `images` reads pictures; `tofu`, `digits` and `people` are ready-made sets.
"""
