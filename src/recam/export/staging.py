"""A folder of results that is there whole or not at all."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recam.errors import StoreError
from recam.files import TEMPORARY_ENDING

_LAST = (".txt", ".json", ".xml")
"""Lists and descriptions are moved after the files that they name."""


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """Yield an empty folder; its files are in `target` when the block ends, and `target` is as it was if it fails.

    A target that is not there appears at once. One that is there keeps its other files, and gets each new one whole.

    Raises:
        StoreError: the target is a file, or may not be written.
    """
    target = target.resolve()
    place = target if target.is_dir() else target.parent
    stage = place / f".{target.name[:100]}.{uuid.uuid4().hex[:12]}{TEMPORARY_ENDING}"
    try:
        try:
            if target.exists() and not target.is_dir():
                raise NotADirectoryError(0, "it is a file")
            stage.mkdir(parents=True)
        except OSError as error:
            raise StoreError(
                f"{target} cannot be written to ({error.strerror}). Name another folder with -o."
            ) from error
        yield stage
        try:
            _move(stage, target)
        except OSError as error:
            raise StoreError(f"{target} cannot be written to ({error.strerror}). Run the command again.") from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _move(stage: Path, target: Path) -> None:
    if not target.exists():
        stage.rename(target)
        return
    files = [path for path in sorted(stage.rglob("*")) if path.is_file()]
    for path in sorted(files, key=lambda path: path.suffix in _LAST):
        place = target / path.relative_to(stage)
        place.parent.mkdir(parents=True, exist_ok=True)
        path.replace(place)
