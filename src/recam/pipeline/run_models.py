"""What a run has to predict with: its segmentation model, its classifier, and the threshold of its class maps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recam.errors import StoreError
from recam.methods.recam import Weighting
from recam.pipeline.chains import Link, mask_link
from recam.pipeline.manifest import RECORD
from recam.pipeline.recipe import Recipe, read_recipe
from recam.pipeline.store import StageFolder, open_run, read_record, read_settings

SEGMENTERS = ("segment/pseudo", "segment/truth")
"""The first that is finished predicts."""


@dataclass(frozen=True)
class RunModels:
    """The finished trainings of a run.

    Attributes:
        root: the run folder.
        recipe: its settings.
        packages: versions by package, of the last call of `recam run`.
        done: finished stages made from these settings, by name.
        segmenter: the segmentation model's stage.
        classifier: the stage of the classifier that makes the class maps.
        weighting: weights of eq. 9 of these maps.
        threshold: background plane of these maps; None before they were made into masks.
        class_thresholds: that of single classes where it differs.
    """

    root: Path
    recipe: Recipe
    packages: dict[str, str]
    done: dict[str, StageFolder]
    segmenter: StageFolder | None
    classifier: StageFolder | None
    weighting: Weighting
    threshold: float | None
    class_thresholds: dict[str, float]

    def record(self, stage: str) -> dict[str, Any]:
        """Results of a finished stage; empty where it has not finished."""
        results: dict[str, Any] = self.done[stage].record.get("results", {}) if stage in self.done else {}
        return results


def find_models(run: str | Path) -> RunModels:
    """Look what a run has. Raises `StoreError` where there is no run, or nothing in it to predict with."""
    folder = open_run(run)
    written = read_settings(folder.root)
    recipe = read_recipe(folder.root)
    # What other settings had made does not count.
    done = {name: stage for name in folder.done_stages() if (stage := folder.stage(name)).key == written.get("stages", {}).get(name)}
    for name, stage in done.items():
        read_record(stage.path / RECORD, name)  # all that is taken from it must be there
    segmenter = next((done[name] for name in SEGMENTERS if name in done), None)
    classifier = done.get("reactivate" if recipe.reactivate.enabled else "classify")
    threshold = _find_threshold(recipe, done)
    if segmenter is None and (classifier is None or threshold is None):
        raise StoreError(f"{run} has neither a segmentation model nor pseudo masks yet. Run `recam run` on it to the end first.")
    weighting: Weighting = recipe.seeds.weighting if recipe.reactivate.enabled else "w"
    # Refined maps have thresholds of their own, which do not fit the seeds that new images get.
    own = {} if mask_link(recipe).chain else recipe.masks.class_thresholds
    return RunModels(folder.root, recipe, written.get("packages", {}), done, segmenter, classifier, weighting, threshold, own)


def _find_threshold(recipe: Recipe, done: dict[str, StageFolder]) -> float | None:
    """That of the seeds: new images get no chain of refiners, and refined maps have thresholds of their own."""
    link = mask_link(recipe)
    if "masks" not in done:
        return None
    if not link.chain:
        return float(done["masks"].record["results"]["threshold"])
    seeds = Link(link.origin)
    scores = done.get(seeds.scores_stage)
    if recipe.masks.oracle and scores:
        return float(scores.record["results"]["seeds"][seeds.title(recipe)]["oracle"]["threshold"])
    return recipe.masks.threshold
