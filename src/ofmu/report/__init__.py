"""Scores to tables, plots and one self-contained page: plain data in, nothing known of models."""
