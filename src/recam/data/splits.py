"""Splitting a data set that brings no split."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def is_held_out(id_: str, val_share: float, seed: int) -> bool:
    """Whether an id goes to val: a matter of itself and the seed alone, so ids added later move no other.

    Args:
        val_share: expected share of val, in [0, 1].
    """
    digest = hashlib.sha256(f"{seed}/{id_}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < val_share


def stable_split(ids: Iterable[str], val_share: float, seed: int) -> tuple[list[str], list[str]]:
    """(train, val), each in the order of `ids`, by `is_held_out`."""
    parts: tuple[list[str], list[str]] = [], []
    for id_ in ids:
        parts[is_held_out(id_, val_share, seed)].append(id_)
    return parts
