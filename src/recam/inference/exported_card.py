"""The JSON card beside an exported network, checked before anything is predicted by it. Needs neither PyTorch nor
pydantic."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from recam.errors import StoreError
from recam.labels import MAX_CLASSES
from recam.runfolder.store import read_json


def read_card(path: Path, needs_threshold: bool) -> dict[str, Any]:
    """Read the card of an exported network; one that gives class maps `needs_threshold`.

    Raises:
        StoreError: names every field that is missing or cannot be.
    """
    card = read_json(path)
    inference = card.get("inference")
    own = inference if isinstance(inference, dict) else {}
    wrong = [name for name, fits in _CARD.items() if not fits(card.get(name))]
    wrong += [f"inference.{name}" for name, fits in _INFERENCE.items() if name in own and not fits(own[name])]
    wrong += [f"inference.{name}" for name in ("scales", "window") if name not in own]
    wrong += [f"inference.{name}" for name in own if name not in _INFERENCE]
    if needs_threshold and not _is_share(card.get("threshold")):
        wrong.append("threshold")
    if not _are_shares(card.get("class_thresholds", {})):
        wrong.append("class_thresholds")
    if wrong:
        raise StoreError(
            f"{path} is damaged: {', '.join(wrong)} missing or of another kind. Export the networks again."
        )
    return card


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and abs(value) < 1e9


def _is_share(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1


def _are_shares(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_share, value.values()))


def _are_classes(value: Any) -> bool:
    named = isinstance(value, list) and all(isinstance(name, str) and name for name in value)
    return named and 0 < len(value) <= MAX_CLASSES and len(set(value)) == len(value)


def _are_three(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(map(_is_number, value))


def _is_side(value: Any) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 2**31)


_CARD: Mapping[str, Callable[[Any], bool]] = {
    "classes": _are_classes,
    "mean": _are_three,
    "std": lambda value: _are_three(value) and min(value) > 0,
    "sha256": lambda value: isinstance(value, str),
    "inference": lambda value: isinstance(value, dict),
}
_INFERENCE: Mapping[str, Callable[[Any], bool]] = {
    "scales": lambda value: isinstance(value, list) and bool(value) and all(map(_is_number, value)),
    "flip": lambda value: isinstance(value, bool),
    "max_side": _is_side,
    "window": _is_side,
    "overlap": _is_number,
    "refine": lambda value: isinstance(value, str),
}
