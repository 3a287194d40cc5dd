"""Files that are written whole or not at all, and folders that can be written to."""

from __future__ import annotations

import errno
import lzma
import os
import struct
import tokenize
import unicodedata
import uuid
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from recam.errors import DataError, RecamError, StoreError

TEMPORARY_ENDING = ".tmp"
ARRAY_ERRORS: tuple[type[Exception], ...] = (
    OSError, ValueError, KeyError, TypeError, IndexError, EOFError, ArithmeticError, MemoryError, RuntimeError,
    SyntaxError,
    tokenize.TokenError, struct.error, zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError,
)  # fmt: skip
"""What NumPy and ``zipfile`` raise for a damaged file: its head is Python text, and may claim any memory, method or
password."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def atomic_write(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what is written there becomes `path` when the block ends without an error.

    The folder is made where it is missing. The temporary name ends in ``.tmp``, so nothing a killed process leaves is
    ever taken for a result; writers that choose a format by the ending must be passed it.

    Raises:
        StoreError: the disk or a quota is full, the file is too large, the folder may not be written, a part of the
            path is a file, or the name cannot be used; `path` is as it was before.
    """
    path = Path(path)
    temporary = path.with_name(_temporary_name(path.name))
    try:
        _make(path.parent, path, temporary)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except StoreError:
        raise
    except Exception as error:
        if reason := _explain(path, temporary, error):
            raise StoreError(reason) from error
        raise
    finally:
        with suppress(OSError, ValueError):  # it would hide what went wrong before
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all. Raises as `atomic_write` does."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def named_file(folder: Path, name: str) -> Path:
    """``folder/name``, or the file there whose name is equal to it: what a Mac has written has ``é`` as two characters,
    not as one."""
    forms = (folder / form for form in (name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)))
    return next((path for path in forms if path.exists()), folder / name)


def require_folder(path: Path | str) -> None:
    """Refuse a folder that cannot be made or written to before any work is done for it. Nothing is made.

    Raises:
        StoreError: `path`, or what it would lie in, is a file or may not be written; or the name cannot be used.
    """
    path = Path(path)
    try:
        place = path
        while not os.path.lexists(place) and place != place.parent:
            place = place.parent
        place.stat()
    except (OSError, ValueError) as error:
        if isinstance(error, NotADirectoryError):
            raise StoreError(_is_a_file(path)) from error
        raise StoreError(f"{path} cannot be used as a folder ({_reason(error)}). Choose another folder.") from error
    if not place.is_dir():
        raise StoreError(_is_a_file(place))
    if not os.access(place, os.W_OK | os.X_OK):
        raise StoreError(f"may not write to {place}; give write permission or choose another folder.")
    too_long = next((part for part in path.parts if len(os.fsencode(part)) > _longest_name(place)), None)
    if too_long:
        raise StoreError(
            f"the name {too_long[:40]}… is longer than this disk allows ({_longest_name(place)} bytes). Choose a"
            " shorter one."
        )


def checked_path(path: Path | str, family: type[RecamError] = DataError) -> Path:
    """`path`, looked up in the file system once: later look-ups such as ``is_file`` return False instead of failing.

    Raises:
        RecamError: of the given `family`, for a name that no file can have: too long, with a NUL character, or in no
            encoding.
    """
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass
    except (OSError, ValueError) as error:
        shown = repr(str(path)[:80])
        raise family(f"{shown} cannot be the name of a file ({_reason(error)}). Name another path.") from error
    return Path(path)


def expand_home(path: Path | str) -> Path:
    """`checked_path` with ``~`` and ``~user`` replaced. Raises `DataError`, also for a user that is not known."""
    try:
        return checked_path(Path(path).expanduser())
    except RuntimeError as error:
        raise DataError(f"{path}: no user of that name has a home folder here. Write the whole path.") from error


def _make(folder: Path, path: Path, temporary: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise StoreError(
            _explain(path, temporary, error) or f"{path} cannot be written ({_reason(error)}). Choose another name."
        ) from error


def _temporary_name(name: str) -> str:
    """Beside a name of up to 255 bytes there must be room for the temporary one; where there is not, it is named by
    itself."""
    mark = f"{uuid.uuid4().hex[:12]}{TEMPORARY_ENDING}"
    with suppress(UnicodeEncodeError):
        if len(os.fsencode(name)) > 200:
            return f".{mark}"
    return f".{name}.{mark}"


def _explain(path: Path, temporary: Path, error: Exception) -> str:
    """What an error in writing `path` means and what to do; empty for one that is not about writing.

    Also in the words of writers outside Python, whose errors carry no errno (safetensors, PyTorch).
    """
    number = error.errno if isinstance(error, OSError) else None
    says = str(error)

    def is_one_of(*numbers: int) -> bool:
        return number in numbers if number is not None else any(os.strerror(one) in says for one in numbers)

    again = "nothing was damaged; free space and run the same command again"
    if is_one_of(*_FULL):
        what = "disk quota used up" if is_one_of(errno.EDQUOT) else "disk full"
        return f"{what} while writing {path}; {again}"
    if is_one_of(errno.EFBIG):
        return (
            f"{path} is larger than this disk or a limit (ulimit -f) allows; nothing was damaged. Choose another folder"
            " or raise the limit."
        )
    if number is None:
        return ""
    other = getattr(error, "filename", None)
    if other and Path(other) not in (temporary, path, *path.parents):
        return (
            f"{path} cannot be written, as {other} fails ({os.strerror(number)}). Put it right and run the same command"
            " again."
        )
    if number in _FORBIDDEN:
        return f"may not write {path} ({os.strerror(number)}); give write permission or choose another folder"
    if number in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
        return _is_a_file(path.parent) if number != errno.EISDIR else f"{path} is a folder; name a file."
    return f"{path} cannot be written ({_reason(error)}). Choose another folder."


def _is_a_file(path: Path) -> str:
    """``X is a file; name a folder.`` of the part of `path` that is one."""
    found = next((one for one in (path, *path.parents) if _is_no_folder(one)), path)
    return f"{found} is a file; name a folder."


def _is_no_folder(path: Path) -> bool:
    with suppress(OSError, ValueError):
        return path.exists() and not path.is_dir()
    return False


def _longest_name(folder: Path) -> int:
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (OSError, ValueError, AttributeError):  # another system
        return 255


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
