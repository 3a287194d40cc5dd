"""What a report needs of a run folder, finished or not: read once, and known by the labels of its stages alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recam.errors import StoreError
from recam.evaluation.metrics import ConfusionMatrix, Scores
from recam.evaluation.pixel_counts import TALLY, Tally, read_tally
from recam.labels import ClassSet
from recam.runfolder.costs import baseline_stage, cost_in_units, upstream_minutes
from recam.runfolder.kinds import CLASSIFIER, MAP_SCORES, MASK_SCORES, MASKS, PICTURES, PREDICTIONS, QUALITY
from recam.runfolder.records import read_records
from recam.runfolder.store import CHECK, RunFolder, has_background, open_run, read_json, read_run
from recam.runfolder.summary import recipe_score
from recam.runfolder.supervision import MARK, TRUTH, describe_supervision, used_saliency


@dataclass(frozen=True)
class Outcome:
    """One thing that was scored: a set of class maps at its oracle threshold, or masks.

    Attributes:
        key: the same in all runs: the name of a set of maps, or of the stage that scored masks.
        stage: the stage that scored it.
        title: for people, within a sentence; marked where saliency was used.
        kind: of the stage, see `recam.runfolder.kinds`.
        colour: that of its label, see `recam.report.figures.PALETTE`; empty where it has none of its own.
        miou: in [0, 1], or None where nothing could be counted.
        images: how many were scored.
        minutes: cumulative compute time of all upstream stages; None where that is not known.
        cost: the same in units of what the run's baseline took.
        judged: of class maps, thresholds with their scores and the whole curve; else empty.
        counts: (3, K+1, K+2) by number of labels; None for a run of an earlier version.
        total: (K+1, K+2); None as above, of class maps.
    """

    key: str
    stage: str
    title: str
    kind: str
    colour: str
    miou: float | None
    images: int
    minutes: float | None
    cost: float | None
    judged: Mapping[str, Any]
    counts: NDArray[np.int64] | None
    total: NDArray[np.int64] | None

    @property
    def heading(self) -> str:
        """The title at the beginning of a line."""
        return self.title[:1].upper() + self.title[1:]

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
class ReportedRun:
    """A run as its folder stands.

    Attributes:
        folder: where it lies.
        name: short, unique among the runs of a report.
        settings: content of ``run.json``.
        records: records of the finished stages that belong to these settings, in order, with their labels.
    """

    folder: RunFolder
    name: str
    settings: dict[str, Any]
    records: dict[str, dict[str, Any]]

    @cached_property
    def has_background(self) -> bool:
        """Whether pixels may belong to no class; else no threshold is in force anywhere."""
        return has_background(self.settings)

    def path(self, stage: str) -> Path:
        """Where a finished stage keeps its files."""
        return self.folder.at(stage, str(self.settings["stages"][stage]["key"])).path

    @cached_property
    def missing(self) -> list[str]:
        """Stages of these settings that have not finished."""
        return [name for name in self.settings["stages"] if name not in self.records]

    @cached_property
    def classes(self) -> ClassSet | None:
        """Its classes; None before any stage has finished."""
        names = [record["inputs"]["classes"] for record in self.records.values() if _classes(record)]
        return ClassSet(tuple(names[0]), self.has_background) if names else None

    def results(self, stage: str) -> dict[str, Any]:
        """Results of a stage; empty where it has not finished."""
        found: dict[str, Any] = self.records.get(stage, {}).get("results", {})
        return found

    def label(self, stage: str) -> dict[str, Any]:
        """How the run labels a stage: title, kind, colour, …."""
        found: dict[str, Any] = self.settings["stages"][stage]["label"]
        return found

    def title(self, stage: str) -> str:
        """A stage's title, for people."""
        return str(self.label(stage).get("title") or stage)

    def of_kind(self, *kinds: str) -> list[str]:
        """Finished stages of these kinds, in order."""
        return [name for name in self.records if self.label(name).get("kind") in kinds]

    @cached_property
    def checked(self) -> dict[str, Any]:
        """What `recam check` found of the data set; empty where the run has not come to that."""
        path = self.folder.root / CHECK / "check.json"
        found: dict[str, Any] = read_json(path) if path.is_file() else {}
        return found

    @cached_property
    def masks(self) -> dict[str, Any]:
        """Results of the pseudo masks: their number, threshold and source; empty where they are still to be made."""
        return next((self.results(stage) for stage in self.of_kind(MASKS)), {})

    @cached_property
    def masked_from(self) -> tuple[str, str]:
        """(name, title) of the class maps that pseudo masks are made from."""
        maps = self.settings["models"]["maps"]
        name = str(self.masks.get("maps", maps["name"]))  # a round that has come undone is not taken
        sets = [each for stage in self.records for each in self.label(stage).get("sets", ())]
        title = next((each["title"] for each in sets if each["name"] == name), maps["title"])
        return name, str(title)

    @cached_property
    def quality(self) -> dict[str, Any]:
        """What is known of the pseudo masks without true ones: ``agreement`` in [−1, 1], with held-out labels
        ``learned`` in [0, 1] and ``quality``, their product; empty where they were not judged."""
        return next((self.results(stage) for stage in self.of_kind(QUALITY)), {})

    @cached_property
    def label_scores(self) -> dict[str, dict[str, Any]]:
        """By stage, how well each classifier predicts image labels; see `recam.evaluation.label_scores`."""
        found = {stage: self.results(stage).get("labels") for stage in self.of_kind(CLASSIFIER)}
        return {stage: labels for stage, labels in found.items() if labels}

    def judged(self, training: str) -> dict[str, Any]:
        """``agreement`` of a training's own maps and, where there is a background, ``threshold``, as far as the run has
        found them; else empty."""
        return self.results(f"{'thresholds' if self.has_background else 'agreements'}/{training}")

    @cached_property
    def histories(self) -> dict[str, list[dict[str, float]]]:
        """Losses by epoch of each training."""
        return {name: self.results(name)["history"] for name in self.records if self.results(name).get("history")}

    def first_epoch(self, stage: str) -> int:
        """How many epochs the trainings that a training starts from have taken."""
        before, epochs = {stage}, 0
        by_name = {self.label(each).get("training"): each for each in self.of_kind(CLASSIFIER)}
        base = by_name.get(self.label(stage).get("base") or "")
        while base and base not in before:
            before.add(base)
            epochs += len(self.histories.get(base, ()))
            base = by_name.get(self.label(base).get("base") or "")
        return epochs

    @cached_property
    def shown(self) -> list[dict[str, Any]]:
        """Images with tiles, as the stage of pictures recorded them; the tiles with their paths."""
        return [
            {**each, "tiles": {title: self.path(stage) / name for title, name in each["tiles"].items()}}
            for stage in self.of_kind(PICTURES)
            for each in self.results(stage)["shown"]
        ]

    @cached_property
    def supervision(self) -> list[str]:
        """Supervision of the marked results, e.g. ``image labels + saliency``; empty where there are none."""
        return list(
            dict.fromkeys(describe_supervision(record) for record in self.records.values() if used_saliency(record))
        )

    @cached_property
    def minutes(self) -> float:
        """Cumulative compute time of all finished stages."""
        return float(sum(record["seconds"] for record in self.records.values())) / 60

    @cached_property
    def outcomes(self) -> list[Outcome]:
        """Everything that was scored, in the order in which it was made."""
        found = []
        for stage in self.of_kind(MAP_SCORES, MASK_SCORES, PREDICTIONS):
            if self.label(stage)["kind"] == MAP_SCORES:
                found += [self._of_maps(stage, name) for name in self.results(stage)["maps"]]
            else:
                found.append(self._of_masks(stage))
        return found

    @cached_property
    def maps(self) -> list[Outcome]:
        """Those of class maps."""
        return [outcome for outcome in self.outcomes if outcome.kind == MAP_SCORES]

    @cached_property
    def baseline(self) -> Outcome | None:
        """The first maps that no other training comes before; see `recam.runfolder.costs.baseline_stage`."""
        stage = baseline_stage(self.records)
        return next((found for found in self.maps if found.stage == stage), None)

    @cached_property
    def headline(self) -> Outcome | None:
        """Pseudo masks, else the maps that they are to be made of, else what was scored last; None without scores."""
        masks = next((found for found in self.outcomes if found.kind == MASK_SCORES), None)
        last = self.outcomes[-1] if self.outcomes else None
        return masks or self.find(self.masked_from[0]) or last

    @cached_property
    def model(self) -> Outcome | None:
        """The segmentation model that learned from pseudo masks."""
        return next((found for found in self._models if TRUTH not in self._supervision(found)), None)

    @cached_property
    def upper_bound(self) -> Outcome | None:
        """The segmentation model that learned from true masks."""
        return next((found for found in self._models if TRUTH in self._supervision(found)), None)

    def find(self, key: str) -> Outcome | None:
        """The outcome of a key."""
        return next((outcome for outcome in self.outcomes if outcome.key == key), None)

    @property
    def _models(self) -> list[Outcome]:
        return [found for found in self.outcomes if found.kind == PREDICTIONS]

    def _supervision(self, found: Outcome) -> list[str]:
        return list(self.records[found.stage].get("supervision", ()))

    def _of_maps(self, stage: str, name: str) -> Outcome:
        record, label = self.records[stage], self.label(stage)
        judged = {**self.results(stage)["maps"][name], "recipe": recipe_score(record, name)}
        oracle, tally = judged["oracle"] or {}, _tally(self.path(stage) / f"{name}.npz")
        counts = tally.at(oracle["threshold"]) if tally and oracle else None
        total = None if counts is None else counts.sum(0)
        title = next((each["title"] for each in label.get("sets", ()) if each["name"] == name), name)
        # Refined maps have the label of the maps that they were made of.
        colour = "" if label.get("refiner") else str(label.get("colour", ""))
        return self._outcome(name, stage, title, colour, oracle.get("miou"), judged, counts, total)

    def _of_masks(self, stage: str) -> Outcome:
        results, tally = self.results(stage), _tally(self.path(stage) / TALLY)
        counts = None if tally is None else tally.at()
        total = np.asarray(results["confusion"], np.int64)
        miou = (results["scores"] or {}).get("miou")
        colour = str(self.label(stage).get("colour", ""))
        return self._outcome(stage, stage, self.title(stage), colour, miou, {}, counts, total)

    def _outcome(
        self,
        key: str,
        stage: str,
        title: str,
        colour: str,
        miou: float | None,
        judged: Mapping[str, Any],
        counts: NDArray[np.int64] | None,
        total: NDArray[np.int64] | None,
    ) -> Outcome:
        title += MARK if used_saliency(self.records[stage]) else ""
        kind, images = self.label(stage)["kind"], self.results(stage)["images"]
        minutes, cost = upstream_minutes(self.records, stage), cost_in_units(self.records, stage)
        return Outcome(key, stage, title, kind, colour, miou, images, minutes, cost, judged, counts, total)


def read_runs(paths: Sequence[Path | str]) -> list[ReportedRun]:
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
    folders = [open_run(root) for root in roots]
    names = _names(resolved)
    return [
        ReportedRun(folder, name, read_run(folder.root), read_records(folder))
        for folder, name in zip(folders, names, strict=True)
    ]


def _names(roots: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that distinguish them."""
    for depth in range(1, max(len(root.parts) for root in roots) + 1):
        names = ["/".join(root.parts[-depth:]) for root in roots]
        if len(set(names)) == len(names):
            return names
    return [str(root) for root in roots]


def _classes(record: Mapping[str, Any]) -> bool:
    return bool(record.get("inputs", {}).get("classes"))


def _tally(path: Path) -> Tally | None:
    return read_tally(path) if path.is_file() else None
