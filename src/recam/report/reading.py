"""What a report needs of a run folder, finished or half done, read once and put into words people use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from recam.errors import StoreError
from recam.evaluation.metrics import ConfusionMatrix, Scores
from recam.evaluation.pixel_counts import TALLY, Tally, read_tally
from recam.labels import ClassSet
from recam.runfolder.store import open_run
from recam.runfolder.supervision import MARK, used_saliency

Kind = Literal["cam", "control", "recam", "refined", "masks", "prediction", "truth"]

_SEEDS = {"cam": "CAM", "control": "CAM, trained on", "recam": "ReCAM", "given": "Given maps"}
_WEIGHTINGS = {"w": "w", "w_prime": "w′", "add": "w\u00a0⊕\u00a0w′", "mul": "w\u00a0⊗\u00a0w′"}
_REFINERS = {"irn": "IRN", "advcam": "AdvCAM", "crf": "CRF", "pamr": "PAMR", "edam": "EDAM"}
_MASKS: dict[str, tuple[Kind, str]] = {
    "scores/masks": ("masks", "Pseudo masks"),
    "predictions/pseudo": ("prediction", "Segmentation model"),
    "predictions/truth": ("truth", "Model trained on true masks"),
}


@dataclass(frozen=True)
class Outcome:
    """One thing that was scored: a set of class maps at its oracle threshold, or masks.

    Attributes:
        key: the same in all runs, e.g. ``recam w_prime + irn`` or ``scores/masks``.
        title: for people; marked where saliency was used.
        miou: in [0, 1], or None where nothing could be counted.
        images: how many were scored.
        minutes: of all work behind it; None where that is not known.
        cost: the same in units of what CAM's maps took.
        judged: of class maps, thresholds with their scores and the whole curve, as the stage recorded them; else empty.
        counts: (3, K+1, K+2) by number of labels; None for a run of an earlier version.
        total: (K+1, K+2); None as above, of class maps.
    """

    key: str
    title: str
    kind: Kind
    miou: float | None
    images: int
    minutes: float | None
    cost: float | None
    judged: dict[str, Any]
    counts: NDArray[np.int64] | None
    total: NDArray[np.int64] | None

    def scores(self, classes: ClassSet, group: int | None = None) -> Scores | None:
        """Scores of all images, or of those of a label group; None where they are not known, or the truth of no image
        shows a class."""
        counts = self.total if group is None else None if self.counts is None else self.counts[group]
        if counts is None or not counts[1:].any():
            return None
        matrix = ConfusionMatrix(classes)
        if counts.shape != matrix.counts.shape:
            raise StoreError(
                f"{self.key}: pixel counts {counts.shape} are not those of {len(classes)} classes. Score the run again."
            )
        matrix.counts += counts
        return matrix.scores()


@dataclass(frozen=True)
class RunView:
    """A run as its folder stands.

    Attributes:
        root: the folder.
        name: short, unique among the runs of a report.
        settings: content of ``run.json``.
        records: records of the finished stages that belong to these settings, in order.
    """

    root: Path
    name: str
    settings: dict[str, Any]
    records: dict[str, dict[str, Any]]

    @cached_property
    def missing(self) -> list[str]:
        """Stages that the settings ask for and that have not finished."""
        return [name for name in self.settings.get("stages", {}) if name not in self.records]

    @cached_property
    def classes(self) -> ClassSet | None:
        """Its classes; None before any stage has finished."""
        names = [
            record["inputs"]["classes"] for record in self.records.values() if "classes" in record.get("inputs", {})
        ]
        return ClassSet(tuple(names[0])) if names else None

    def results(self, stage: str) -> dict[str, Any]:
        """What a stage found; empty where it has not finished."""
        found: dict[str, Any] = self.records.get(stage, {}).get("results", {})
        return found

    @cached_property
    def histories(self) -> dict[str, list[dict[str, float]]]:
        """Losses by epoch of each training."""
        return {name: self.results(name)["history"] for name in self.records if self.results(name).get("history")}

    @cached_property
    def shown(self) -> list[dict[str, Any]]:
        """Images with tiles, as the stage ``pictures`` recorded them."""
        shown: list[dict[str, Any]] = self.results("pictures").get("shown", [])
        return shown

    @cached_property
    def supervision(self) -> list[str]:
        """What marked results were made from besides image labels, e.g. ``image labels + saliency``; empty where there
        is none."""
        return list(
            dict.fromkeys(told_supervision(record) for record in self.records.values() if used_saliency(record))
        )

    @cached_property
    def minutes(self) -> float:
        """Of all finished stages."""
        return float(sum(record["seconds"] for record in self.records.values())) / 60

    @cached_property
    def outcomes(self) -> list[Outcome]:
        """Everything that was scored, in the order in which it was made."""
        found = []
        for name in self.records:
            if name in _MASKS:
                found.append(self._of_masks(name))
            elif name.startswith("scores/"):
                found += [
                    self._of_maps(name, key, judged) for key, judged in self.results(name).get("seeds", {}).items()
                ]
        return found

    @cached_property
    def maps(self) -> list[Outcome]:
        """Those of class maps."""
        return [outcome for outcome in self.outcomes if outcome.judged]

    @cached_property
    def headline(self) -> Outcome | None:
        """Pseudo masks, else what they would be made of, else the segmentation model; None where nothing is scored."""
        by_key = {outcome.key: outcome for outcome in self.outcomes}
        for key in ("scores/masks", self.masked_from):
            if key in by_key:
                return by_key[key]
        return self.outcomes[-1] if self.outcomes else None

    @cached_property
    def masked_from(self) -> str:
        """Key of the class maps that pseudo masks are made from."""
        told = self.results("masks").get("seeds")
        if told:
            return str(told)
        recipe = self.settings.get("recipe", {})
        if recipe.get("seeds", {}).get("source"):
            return " + ".join(("given", *recipe.get("refine", ())))
        enabled = recipe.get("reactivate", {}).get("enabled", True)
        origin = f"recam {recipe.get('seeds', {}).get('weighting', 'mul')}" if enabled else "cam"
        return " + ".join((origin, *recipe.get("refine", ())))

    def find(self, key: str) -> Outcome | None:
        """The outcome of a key."""
        return next((outcome for outcome in self.outcomes if outcome.key == key), None)

    def _of_maps(self, stage: str, key: str, judged: dict[str, Any]) -> Outcome:
        tally = _tally(self.root / stage / f"{key}.npz")
        counts = None if tally is None else tally.at(judged["oracle"]["threshold"])
        kind: Kind = "refined" if "+" in key else "control" if key == "control" else "cam" if key == "cam" else "recam"
        miou, images = judged["oracle"]["miou"], self.results(stage)["images"]
        total = None if counts is None else counts.sum(0)
        return Outcome(
            key, maps_title(key) + self._mark(stage), kind, miou, images, *self._costs(stage), judged, counts, total
        )

    def _of_masks(self, stage: str) -> Outcome:
        kind, title = _MASKS[stage]
        results, tally = self.results(stage), _tally(self.root / stage / TALLY)
        counts = None if tally is None else tally.at()
        miou, images = results["scores"]["miou"], results["images"]
        total = np.asarray(results["confusion"], np.int64)
        return Outcome(stage, title + self._mark(stage), kind, miou, images, *self._costs(stage), {}, counts, total)

    def _mark(self, stage: str) -> str:
        return MARK if used_saliency(self.records[stage]) else ""

    def _costs(self, stage: str) -> tuple[float | None, float | None]:
        return minutes_behind(self.records, stage), cost_in_cams(self.records, stage)


def maps_title(key: str) -> str:
    """``recam w_prime + irn`` → ``ReCAM w′ + IRN``."""
    seeds, *chain = key.split(" + ")
    origin, _, weighting = seeds.partition(" ")
    first = " ".join(filter(None, (_SEEDS.get(origin, origin), _WEIGHTINGS.get(weighting, weighting))))
    return " + ".join((first, *(_REFINERS.get(name, name) for name in chain)))


def read_runs(paths: Sequence[Path | str]) -> list[RunView]:
    """Runs as their folders stand. Raises `StoreError` for all folders that are no runs, or where a run is named
    twice."""
    problems, roots = [], [Path(path) for path in paths]
    for root in roots:
        try:
            open_run(root)
        except StoreError as error:
            problems.append(str(error))
    resolved = [root.resolve() for root in roots]
    problems += [
        f"{root} is named twice; name each run once."
        for place, root in enumerate(roots)
        if resolved[place] in resolved[:place]
    ]
    if not roots:
        problems.append("no run is named; name at least one run folder.")
    if problems:
        raise StoreError("\n".join(problems))
    return [_read_run(root, name) for root, name in zip(roots, _names(resolved), strict=True)]


def _read_run(root: Path, name: str) -> RunView:
    settings = read_settings(root)
    records = {}
    for stage, key in {"check": None, **settings.get("stages", {})}.items():
        record = read_record(root / stage / RECORD) if (root / stage / RECORD).is_file() else {}
        # What other settings had made is no part of this run.
        if record.get("state") == "done" and key in (None, record.get("key")):
            records[stage] = record if stage == "check" else read_record(root / stage / RECORD, stage)
    return RunView(root, name, settings, records)


def _names(roots: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell them apart."""
    for depth in range(1, max(len(root.parts) for root in roots) + 1):
        names = ["/".join(root.parts[-depth:]) for root in roots]
        if len(set(names)) == len(names):
            return names
    return [str(root) for root in roots]


def _tally(path: Path) -> Tally | None:
    return read_tally(path) if path.is_file() else None
