"""The errors a user can meet. Each states what is wrong, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

LISTED_NAMES = 10
"""Names that a message lists, of however many are known."""


class RecamError(Exception):
    """Base of every error raised on purpose; the command line prints its text without a traceback, whatever file names
    it holds."""

    def __str__(self) -> str:
        return printable(super().__str__())


class DataError(RecamError):
    """A data set, an image or a mask that cannot be used as it is."""


class RecipeError(RecamError, ValueError):
    """A setting, or a combination of settings, that makes no sense."""


class StoreError(RecamError):
    """A run folder that cannot be read or written: locked, full, damaged, or not ours."""


class WeightsError(RecamError):
    """Network weights that are missing, unsafe to load, or do not fit the network."""


class ExportError(RecamError):
    """A network or masks that cannot be written in another format, or that come out different there."""


class DependencyError(RecamError):
    """An optional package that is not installed; the message names the extra that brings it."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a data set.

    Attributes:
        kind: short machine-readable name, e.g. ``"missing-image"``.
        where: the file, the row or the id concerned.
        message: what is wrong and what to do, one sentence for a person.
    """

    kind: str
    where: str
    message: str

    def as_dict(self) -> dict[str, str]:
        """The problem as a JSON-ready dictionary."""
        return asdict(self)


def data_error(
    problems: Sequence[Problem], limit: int = 20, rest: str = "`recam check --json` lists them all"
) -> DataError:
    """One `DataError` that reports all problems at once, the first `limit` of them in full, and of the others where to
    find them."""
    lines = [f"{len(problems)} problem{'s' * (len(problems) != 1)}:"]
    lines += [f"  [{p.kind}] {p.where}: {p.message}" for p in problems[:limit]]
    if len(problems) > limit:
        lines.append(f"  … and {len(problems) - limit} more; {rest}.")
    return DataError("\n".join(lines))


def first_line(error: Exception, limit: int = 200) -> str:
    """The message of another package's error, short enough to stand in a sentence of ours: its first line, or its kind
    where it is empty."""
    return str(error).strip().partition("\n")[0][:limit] or type(error).__name__


def printable(text: object) -> str:
    """A text, or a path, as any terminal and UTF-8 file takes it: bytes of a file name that are no UTF-8 are
    escaped."""
    try:
        return str(text).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a surrogate pair, as JSON can hold one
        return str(text).encode("utf-8", "backslashreplace").decode("utf-8")


def near_matches(name: str, known: Iterable[str], listing: str = "") -> str:
    """`" Did you mean 'x'?"` where known names are close, else what is known: at most ten names, the nearest first
    where there are more.

    Args:
        listing: what lists all of them, e.g. ``"`timm.list_models()`"``; named where there are more than ten.
    """
    options, name = sorted(known), name[:100]  # comparing takes time with the length
    close = difflib.get_close_matches(name, options, n=3, cutoff=0.6)
    more = f" {listing} lists all {len(options)}." if listing and len(options) > LISTED_NAMES else ""
    if close:
        return f" Did you mean {' or '.join(repr(c) for c in close)}?{more}"
    if len(options) <= LISTED_NAMES:
        # A name with a comma would look like two.
        return f" Known: {', '.join(repr(name) if ',' in name else name for name in options)}." if options else ""
    nearest = difflib.get_close_matches(name, options, n=LISTED_NAMES, cutoff=0.0)
    return f" Nearest of {len(options)} known: {', '.join(nearest)}.{more}"
