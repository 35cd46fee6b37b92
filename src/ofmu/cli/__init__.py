"""The command line: words to calls, and every failure to one readable message and an exit code."""

from ofmu.cli.main import main

__all__ = ["main"]
