"""One process at a time in a run folder; a killed process leaves no lock."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from recam.errors import StoreError

LOCK = "run.lock"


@contextmanager
def hold_lock(
    root: Path,
    name: str = LOCK,
    unwritable: str = "Name another folder with -o.",
    taken: str = "another process ({other}) is working in {root}. Wait for it, or name another folder.",
    waits: bool = False,
    shared: bool = False,
) -> Iterator[None]:
    """Keep other processes from working in a folder, which is made where there is none.

    Args:
        name: of the file that is locked.
        unwritable, taken: what to do, and what is said, where it cannot be.
        waits: until another process has let go, instead of raising.
        shared: beside others that share it; one that does not is kept out.

    Raises:
        StoreError: another process works there, or it cannot be written.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        file = (root / name).open("a+")
    except OSError as error:
        raise StoreError(f"{root} cannot be written ({error.strerror}). {unwritable}") from error
    with file:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if waits else fcntl.LOCK_NB))
        except OSError as error:
            file.seek(0)
            raise StoreError(taken.format(other=file.read().strip() or "unknown", root=root)) from error
        with suppress(OSError):  # a full disk: the lock holds all the same
            file.truncate(0)
            file.write(f"process {os.getpid()}")
            file.flush()
        _held.add(file)
        try:
            yield
        finally:
            _held.discard(file)
        file.truncate(0)


_held: set[IO[str]] = set()


def _let_go() -> None:
    """In a worker that begins as a copy of this process: it must not hold the run when this process has been killed."""
    while _held:
        _held.pop().close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
