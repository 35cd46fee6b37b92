"""ofmu: make a trained model forget chosen data, keep everything else, and prove it."""

__version__ = "0.1.0"
