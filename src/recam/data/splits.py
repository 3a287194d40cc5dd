"""Splitting a data set that brings no split."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def stable_split(ids: Iterable[str], val_share: float, seed: int) -> tuple[list[str], list[str]]:
    """(train, val), each in the order of `ids`; where an id goes depends on itself and the seed alone, so ids added later move no other.

    Args:
        val_share: expected share of val, in [0, 1].
    """
    parts: tuple[list[str], list[str]] = [], []
    for id_ in ids:
        digest = hashlib.sha256(f"{seed}/{id_}".encode()).digest()
        parts[int.from_bytes(digest[:8], "big") / 2**64 < val_share].append(id_)
    return parts
