"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import unicodedata
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recam.errors import StoreError

TEMPORARY_ENDING = ".tmp"


@contextmanager
def atomic_write(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what is written there becomes `path` when the block ends without an error.

    The folder is made where it is missing. The temporary name ends in ``.tmp``, so nothing a killed process leaves behind is ever
    taken for a result; writers that choose a format by the ending need it told.

    Raises:
        StoreError: the disk is full or the folder may not be written; `path` is as it was before.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}{TEMPORARY_ENDING}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except Exception as error:
        if _is_disk_full(error):
            raise StoreError(f"disk full while writing {path}; nothing was damaged; free space and run the same command again") from error
        if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise StoreError(f"may not write {path} ({error.strerror}); give write permission or choose another folder") from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all. Raises as `atomic_write` does."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def named_file(folder: Path, name: str) -> Path:
    """``folder/name``, or the file there whose name is equal to it: what a Mac has written has ``é`` as two characters, not as one."""
    forms = (folder / form for form in (name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)))
    return next((path for path in forms if path.exists()), folder / name)


def _is_disk_full(error: Exception) -> bool:
    """Also in the words of writers outside Python, whose errors carry no errno (safetensors, PyTorch)."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return os.strerror(errno.ENOSPC) in str(error)
