"""Mistakes of the user, told in one sentence, and the exit status they end with."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

EXIT_SOME_FAILED = 1  # the work was done, but some inputs could not be used
EXIT_USER_ERROR = 2  # nothing was done: wrong path, label, key or value (argparse uses 2 as well)
EXIT_INTERRUPTED = 130  # Ctrl-C, the shell's convention of 128 + SIGINT


class UserError(Exception):
    """Something only the user can mend. The message is one sentence: what was found, what was expected, what to do."""


def give_up_stdout() -> None:
    """What is printed from now on goes nowhere: Python would try, and fail, to write the rest at the very end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def run_command(command: Callable[[], int | None]) -> int:
    """Call `command` and turn a `UserError` or Ctrl-C into one line on stderr and an exit status.

    Returns:
        `command`'s own status (None counts as 0), `EXIT_USER_ERROR` or `EXIT_INTERRUPTED`.
    """
    try:
        return command() or 0
    except UserError as error:
        if os.environ.get("RANK", "0") == "0":  # once, not once a process under `accelerate launch`
            print(f"error: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except BrokenPipeError:  # as of `infer.py … | head`: whoever read the output has enough
        give_up_stdout()
        return EXIT_SOME_FAILED
    except KeyboardInterrupt:
        print("interrupted: what was finished is kept", file=sys.stderr)
        return EXIT_INTERRUPTED
