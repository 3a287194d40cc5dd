"""Scores of class maps and of masks against the truth, with what readers of a run need to look into them."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recam.data.images import read_mask
from recam.data.roles import RunData
from recam.engine.amount import Amount, Turn
from recam.engine.bench import Bench
from recam.engine.stage import Stage
from recam.engine.work import Work, sum_over_processes
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
    sweeps, otsu = [ThresholdSweep(n_classes, background=background) for _ in LABEL_GROUPS], OtsuThreshold()
    for sample in work.share(work.data.score, lambda sample: False):
        assert sample.mask is not None
        seed = folder.read(work, sample)
        sweep = sweeps[label_group(len(sample.labels))]
        sweep.update(read_full(seed), seed.class_indices.tolist(), sample.mask.read(), seed.ignore)
        if background:
            otsu.update(seed.maps)
    whole = ThresholdSweep(n_classes, background=background)
    for sweep in sweeps:
        sum_over_processes(work, sweep.histogram, sweep.ignored)
        whole.histogram += sweep.histogram
        whole.ignored += sweep.ignored
    sum_over_processes(work, otsu.histogram)
    oracle, split = whole.best(), _find_otsu(otsu)
    if work.accelerator.is_main_process:
        save_tally(work.folder.path / f"{name}.npz", np.stack([sweep.counts() for sweep in sweeps]), whole.thresholds)
    return {
        "oracle": {"threshold": oracle.threshold, "miou": oracle.miou},
        "otsu": None if split is None else oracle.at(split),
        "thresholds": list(oracle.thresholds),
        "curve": list(oracle.curve),
    }


def score_masks(given: None, work: Work) -> dict[str, Any]:
    """Pseudo masks against the truth of the scored split."""
    return score_folder(work, work.inputs["masks"], work.data.score)


def score_folder(work: Work, folder: StageFolder, samples: list[Sample]) -> dict[str, Any]:
    """Masks of one folder against the truth; writes a tally and a row per image into the stage's folder."""
    scorer = MaskScorer(work.data.catalog.classes)
    found = np.zeros((len(samples), 7))  # what an image's row holds besides id and labels
    for index in range(work.accelerator.process_index, len(samples), work.accelerator.num_processes):
        sample = samples[index]
        assert sample.mask is not None
        row = scorer.score(sample.id, read_mask(mask_path(folder, sample.id)), sample.mask.read(), len(sample.labels))
        found[index] = astuple(row)[2:]
    sum_over_processes(work, scorer.counts, found, scorer.boundary.counts)
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
            for sample, (miou, *pixels, boundary_iou) in zip(samples, found.tolist(), strict=True)
        ]
        save_image_scores(work.folder.path / IMAGES, rows)
    return {"images": len(samples), "scores": scorer.scores().as_dict(), "confusion": scorer.total.tolist()}


def mask_path(folder: StageFolder, sample_id: str) -> Path:
    """Where a mask of a sample lies in a stage's folder."""
    return folder.path / f"{sample_id}.png"


def _find_otsu(otsu: OtsuThreshold) -> float | None:
    try:
        return otsu.threshold()
    except DataError:  # maps of a classifier that found nothing at all: their scores show it, and the run continues
        return None
