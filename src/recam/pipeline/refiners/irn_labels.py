"""The labels that IRN learns from: pixels of the training images with a confident class or background, by their class
maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recam.data.images import write_mask
from recam.data.roles import RunData
from recam.engine.amount import Amount, Turn
from recam.engine.bench import Bench
from recam.engine.tasks import Plain
from recam.engine.work import Work
from recam.labels import BACKGROUND, IGNORE
from recam.methods.cam import read_full
from recam.methods.crf import confident_labels
from recam.methods.pamr import PamrRefiner
from recam.methods.refine import EVEN
from recam.methods.thresholds import apply_threshold
from recam.pipeline.map_set import MapFolder, ThresholdSource
from recam.pipeline.stages.score import HasMask, mask_path
from recam.preprocess import rgb_of
from recam.runfolder.maps import read_seed
from recam.runfolder.store import StageFolder
from recam.types import Mask, Sample, SeedMaps

PUBLISHED, PUBLISHED_FOR = (0.10, 0.35), 0.21
"""Confident thresholds for ReCAM on VOC, and the threshold of the maps that they are published for."""
LEAST = 1e-3
"""Thresholds closer to 0 or 1 than this count as so close: no map has odds of 0 or without end."""


@dataclass(frozen=True)
class LabelsGiven:
    """What confident labels depend on, beside the maps."""

    maps: MapFolder
    confident: tuple[float | None, float] | None
    """Thresholds of background and foreground, the first None where there is no background; None: around that of the
    maps, `threshold`."""
    threshold: ThresholdSource | None
    by: str


def make_labels(given: LabelsGiven, work: Work) -> dict[str, Any]:
    """Confident labels of every training image, in processes of their own."""
    level = given.threshold.find(work)[0] if given.threshold else None
    confident = given.confident or confident_around(EVEN if level is None else level)
    make = _label_maker(given.by, confident, work.inputs[given.maps.stage].path / given.maps.inner, work.folder)
    work.each(work.data.train, Plain(HasMask(work.folder), make), processes=True)
    return {"images": len(work.data.train), "confident": list(confident)}


def label_amounts(given: LabelsGiven, data: RunData) -> list[Amount]:
    """Every training image gets its confident labels."""

    def set_up(bench: Bench) -> Turn:
        return _label_maker(
            given.by, given.confident or PUBLISHED, bench.seeds, StageFolder("labels", bench.folder / "labels", "")
        )

    return [Amount("confident labels of an image", len(data.train), set_up, given.by, "pool")]


def _label_maker(
    by: str, confident: tuple[float | None, float], maps: Path, folder: StageFolder
) -> Callable[[Sample], None]:
    return LabelMaker(maps, folder, *confident).cleaned(by)


def confident_around(threshold: float) -> tuple[float, float]:
    """Confident background threshold and confident foreground threshold for maps that are best at `threshold`: the odds
    of either, as a multiple of the threshold's odds, are those of the published `PUBLISHED` and `PUBLISHED_FOR`. So
    both lie in (0, 1), and at the published threshold they are the published ones.

    Args:
        threshold: in (0, 1).
    """
    times = [_odds(each) / _odds(PUBLISHED_FOR) * _odds(threshold) for each in PUBLISHED]
    background, foreground = (each / (1 + each) for each in times)
    return background, foreground


def _odds(share: float) -> float:
    share = min(max(share, LEAST), 1 - LEAST)
    return share / (1 - share)


@dataclass(frozen=True)
class LabelMaker:
    """Reads an image's maps and writes its confident labels, or what becomes of them; picklable, for processes."""

    maps: Path
    folder: StageFolder
    background: float | None
    foreground: float

    def cleaned(self, by: str) -> Callable[[Sample], None]:
        """The maker for a way to clean labels, ``crf``, ``pamr`` or ``none``."""
        return {"crf": self.by_crf, "pamr": self.by_pamr, "none": self.by_thresholds}[by]

    def by_thresholds(self, sample: Sample) -> None:
        """As they are."""
        seed = read_seed(self.maps / f"{sample.id}.npz")
        maps, height = read_full(seed), self.foreground
        confident = apply_threshold(maps, seed.class_indices, height)  # (H, W)
        possible = confident if self.background is None else apply_threshold(maps, seed.class_indices, self.background)
        confident[(confident == BACKGROUND) & ((possible != BACKGROUND) | (self.background is None))] = IGNORE
        self._write(sample, seed, confident)

    def by_crf(self, sample: Sample) -> None:
        """As published; see `recam.methods.crf.confident_labels`."""
        seed = read_seed(self.maps / f"{sample.id}.npz")
        labels = confident_labels(
            rgb_of(sample.image.read()), read_full(seed), seed.class_indices, self.foreground, self.background
        )
        self._write(sample, seed, labels)

    def by_pamr(self, sample: Sample) -> None:
        """The same with PAMR in the CRF's place."""
        image, seed = sample.image.read(), read_seed(self.maps / f"{sample.id}.npz")
        if self.background is None:
            ignored = read_full(seed).max(0, initial=0) <= self.foreground  # (H, W)
            maps = read_full(PamrRefiner(None)(image, seed))
            self._write(sample, seed, apply_threshold(maps, seed.class_indices, None, ignored))
            return
        confident, possible = (
            apply_threshold(read_full(PamrRefiner(threshold)(image, seed)), seed.class_indices, EVEN)
            for threshold in (self.foreground, self.background)
        )  # (H, W)
        confident[(confident == BACKGROUND) & (possible != BACKGROUND)] = IGNORE
        self._write(sample, seed, confident)

    def _write(self, sample: Sample, seed: SeedMaps, labels: Mask) -> None:
        if seed.ignore is not None:
            labels[seed.ignore] = IGNORE
        write_mask(mask_path(self.folder, sample.id), self.finish(labels))

    def finish(self, labels: Mask) -> Mask:
        """What is written of confident labels (H, W)."""
        return labels
