"""Scores of class maps and of masks against the truth, with what readers of a run need to look into them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from numpy.typing import NDArray

from recam.data.images import read_mask
from recam.data.roles import RunData
from recam.engine.amount import Amount, Turn
from recam.engine.bench import Bench
from recam.engine.stage import Stage
from recam.engine.work import Work
from recam.errors import DataError
from recam.evaluation.mask_scorer import MaskScorer
from recam.evaluation.pixel_counts import (
    IMAGES,
    LABEL_GROUPS,
    PIXELS,
    TALLY,
    ImageScore,
    label_group,
    save_image_scores,
    save_tally,
)
from recam.evaluation.threshold_sweep import ThresholdSweep
from recam.labels import ClassSet
from recam.methods.cam import read_full
from recam.methods.thresholds import OtsuThreshold
from recam.pipeline.map_set import MapFolder, MapSet
from recam.runfolder.kinds import MAP_SCORES
from recam.runfolder.maps import read_seed
from recam.runfolder.store import StageFolder
from recam.types import Sample

VERSION = 4
"""Of all stages that score: raised when they write something else, not when they write more of what they wrote
before."""


@dataclass(frozen=True)
class ScoredMaps:
    """Which maps are scored: where they lie, by name."""

    sets: tuple[tuple[str, MapFolder], ...]


def plan_scores(stage: Stage, sets: list[MapSet]) -> Stage:
    """The stage that scores the sets of maps that a stage makes."""
    given = ScoredMaps(tuple((each.name, each.folder) for each in sets))
    group = "refine" if stage.group == "refine" else "maps"
    label = {**stage.label, "kind": MAP_SCORES}
    needs = (stage.name,)
    return Stage(
        sets[0].scores, group, score_maps, given, needs, ("score",), VERSION, label=label, amounts=map_score_amounts
    )


def score_maps(given: ScoredMaps, work: Work) -> dict[str, Any]:
    """For each set of maps: the whole threshold curve with its oracle, and Otsu's threshold, found without masks.

    Without a background the curve is one point: the largest map at threshold 0.
    """
    return {
        "images": len(work.data.score),
        "maps": {name: _score_set(name, folder, work) for name, folder in given.sets},
    }


def map_score_amounts(given: ScoredMaps, data: RunData) -> list[Amount]:
    """Each set of maps of every scored image goes through all thresholds."""

    def set_up(bench: Bench) -> Turn:
        sweep, otsu = ThresholdSweep(bench.n_classes, background=bench.background), OtsuThreshold()

        def turn(sample: Sample) -> None:
            seed = read_seed(bench.seeds / f"{sample.id}.npz")
            sweep.update(read_full(seed), seed.class_indices.tolist(), bench.mask(sample), seed.ignore)
            otsu.update(seed.maps)

        return turn

    return [Amount("maps scored", len(data.score) * len(given.sets), set_up)]


def score_amounts(images: int) -> Amount:
    """Masks of so many images are compared with their truth."""

    def set_up(bench: Bench) -> Turn:
        scorer = MaskScorer(bench.data.catalog.classes)

        def turn(sample: Sample) -> None:
            scorer.score(sample.id, bench.mask(sample), bench.mask(sample), len(sample.labels))

        return turn

    return Amount("mask scored", images, set_up)


def _score_set(name: str, folder: MapFolder, work: Work) -> dict[str, Any]:
    """Writes a tally of the pixels at every threshold to ``NAME.npz`` in the stage's folder."""
    n_classes, background = len(work.data.catalog.classes), work.data.catalog.classes.background
    task = SweepTask(work.inputs[folder.stage].path / folder.inner, n_classes, background)
    made = task.with_counts(work.count(work.data.score, task).counts)
    whole = ThresholdSweep(n_classes, background=background)
    for sweep in made.sweeps:
        whole.histogram += sweep.histogram
        whole.ignored += sweep.ignored
    oracle, split = whole.best(), _find_otsu(made.otsu)
    if work.accelerator.is_main_process:
        tally = np.stack([sweep.counts() for sweep in made.sweeps])
        save_tally(work.folder.path / f"{name}.npz", tally, whole.thresholds)
    return {
        "oracle": {"threshold": oracle.threshold, "miou": oracle.miou},
        "otsu": None if split is None else oracle.at(split),
        "thresholds": list(oracle.thresholds),
        "curve": list(oracle.curve),
    }


@dataclass(frozen=True)
class SweepTask:
    """Scores class maps in a folder at all thresholds: a `recam.engine.tasks.CountTask`."""

    folder: Path
    n_classes: int
    background: bool
    width = 0

    def start(self, accelerator: Accelerator | None = None) -> SweepCounter:
        sweeps = tuple(ThresholdSweep(self.n_classes, background=self.background) for _ in LABEL_GROUPS)
        return SweepCounter(self, sweeps, OtsuThreshold())

    def with_counts(self, counts: Sequence[NDArray[np.integer[Any]]]) -> SweepCounter:
        """A counter that has counted so much."""
        counter = self.start()
        for array, count in zip(counter.counts, counts, strict=True):
            array[...] = count
        return counter


@dataclass(frozen=True)
class SweepCounter:
    """Sweeps by number of labels, and Otsu's threshold."""

    task: SweepTask
    sweeps: tuple[ThresholdSweep, ...]
    otsu: OtsuThreshold

    @property
    def counts(self) -> tuple[NDArray[np.integer[Any]], ...]:
        own = (array for sweep in self.sweeps for array in (sweep.histogram, sweep.ignored))
        return (*own, self.otsu.histogram)

    def __call__(self, sample: Sample) -> None:
        assert sample.mask is not None
        seed = read_seed(self.task.folder / f"{sample.id}.npz")
        sweep = self.sweeps[label_group(len(sample.labels))]
        sweep.update(read_full(seed), seed.class_indices.tolist(), sample.mask.read(), seed.ignore)
        if self.task.background:
            self.otsu.update(seed.maps)


def score_masks(given: None, work: Work) -> dict[str, Any]:
    """Pseudo masks against the truth of the scored split."""
    return score_folder(work, work.inputs["masks"], work.data.score)


def score_folder(work: Work, folder: StageFolder, samples: list[Sample]) -> dict[str, Any]:
    """Masks of one folder against the truth; writes a tally and a row per image into the stage's folder."""
    scored = work.count(samples, MaskScoreTask(folder, work.data.catalog.classes))
    scorer = MaskScorer(work.data.catalog.classes)
    scorer.counts[...], scorer.boundary.counts[...] = scored.counts
    if work.accelerator.is_main_process:
        save_tally(work.folder.path / TALLY, scorer.counts)
        rows = [
            ImageScore(
                sample.id,
                len(sample.labels),
                miou,
                **dict(zip(PIXELS, map(int, pixels), strict=True)),
                boundary_iou=boundary_iou,
            )
            for sample, (miou, *pixels, boundary_iou) in zip(samples, scored.rows.tolist(), strict=True)
        ]
        save_image_scores(work.folder.path / IMAGES, rows)
    return {"images": len(samples), "scores": scorer.scores().as_dict(), "confusion": scorer.total.tolist()}


@dataclass(frozen=True)
class MaskScoreTask:
    """Scores the masks in a stage's folder: a `recam.engine.tasks.CountTask` with what an image's row holds besides id
    and labels."""

    folder: StageFolder
    classes: ClassSet
    width = 7

    def start(self, accelerator: Accelerator) -> MaskScoreCounter:
        return MaskScoreCounter(self, MaskScorer(self.classes))


@dataclass(frozen=True)
class MaskScoreCounter:
    """Pixels of masks by class and true class, of whole masks and along their outlines."""

    task: MaskScoreTask
    scorer: MaskScorer

    @property
    def counts(self) -> tuple[NDArray[np.integer[Any]], ...]:
        return self.scorer.counts, self.scorer.boundary.counts

    def __call__(self, sample: Sample) -> tuple[float, ...]:
        assert sample.mask is not None
        mask = read_mask(mask_path(self.task.folder, sample.id))
        return astuple(self.scorer.score(sample.id, mask, sample.mask.read(), len(sample.labels)))[2:]


@dataclass(frozen=True)
class HasMask:
    """Whether the mask of a sample lies in a stage's folder; picklable."""

    folder: StageFolder

    def __call__(self, sample: Sample) -> bool:
        return mask_path(self.folder, sample.id).is_file()


def mask_path(folder: StageFolder, sample_id: str) -> Path:
    """Where a mask of a sample lies in a stage's folder."""
    return folder.path / f"{sample_id}.png"


def _find_otsu(otsu: OtsuThreshold) -> float | None:
    try:
        return otsu.threshold()
    except DataError:  # maps of a classifier that found nothing at all: their scores show it, and the run continues
        return None
