"""The entry point: every outcome becomes an exit code, every failure one message on stderr."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence

from ofmu.cli.exits import DONE, INTERRUPTED, MISTAKE, OURS, is_full_disk
from ofmu.cli.say import ERRORS, hush

PAUSE = 1.0  # seconds that a silent process lives on after an error, so that the one that speaks can say it


def main(tokens: Sequence[str] | None = None) -> None:
    """Run the command line and exit: never a traceback for a user's mistake. OFMU_DEBUG=1 shows all of them."""
    sys.exit(run(sys.argv[1:] if tokens is None else tokens))


def run(tokens: Sequence[str]) -> int:
    """The exit code of one command."""
    from cyclopts import CycloptsError

    from ofmu.cli.app import app
    from ofmu.engine.loop import Diverged
    from ofmu.errors import UserError

    try:
        _launched(tokens)
        found = app(list(tokens), exit_on_error=False, print_error=False, result_action="return_value")
        return found if isinstance(found, int) else DONE
    except CycloptsError as error:
        _say(error, str(error))
        ERRORS.print("Run the command with --help to see what it expects.", markup=False)
        return MISTAKE
    except KeyboardInterrupt as error:
        _say(error, "interrupted")
        return INTERRUPTED
    except UserError as error:
        _say(error, str(error))
        return OURS if is_full_disk(error) else MISTAKE
    except Diverged as error:
        _say(error, str(error))
        return 3
    except OSError as error:
        if not is_full_disk(error):
            raise
        _say(error, f"no space left on the disk ({error.filename or 'while writing'}); free some and try again")
        return OURS


def _launched(tokens: Sequence[str]) -> None:
    """Among several processes only the first speaks, and only one command makes sense."""
    from ofmu.engine.launched import world_size
    from ofmu.errors import UserError

    size = world_size()
    if size > 1 and os.environ.get("RANK", "0") != "0":
        hush()
    if size > 1 and list(tokens[:1]) != ["unlearn"]:
        raise UserError(
            f"{size} processes were launched, but only `ofmu unlearn` works in several; run this without launcher"
        )


def _say(error: BaseException, message: str) -> None:
    if os.environ.get("OFMU_DEBUG"):
        raise error
    if ERRORS.quiet:
        time.sleep(PAUSE)
        return
    ERRORS.print(f"ofmu: {message}", markup=False)
    for note in getattr(error, "__notes__", []):
        ERRORS.print(note, markup=False)
