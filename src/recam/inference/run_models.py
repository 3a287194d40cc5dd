"""What a run has to predict with: its segmentation model, its classifier, and the threshold of its class maps.

Stages are found by their labels in ``run.json``, never by their names.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from recam.errors import RecipeError, StoreError
from recam.inference.settings import InferenceSettings
from recam.methods.recam import Weighting
from recam.runfolder.costs import upstream_stages
from recam.runfolder.kinds import SEGMENTER
from recam.runfolder.records import read_records
from recam.runfolder.store import StageFolder, has_background, open_run, read_run
from recam.settings import read_settings


@dataclass(frozen=True)
class RunModels:
    """The finished trainings of a run.

    Attributes:
        root: the run folder.
        settings: content of ``run.json``.
        records: record of each finished stage by name, with the label that the settings in force give it.
        segmenter: stage of the segmentation model; of several the first.
        classifier: stage of the classifier whose class maps become pseudo masks.
        weighting: weights of eq. 9 of these maps.
        threshold: background plane of these maps; None before they were made into masks.
        class_thresholds: that of single classes where it differs.
        background: whether pixels may belong to no class; else no threshold is in force.
        inference: how the run applies the model that predicts.
        map_inference: how it makes class maps of new images.
    """

    root: Path
    settings: dict[str, Any]
    records: dict[str, dict[str, Any]]
    segmenter: StageFolder | None
    classifier: StageFolder | None
    weighting: Weighting
    threshold: float | None
    class_thresholds: dict[str, float]
    background: bool
    inference: InferenceSettings
    map_inference: InferenceSettings

    @property
    def predicts(self) -> StageFolder:
        """The stage whose weights predict."""
        stage = self.segmenter or self.classifier
        assert stage is not None
        return stage

    def upstream(self, stage: str) -> list[str]:
        """Finished stages that a stage builds on, in the order in which the run made them."""
        found = set(upstream_stages(self.records, stage))
        return [name for name in self.records if name in found]

    def of_kind(self, kind: str) -> list[str]:
        """Finished stages whose label is of this kind, such as ``predictions``."""
        return [name for name, record in self.records.items() if record["label"].get("kind") == kind]


def find_models(run: str | Path) -> RunModels:
    """The finished trainings of a run folder.

    Raises:
        StoreError: there is no run, nothing in it to predict with yet, or a damaged record.
    """
    folder = open_run(run)
    written = read_run(folder.root)
    records = read_records(folder)
    done = {name: folder.stage(name) for name in records}
    segmenter = next((done[name] for name in done if records[name]["label"].get("kind") == SEGMENTER), None)
    classifier = done.get(written["models"]["classifier"])
    threshold, class_thresholds = _find_thresholds(written, records)
    if segmenter is None and (classifier is None or threshold is None):
        raise StoreError(
            f"{run} has neither a segmentation model nor pseudo masks yet. To make them, run its `recam run` command"
            " again, without --until."
        )
    inference, map_inference = (_read_inference(folder.root, written, name) for name in ("inference", "map_inference"))
    return RunModels(
        root=folder.root,
        settings=written,
        records=records,
        segmenter=segmenter,
        classifier=classifier,
        weighting=_weighting(folder.root, written, classifier),
        threshold=threshold,
        class_thresholds=class_thresholds,
        background=has_background(written),
        inference=inference if segmenter else map_inference,
        map_inference=map_inference,
    )


def _read_inference(root: Path, written: dict[str, Any], name: str) -> InferenceSettings:
    try:
        return read_settings(InferenceSettings, written["models"][name])
    except RecipeError as error:
        raise StoreError(
            f"{root / 'run.json'} is damaged: models.{name}: {error} Delete it; the same command makes it again."
        ) from error


def _weighting(root: Path, written: dict[str, Any], classifier: StageFolder | None) -> Weighting:
    """The weighting of the maps before any refiner, which is the name of their folder; external maps have none."""
    folder = written["models"]["seeds"]["folder"] if classifier else get_args(Weighting)[0]
    weighting: Weighting | None = next((each for each in get_args(Weighting) if each == folder), None)
    if weighting is None:
        raise StoreError(
            f"{root / 'run.json'} is damaged: models.seeds.folder is {folder!r}. Delete it; the same command makes it"
            " again."
        )
    return weighting


def _find_thresholds(
    written: dict[str, Any], records: dict[str, dict[str, Any]]
) -> tuple[float | None, dict[str, float]]:
    """Threshold of the class maps that new images get, and those of single classes.

    No refiner and no map maker works on new images, and what these make has thresholds of its own.
    """
    seeds, final = written["models"]["seeds"], written["models"]["maps"]
    masks = next((each["results"] for each in records.values() if each["label"].get("kind") == "masks"), None)
    if masks is None:
        return None, {}
    if not has_background(written):
        return 0.0, {}
    own = seeds["threshold"]
    if own is None:  # found in the maps
        own = records.get(seeds.get("finds", ""), {}).get("results", {}).get("threshold")
    if written["stages"].get(seeds["stage"], {}).get("label", {}).get("maker"):
        return None if own is None else float(own), {}
    if final["stage"] == seeds["stage"]:
        return float(masks["threshold"]), dict(masks.get("class_thresholds", {}))
    scored = records.get(seeds["scores"])
    oracle = scored["results"]["maps"].get(seeds["name"], {}).get("oracle") if scored else None
    wants_oracle = masks["threshold_from"] == "oracle"
    own = oracle["threshold"] if oracle and wants_oracle else own
    return None if own is None else float(own), {}
