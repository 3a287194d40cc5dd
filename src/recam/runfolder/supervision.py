"""Supervision of a result: image labels, and whatever else people supplied; recorded by stage, and named with every
result that used more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

LABELS, SALIENCY, TRUTH, EXTERNAL = "image labels", "saliency", "true masks", "external class maps"
CORRECTED = "corrected masks"
"""Masks of some training images that people made or changed, such as on the review page."""
DUTS = "masks of DUTS (U²-Netp)"
"""What the saliency network that comes in a wheel was learned from."""
FREE_MASKS = "masks without classes (SAM)"
"""Made elsewhere, by a network that learned from masks that people have drawn."""
MARK = " *"
"""Follows the name of what saliency was used for."""


def in_order(words: Iterable[str]) -> tuple[str, ...]:
    """Each kind of supervision once, image labels first, whatever stages brought it in which order; others last."""
    known = (LABELS, EXTERNAL, SALIENCY, DUTS, FREE_MASKS, CORRECTED, TRUTH)
    found = dict.fromkeys(words)
    return (*(word for word in known if word in found), *(word for word in found if word not in known))


def used_saliency(record: Mapping[str, Any]) -> bool:
    """Whether a stage, or any that it is made from, used saliency maps; `record` is that of the stage."""
    return SALIENCY in record.get("supervision", ())


def describe_supervision(record: Mapping[str, Any]) -> str:
    """E.g. ``image labels + saliency``; empty where the stage was not made, or before this was recorded."""
    return " + ".join(record.get("supervision", ()))
