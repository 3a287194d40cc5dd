"""What a run has to predict with: its segmentation model, its classifier, and the threshold of its class maps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recam.errors import RecipeError, StoreError
from recam.inference.settings import InferenceSettings
from recam.methods.recam import Weighting
from recam.runfolder.store import StageFolder, open_run, read_run
from recam.settings import read_settings

SEGMENTERS = ("segment/pseudo", "segment/truth")
"""The first that is finished predicts."""


@dataclass(frozen=True)
class RunModels:
    """The finished trainings of a run.

    Attributes:
        root: the run folder.
        settings: content of ``run.json``.
        done: finished stages made from these settings, by name.
        segmenter: the segmentation model's stage.
        classifier: the stage of the classifier that makes the class maps.
        weighting: weights of eq. 9 of these maps.
        threshold: background plane of these maps; None before they were made into masks.
        class_thresholds: that of single classes where it differs.
        inference: how the run applies the model that predicts.
    """

    root: Path
    settings: dict[str, Any]
    done: dict[str, StageFolder]
    segmenter: StageFolder | None
    classifier: StageFolder | None
    weighting: Weighting
    threshold: float | None
    class_thresholds: dict[str, float]
    inference: InferenceSettings

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the K classes."""
        stage = self.segmenter or self.classifier
        assert stage is not None
        return tuple(stage.record["inputs"]["classes"])

    def record(self, stage: str) -> dict[str, Any]:
        """Results of a finished stage; empty where it has not finished."""
        results: dict[str, Any] = self.done[stage].record.get("results", {}) if stage in self.done else {}
        return results


def find_models(run: str | Path) -> RunModels:
    """Look what a run has. Raises `StoreError` where there is no run, or nothing in it to predict with."""
    folder = open_run(run)
    written = read_run(folder.root)
    done = {name: folder.stage(name) for name in folder.done_stages()}
    models = written["models"]
    seeds, final = models["seeds"], models["maps"]
    segmenter = next((done[name] for name in SEGMENTERS if name in done), None)
    classifier = done.get(models["classifier"])
    threshold = _find_threshold(models, done)
    if segmenter is None and (classifier is None or threshold is None):
        raise StoreError(
            f"{run} has neither a segmentation model nor pseudo masks yet. Run `recam run` on it to the end first."
        )
    # Refined maps have thresholds of their own, which do not fit the maps that new images get.
    own = written["recipe"]["masks"]["class_thresholds"] if final["stage"] == seeds["stage"] else {}
    weighting: Weighting = seeds["folder"] or "w"
    return RunModels(
        folder.root,
        written,
        done,
        segmenter,
        classifier,
        weighting,
        threshold,
        own,
        _inference(written, segmenter is not None),
    )


def change_inference(models_have_segmenter: bool, own: InferenceSettings, **changes: Any) -> InferenceSettings:
    """A run's way to apply its model with what was asked for laid over it; None takes the run's own, a window of 0 is
    none.

    Raises:
        RecipeError: a window for class maps; or as `InferenceSettings` does.
    """
    asked = {name: value for name, value in changes.items() if value is not None}
    if "scales" in asked:
        asked["scales"] = tuple(asked["scales"])
    if "window" in asked:
        asked["window"] = asked["window"] or None
        if asked["window"] and not models_have_segmenter:
            raise RecipeError("a sliding window needs a segmentation model, which this run has not: leave the window.")
    return replace(own, **asked)


def _inference(written: dict[str, Any], segmenting: bool) -> InferenceSettings:
    """How a segmentation model is applied, or the classifier for its class maps."""
    own = read_settings(InferenceSettings, written["models"]["inference"])
    if segmenting:
        return own
    maps = written["recipe"]["maps"]
    return replace(own, scales=tuple(maps["scales"]), flip=maps["flip"], window=None)


def _find_threshold(models: dict[str, Any], done: dict[str, StageFolder]) -> float | None:
    """That of the maps before any refiner: new images are not refined, and refined maps have thresholds of their
    own."""
    seeds, final = models["seeds"], models["maps"]
    if "masks" not in done:
        return None
    masks = done["masks"].record["results"]
    if final["stage"] == seeds["stage"]:
        return float(masks["threshold"])
    scores = done.get(seeds["scores"])
    if (
        masks["threshold_from"] == "oracle"
        and scores
        and (found := scores.record["results"]["maps"][seeds["name"]]["oracle"])
    ):
        return float(found["threshold"])
    return float(seeds["threshold"])
