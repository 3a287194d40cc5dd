"""The JSON card beside an exported network, checked before anything is predicted by it. Needs no PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from recam.data.reading import PLAIN, Reading
from recam.errors import RecipeError, StoreError
from recam.inference.settings import InferenceSettings
from recam.labels import MAX_CLASSES
from recam.runfolder.store import read_json
from recam.settings import read_settings


def read_card(path: Path, needs_threshold: bool) -> tuple[dict[str, Any], InferenceSettings, Reading]:
    """The card of an exported network, how the network is applied, and how image files are read for it; a classifier's
    `needs_threshold`.

    Raises:
        StoreError: names every field that is missing or cannot be.
    """
    card = read_json(path)
    wrong = [name for name, fits in _CARD.items() if not fits(card.get(name))]
    if needs_threshold and not _is_share(card.get("threshold")):
        wrong.append("threshold")
    if not isinstance(card.get("background", True), bool):
        wrong.append("background")
    if not _are_shares(card.get("class_thresholds", {})):
        wrong.append("class_thresholds")
    reading = PLAIN
    try:
        reading = read_settings(Reading, card.get("reading", {}))
    except RecipeError as error:
        wrong.append(f"reading ({error})")
    if not {"mean", "std"} & set(wrong) and not len(card["mean"]) == len(card["std"]) == reading.channels:
        wrong.append(f"mean and std of {reading.channels} bands")
    inference, settings = card.get("inference"), InferenceSettings()
    try:
        settings = read_settings(InferenceSettings, inference)
        needed = {each.name for each in fields(settings)} - ADDED_LATER
        wrong += [f"inference.{name}" for name in sorted(needed - set(inference or {}))]
    except RecipeError as error:
        wrong.append(f"inference ({error})")
    if wrong:
        raise StoreError(
            f"{path} is damaged: {', '.join(wrong)} missing or of another kind. Export the networks again."
        )
    return card, settings, reading


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and abs(value) < 1e9


def _is_share(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1


def _are_shares(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_share, value.values()))


def _are_classes(value: Any) -> bool:
    named = isinstance(value, list) and all(isinstance(name, str) and name for name in value)
    return named and 0 < len(value) <= MAX_CLASSES and len(set(value)) == len(value)


def _are_numbers(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_number, value))


ADDED_LATER = {"no_data"}
"""Settings that earlier exports do not have; they stand at their defaults."""
_CARD: Mapping[str, Callable[[Any], bool]] = {
    "classes": _are_classes,
    "mean": _are_numbers,
    "std": lambda value: _are_numbers(value) and min(value) > 0,
    "sha256": lambda value: isinstance(value, str),
}
