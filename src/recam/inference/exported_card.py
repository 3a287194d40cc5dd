"""The JSON card beside an exported network, checked before anything is predicted by it. Needs no PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from recam.errors import RecipeError, StoreError
from recam.inference.settings import InferenceSettings
from recam.labels import MAX_CLASSES
from recam.runfolder.store import read_json
from recam.settings import read_settings


def read_card(path: Path, needs_threshold: bool) -> tuple[dict[str, Any], InferenceSettings]:
    """The card of an exported network, and how the network is applied; a classifier's `needs_threshold`.

    Raises:
        StoreError: names every field that is missing or cannot be.
    """
    card = read_json(path)
    wrong = [name for name, fits in _CARD.items() if not fits(card.get(name))]
    if needs_threshold and not _is_share(card.get("threshold")):
        wrong.append("threshold")
    if not _are_shares(card.get("class_thresholds", {})):
        wrong.append("class_thresholds")
    inference, settings = card.get("inference"), InferenceSettings()
    try:
        settings = read_settings(InferenceSettings, inference)
        wrong += [f"inference.{each.name}" for each in fields(settings) if each.name not in (inference or {})]
    except RecipeError as error:
        wrong.append(f"inference ({error})")
    if wrong:
        raise StoreError(
            f"{path} is damaged: {', '.join(wrong)} missing or of another kind. Export the networks again."
        )
    return card, settings


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


_CARD: Mapping[str, Callable[[Any], bool]] = {
    "classes": _are_classes,
    "mean": _are_three,
    "std": lambda value: _are_three(value) and min(value) > 0,
    "sha256": lambda value: isinstance(value, str),
}
