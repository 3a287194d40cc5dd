"""What escapes every net of ours, kept as a file: the traceback that a maker needs and nobody else wants on the
screen."""

from __future__ import annotations

import os
import platform
import shlex
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from contextvars import ContextVar
from importlib.metadata import version
from pathlib import Path

run_folder: ContextVar[Path | None] = ContextVar("run_folder", default=None)
"""Where a log is kept if that is a run by then; else below the system's folder of temporary files."""


def write_crash_log(error: BaseException) -> Path | None:
    """Write command, versions and the whole traceback to a new file that its owner alone may read; never fails itself.

    Returns:
        the file; None where none could be written.
    """
    try:
        text = _describe(error)
    except Exception:  # an error that cannot even be printed
        text = f"{type(error).__name__} (its traceback cannot be formatted)\n"
    folder = run_folder.get()
    with suppress(Exception):
        if folder and (folder / "run.json").is_file() and (path := _write(folder, text)):
            return path
    with suppress(Exception):
        return _write(Path(tempfile.gettempdir()), text)
    return None


def _describe(error: BaseException) -> str:
    trace = "".join(traceback.format_exception(error))
    head = {
        "time": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "command": shlex.join(sys.argv),
        "folder": os.getcwd(),  # noqa: PTH109 (text is all that is wanted)
        "recam": version("recam"),
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    return "\n".join([*(f"{name}: {value}" for name, value in head.items()), "", trace])


def _write(folder: Path, text: str) -> Path | None:
    descriptor, name = tempfile.mkstemp(prefix="recam-error-", suffix=".log", dir=folder)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError:  # a full disk: half a log is no log
        Path(name).unlink(missing_ok=True)
        return None
    return Path(name)
