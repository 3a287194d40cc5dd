"""Scores of class maps and of masks against the truth, with what readers of a run need to look into them."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

import numpy as np

from recam.data.images import read_mask
from recam.engine.work import Work, sum_over_processes
from recam.errors import DataError
from recam.evaluation.mask_scorer import MaskScorer
from recam.evaluation.pixel_counts import IMAGES, LABEL_GROUPS, PIXELS, TALLY, ImageScore, label_group, save_image_scores, save_tally
from recam.methods.cam import read_full
from recam.methods.thresholds import OracleThreshold, OtsuThreshold, ThresholdSweep
from recam.pipeline.segment_parts import mask_path
from recam.runfolder.store import StageFolder, map_path, read_seed
from recam.types import Sample

VERSION = 3
"""Of all stages that score: raised when they write something else, not when they tell more of what they wrote before.

The split of errors among the scores follows from ``confusion`` beside them, and readers do without an image's boundary IoU, so that runs
finished before these were written stay so.
"""


def score_maps(work: Work, name: str, folder: StageFolder, weighting: str, recipe_says: float) -> dict[str, Any]:
    """One set of class maps: its threshold curve with the oracle, Otsu's threshold (found without masks) and the recipe's.

    Writes a tally of the pixels at every threshold to ``NAME.npz`` in the stage's folder.
    """
    n_classes = len(work.data.catalog.classes)
    sweeps, otsu = [ThresholdSweep(n_classes) for _ in LABEL_GROUPS], OtsuThreshold()
    for sample in work.share(work.data.score, lambda sample: False):
        assert sample.mask is not None
        seed = read_seed(map_path(folder, weighting, sample.id))
        sweep = sweeps[label_group(len(sample.labels))]
        sweep.update(read_full(seed), seed.class_indices.tolist(), sample.mask.read(), seed.ignore)
        otsu.update(seed.maps)
    whole = ThresholdSweep(n_classes)
    for sweep in sweeps:
        sum_over_processes(work, sweep.histogram, sweep.unsure)
        whole.histogram += sweep.histogram
        whole.unsure += sweep.unsure
    sum_over_processes(work, otsu.histogram)
    judged = _judge(whole.best(), _find_otsu(otsu), recipe_says)
    if work.accelerator.is_main_process:
        save_tally(work.folder.path / f"{name}.npz", np.stack([sweep.counts() for sweep in sweeps]), whole.thresholds)
    return judged


def score_masks(work: Work) -> dict[str, Any]:
    """Pseudo masks against the truth of the scored split."""
    return score_folder(work, work.inputs["masks"], work.data.score)


def score_folder(work: Work, folder: StageFolder, samples: list[Sample]) -> dict[str, Any]:
    """Masks of one folder against the truth; writes a tally and a row an image into the stage's folder."""
    scorer = MaskScorer(work.data.catalog.classes)
    found = np.zeros((len(samples), 7))  # what an image's row tells besides id and labels
    for index in range(work.accelerator.process_index, len(samples), work.accelerator.num_processes):
        sample = samples[index]
        assert sample.mask is not None
        row = scorer.score(sample.id, read_mask(mask_path(folder, sample.id)), sample.mask.read(), len(sample.labels))
        found[index] = astuple(row)[2:]
    sum_over_processes(work, scorer.counts, found, scorer.boundary.counts)
    if work.accelerator.is_main_process:
        save_tally(work.folder.path / TALLY, scorer.counts)
        rows = [
            ImageScore(sample.id, len(sample.labels), miou, **dict(zip(PIXELS, map(int, pixels), strict=True)), boundary_iou=boundary_iou)
            for sample, (miou, *pixels, boundary_iou) in zip(samples, found.tolist(), strict=True)
        ]
        save_image_scores(work.folder.path / IMAGES, rows)
    return {"images": len(samples), "scores": scorer.scores().as_dict(), "confusion": scorer.total.tolist()}


def _find_otsu(otsu: OtsuThreshold) -> float | None:
    try:
        return otsu.threshold()
    except DataError:  # maps of a classifier that found nothing at all: their scores say so, and the run goes on
        return None


def _judge(oracle: OracleThreshold, otsu: float | None, recipe: float) -> dict[str, Any]:
    def nearest(threshold: float) -> dict[str, float]:
        index = int(np.abs(np.asarray(oracle.thresholds) - threshold).argmin())
        return {"threshold": oracle.thresholds[index], "miou": oracle.curve[index]}

    return {
        "oracle": {"threshold": oracle.threshold, "miou": oracle.miou},
        "otsu": None if otsu is None else nearest(otsu),
        "recipe": nearest(recipe),
        "thresholds": list(oracle.thresholds),
        "curve": list(oracle.curve),
    }
