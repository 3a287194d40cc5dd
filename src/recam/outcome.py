"""How a command ends: its errors as one line for a person, and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from recam.crash_log import run_folder, write_crash_log
from recam.errors import RecamError, first_line
from recam.progress import console

UNEXPECTED = 70
"""Exit code of an error that is none of ours; 2 is that of ours, 130 that of Ctrl-C."""
INTERRUPTED = 130


def run_command(command: Callable[[], object]) -> None:
    """Run a command: a `RecamError` becomes its text and exit code 2; anything else a line, a log that holds the
    traceback, and 70."""
    # Threads of OpenMP that wait for work spin for a while, which doubles the time of a training where other programs
    # want the cores. A short spin costs an idle machine a tenth (docs/results.md). It counts when PyTorch is loaded, so
    # not later than here.
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    run_folder.set(None)
    try:
        try:
            command()
        finally:
            sys.stdout.flush()  # a reader that has gone is found out here, not while Python ends
    except RecamError as error:
        _refuse(type(error).__name__, str(error), 2)
    except KeyboardInterrupt:
        _refuse("Interrupted", _RESUME, INTERRUPTED)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:  # Typer has caught Ctrl-C, and prints nothing
            _refuse("Interrupted", _RESUME, INTERRUPTED)
        raise
    except BrokenPipeError:  # as of `recam check … | head -1`: nobody reads it any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        log = write_crash_log(error)
        where = (
            f"The traceback is in {log}: please send it along"
            if log
            else "No log could be written: please send the command along"
        )
        message = f"{type(error).__name__}: {first_line(error)}. recam did not expect this. {where} when you report it."
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            message = (
                f"out of memory ({first_line(error)}). Take smaller batches, images or fewer workers. {where} if that"
                " does not help."
            )
        _refuse("Unexpected error", message, UNEXPECTED)


_RESUME = "to resume, run the same command."


def _refuse(what: str, message: str, code: int) -> NoReturn:
    with suppress(OSError, ValueError):  # nobody reads standard error any more
        console.print(f"[bold red]{what}[/bold red]: ", end="", highlight=False)
        # Names of files may hold bytes that are no text.
        console.print(
            message.encode("utf-8", "backslashreplace").decode(), markup=False, highlight=False, soft_wrap=True
        )
    sys.exit(code)
