"""Which split does what, by its name; and splitting a data set that brings no split."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
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
        parts[_place(id_, seed) < val_share].append(id_)
    return parts


def split_groups(group_of: Mapping[str, str], val_share: float, seed: int) -> tuple[list[str], list[str]]:
    """(train, val), each in the order of the ids: whole groups go into val, in an order that a hash of their names
    decides, as many as come nearest to the share of ids.

    Where there are two groups or more, and a share above 0, neither part is empty.

    Args:
        group_of: group by id.
        val_share: share of the ids in val, in [0, 1).
    """
    members: dict[str, list[str]] = defaultdict(list)
    for id_, group in group_of.items():
        members[group].append(id_)
    waiting = sorted(members, key=lambda group: _place(group, seed))
    wanted, taken, held = val_share * len(group_of), 0, set[str]()
    for group in waiting[:-1] if val_share else ():  # the last one stays to be learned from
        larger = taken + len(members[group])
        if held and larger - wanted > wanted - taken:
            break
        held.add(group)
        taken = larger
    parts: tuple[list[str], list[str]] = [], []
    for id_, group in group_of.items():
        parts[group in held].append(id_)
    return parts


def _place(name: str, seed: int) -> float:
    """A number in [0, 1) that depends on name and seed alone.

    A name from a Mac gets that of the same name from elsewhere; bytes that are no UTF-8 are hashed as they are.
    """
    digest = hashlib.sha256(f"{seed}/{nfc(name)}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
