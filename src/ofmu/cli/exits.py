"""What the exit codes mean."""

from __future__ import annotations

import errno

DONE, OURS, MISTAKE, DIVERGED, NOT_REACHED, GATE_MISSED, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130

MEANINGS = """\
Exit codes: 0 done; 1 an error of ours, or no space on the disk; 2 a mistake in what was given (the message \
says which); 3 the loss stopped being a number (the last good state is kept); 4 done and written, but \
short of what the method asks for; 5 done and written, but a --gate was missed; 130 \
interrupted (go on with --resume)."""


def is_full_disk(error: BaseException | None) -> bool:
    """Whether an error, or one that caused it, is "no space left"."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__
    return False
