"""Which split does what, by its name; and splitting a data set that brings no split."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Literal

from recam.labels import nfc

SplitRole = Literal["train", "val", "test"]

_SYNONYMS: dict[SplitRole, frozenset[str]] = {
    "train": frozenset({"train", "training", "trn"}),
    "val": frozenset({"val", "valid", "validation", "dev"}),
    "test": frozenset({"test", "testing", "tst"}),
}


def split_role(name: str) -> SplitRole | None:
    """What a split of this name is for, in any case: ``Training`` → ``train``, ``dev`` → ``val``; None for a name that
    does not show.

    A split whose role is ``test`` is never trained on.
    """
    return next((role for role, names in _SYNONYMS.items() if nfc(name).strip().casefold() in names), None)


def training_split(splits: Iterable[str]) -> str | None:
    """The one split that is called train; None where none is, or several are, and a person must choose."""
    found = [name for name in splits if split_role(name) == "train"]
    return found[0] if len(found) == 1 else None


def validation_split(splits: Iterable[str]) -> str | None:
    """The split that is called val, or by a synonym; None where none is."""
    found = [name for name in splits if split_role(name) == "val"]
    return min(found, key=lambda name: name.casefold() != "val", default=None)


def no_training_split(splits: Iterable[str]) -> str:
    """Why no split is trained on, where `training_split` finds none, and how to name one."""
    names = list(splits)
    several = [name for name in names if split_role(name) == "train"]
    choice = next((name for name in several or names if split_role(name) in ("train", None)), "NAME")
    why = (
        f"{' and '.join(several)} are both called train"
        if several
        else f"no split is called train, there are {', '.join(names)}"
    )
    return f"{why}; name one with --set data.train={choice}"


def stable_split(ids: Iterable[str], val_share: float, seed: int) -> tuple[list[str], list[str]]:
    """(train, val), each in the order of `ids`; where an id goes depends on itself and the seed alone, so ids added
    later move no other.

    Args:
        val_share: expected share of val, in [0, 1].
    """
    parts: tuple[list[str], list[str]] = [], []
    for id_ in ids:
        # A name from a Mac goes where the same name from elsewhere goes; bytes that are no UTF-8 are hashed as they
        # are.
        digest = hashlib.sha256(f"{seed}/{nfc(id_)}".encode("utf-8", "surrogateescape")).digest()
        parts[int.from_bytes(digest[:8], "big") / 2**64 < val_share].append(id_)
    return parts
