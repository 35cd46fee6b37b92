"""Attacks under test: on models whose answer is known beforehand, and on the models of the other benchmarks."""
