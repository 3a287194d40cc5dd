"""The threshold that was found by hand, as a recipe: all settings of the run with the chosen maps and thresholds laid
over them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recam.errors import RecipeError, StoreError
from recam.files import write_bytes
from recam.pipeline.training import make_training
from recam.recipe.recipe import load_recipe
from recam.recipe.toml import flatten, write_toml
from recam.review.layers import Layer, ReviewedRun


@dataclass(frozen=True)
class Chosen:
    """A recipe that was written.

    Attributes:
        path: the file.
        command: follows it in the same run folder: what does not depend on what was changed is not made again.
        settings: what differs from the run's own settings.
    """

    path: Path
    command: str
    settings: dict[str, Any]


def write_recipe(run: ReviewedRun, layer: Layer, threshold: float, class_thresholds: Mapping[str, float]) -> Chosen:
    """Write ``RUN/review/recipe.toml``: pseudo masks from this layer at these thresholds, no oracle.

    Raises:
        RecipeError: a layer that pseudo masks cannot be made from, or an unknown class.
    """
    unknown = [name for name in class_thresholds if name not in run.classes]
    if unknown:
        raise RecipeError(f"unknown class {unknown[0]!r}; the run has {', '.join(run.classes)}.")
    if layer.role != "maps":
        raise RecipeError(f"pseudo masks are made from class maps, and {layer.title} is none. Choose another layer.")
    tree = run.recipe.as_dict()
    tree |= _settings_of(run, layer, tree["maps"])
    own = {name: round(value, 4) for name, value in class_thresholds.items() if value != threshold}
    if tree["refine"]:  # refined maps have thresholds of their own; `masks.threshold` is that of the maps before
        own = {name: round(class_thresholds.get(name, threshold), 4) for name in run.classes}
    tree["masks"] |= {"threshold": round(threshold, 4), "oracle": False, "class_thresholds": own}
    return save_recipe(run, tree, "recipe.toml", f"thresholds chosen on the review page, from {layer.title}")


def save_recipe(run: ReviewedRun, tree: Mapping[str, Any], name: str, about: str) -> Chosen:
    """Write changed settings of the run to a file of that name in RUN/review."""
    recipe = load_recipe(tree)
    before, after = flatten(run.recipe.as_dict()), flatten(recipe.as_dict())
    names = dict.fromkeys((*after, *before))
    path = run.review / name
    command = shlex.join(["recam", "run", "--recipe", str(path), "-o", str(run.root)])
    tree = {**recipe.as_dict(), "about": about}
    write_bytes(path, f"# Written by the review page. Use it by: {command}\n\n{write_toml(tree)}".encode())
    return Chosen(path, command, {name: after.get(name) for name in names if before.get(name) != after.get(name)})


def _settings_of(run: ReviewedRun, layer: Layer, maps: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by which pseudo masks are made from a layer, by what its stage and those before it were given."""
    stage, inner, refine = layer.stage, layer.inner, list[str]()
    try:
        given = run.stage(stage).record["inputs"]["given"]
        while "step" in given:
            refine = [given["step"]["name"], *refine]
            stage, inner = given["maps"]["stage"], given["maps"]["inner"]
            given = run.stage(stage).record["inputs"]["given"]
        if "training" not in given:  # external maps
            return {"refine": refine}
        name, maker = given["training"]["name"], given["maker"]["name"] if given["maker"] else ""
    except (KeyError, TypeError) as error:
        raise StoreError(f"the record of {stage} is damaged: {error}. Run the command of the run again.") from error
    settings: dict[str, Any] = {"training": name, "maker": maker, "refine": refine}
    # A training with a single weighting takes that, whatever the recipe's.
    if make_training(run.recipe, name).choose_weighting(maps["weighting"]) != inner:
        settings["maps"] = {**maps, "weighting": inner}
    return settings
