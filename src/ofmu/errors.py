"""The one error that a user's mistake raises: a single readable message, never a traceback on the command line."""


class UserError(Exception):
    """Something the user gave cannot be used: the message says what was found, what is expected, and the remedy."""
