"""The threshold that was found by hand, as a recipe: all settings of the run with the chosen maps and thresholds laid
over them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from recam.errors import RecipeError
from recam.files import write_bytes
from recam.recipe.recipe import load_recipe
from recam.review.layers import Layer, RunView


@dataclass(frozen=True)
class Chosen:
    """A recipe that was written.

    Attributes:
        path: the file.
        command: makes the masks again by it, and what follows from them.
        settings: what differs from the run's own settings.
    """

    path: Path
    command: str
    settings: dict[str, Any]


def write_recipe(view: RunView, layer: Layer, threshold: float, class_thresholds: Mapping[str, float]) -> Chosen:
    """Write ``RUN/review/recipe.toml``: pseudo masks from this layer at these thresholds, no oracle.

    Raises:
        RecipeError: a layer that pseudo masks cannot be made from, or an unknown class.
    """
    unknown = [name for name in class_thresholds if name not in view.classes]
    if unknown:
        raise RecipeError(f"unknown class {unknown[0]!r}; the run has {', '.join(view.classes)}.")
    settings = _settings_of(view, layer)
    own = {name: round(value, 4) for name, value in class_thresholds.items() if value != threshold}
    if layer.name.startswith(
        "refined/"
    ):  # refined maps have thresholds of their own; `masks.threshold` is that of the seeds
        own = {name: round(class_thresholds.get(name, threshold), 4) for name in view.classes}
    settings |= {"masks.threshold": round(threshold, 4), "masks.oracle": False, "masks.class_thresholds": own}
    recipe = load_recipe(view.recipe.model_dump(mode="json", exclude_none=True), settings)
    before, after = _flat(view.recipe.model_dump(mode="json")), _flat(recipe.model_dump(mode="json"))
    changed = {name: value for name, value in after.items() if before.get(name) != value}
    tree = recipe.model_dump(mode="json", exclude_none=True)
    tree["about"] = f"thresholds chosen on the review page, from {layer.title}"
    path = view.review / "recipe.toml"
    command = shlex.join(["recam", "run", "--recipe", str(path), "-o", str(view.root)])
    write_bytes(path, f"# Written by the review page. Use it by: {command}\n\n{tomli_w.dumps(tree)}".encode())
    return Chosen(path, command, changed)


def _settings_of(view: RunView, layer: Layer) -> dict[str, Any]:
    """Settings by which pseudo masks are made from a layer."""
    kind, _, rest = layer.name.partition("/")
    refines = "refine" in type(view.recipe).model_fields
    if kind == "seeds":
        origin, _, weighting = rest.partition("/")
        chain: list[str] = []
    elif kind == "refined":
        origin, *chain = rest.split("+")
        weighting = view.recipe.seeds.weighting
    else:
        origin = ""
    if origin not in ("cam", "recam", "given"):
        raise RecipeError(
            f"pseudo masks are made from CAM or ReCAM, refined or not, but {layer.title} is neither. Choose another"
            " layer."
        )
    settings: dict[str, Any] = {"refine": chain} if refines else {}
    if origin == "given":
        return settings
    if origin == "recam":
        return settings | {"seeds.weighting": weighting}
    return settings | {"reactivate.enabled": False, "reactivate.control": False}


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) and value else {f"{prefix}{name}": value}
    return flat
