"""Sheets of pictures of two runs side by side, of images that their numbers choose.

What a sheet shows is a `Shown` per image; every number stands in the sheet's table and under its row.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recam.data.images import read_mask
from recam.data.roles import DataSettings, RunData
from recam.errors import DataError
from recam.evaluation.metrics import ConfusionMatrix, ErrorSplit, error_split
from recam.evaluation.pixel_counts import IMAGES, read_image_scores
from recam.files import named_file
from recam.methods.cam import read_full
from recam.methods.thresholds import apply_threshold
from recam.recipe.recipe import read_recipe
from recam.report.figures import Figure, draw
from recam.runfolder.maps import read_seed
from recam.runfolder.store import RunFolder, read_run
from recam.runfolder.summary import RunSummary
from recam.types import Image, Mask, Sample, SeedMaps
from recam.visualize import overlay_heat, overlay_mask, panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INCHES = 1.5
"""Width of a picture on a sheet."""
TILE = 240
"""The same in pixels of the sheet."""


@dataclass(frozen=True)
class ShownRun:
    """A finished run, opened to look at what it made.

    Attributes:
        summary: of the run.
    """

    summary: RunSummary

    @cached_property
    def data(self) -> RunData:
        """Its data set, as it was opened."""
        own = read_recipe(self.summary.root).section(DataSettings)
        return RunData(own.open(), own)

    @cached_property
    def _seeds(self) -> tuple[Path, float | None]:
        """Folder of its class maps before any refiner, and their oracle threshold."""
        seeds = read_run(self.summary.root)["models"]["seeds"]
        judged = self.summary.records[seeds["scores"]]["results"]["maps"][seeds["name"]]
        background = self.data.catalog.classes.background
        threshold = float(judged["oracle"]["threshold"]) if background else None
        return self._stage(seeds["stage"]) / seeds["folder"], threshold

    def seed(self, sample: Sample) -> SeedMaps | None:
        """Its class maps of an image before any refiner; None where it has left the image out."""
        path = named_file(self._seeds[0], f"{sample.id}.npz")
        return read_seed(path) if path.is_file() else None

    def seed_mask(self, seed: SeedMaps) -> Mask:
        """These maps as a mask, at the threshold that scores best on the whole data set."""
        return apply_threshold(read_full(seed), seed.class_indices, self._seeds[1], seed.ignore)

    def mask(self, stage: str, sample: Sample) -> Mask:
        """The mask of an image that a stage made, ``masks`` or ``predictions/pseudo``."""
        return read_mask(named_file(self._stage(stage), f"{sample.id}.png"))

    def scores(self, stage: str) -> dict[str, float]:
        """mIoU of each image by id, as a stage scored it; without those that show no class."""
        if stage not in self.summary.records:
            return {}
        return {row.id: row.miou for row in read_image_scores(self._stage(stage) / IMAGES) if row.miou == row.miou}

    def _stage(self, name: str) -> Path:
        return RunFolder(self.summary.root).stage(name).path


@dataclass(frozen=True)
class Compared:
    """Seed masks of two runs on one image.

    Attributes:
        errors: of its pixels, by run.
        miou: of the image, by run.
    """

    sample: Sample
    errors: tuple[ErrorSplit, ErrorSplit]
    miou: tuple[float, float]

    def share(self, name: str, run: int) -> float:
        """Part of the pixels that an error takes."""
        return self.errors[run].shares[name]

    def fell(self, name: str) -> float:
        """By how much that part fell from the first run to the second."""
        return self.share(name, 0) - self.share(name, 1)

    @property
    def rose(self) -> bool:
        """Whether mIoU is higher in the second run."""
        return self.miou[1] > self.miou[0]


def compare_seeds(runs: tuple[ShownRun, ShownRun]) -> Iterator[Compared]:
    """All scored images that both runs have maps of, one after the other; nothing of them is kept."""
    classes = runs[0].data.catalog.classes
    for sample in runs[0].data.score:
        seeds = [run.seed(sample) for run in runs]
        if sample.mask is None or None in seeds:
            continue
        truth, found, scores = sample.mask.read(), [], []
        for run, seed in zip(runs, seeds, strict=True):
            assert seed is not None
            matrix = ConfusionMatrix(classes)
            matrix.update(run.seed_mask(seed), truth)
            found.append(error_split(matrix.counts))
            scores.append(matrix.scores().miou if matrix.counts[1:].any() else float("nan"))
        yield Compared(sample, (found[0], found[1]), (scores[0], scores[1]))


class Highest:
    """The few images of the highest value, of any number that come by.

    Args:
        count: how many.
        value: of an image; NaN: it is left out.
        above: images of this value or less are none.
    """

    def __init__(self, count: int, value: Callable[[Compared], float], above: float = -np.inf) -> None:
        self._count, self._value, self._above = count, value, above
        self._kept: list[tuple[float, str, Compared]] = []

    def offer(self, each: Compared) -> None:
        """Keep an image where it is among the highest so far."""
        value = self._value(each)
        if value > self._above:
            heapq.heappush(self._kept, (value, each.sample.id, each))
            if len(self._kept) > self._count:
                heapq.heappop(self._kept)

    @property
    def images(self) -> list[Compared]:
        """The highest first; of equals the last by id."""
        return [each for *_, each in sorted(self._kept, key=lambda kept: kept[:2], reverse=True)]


def spread_of_gains(before: dict[str, float], after: dict[str, float], each: int = 2) -> list[tuple[str, str, float]]:
    """(what, id, gain) of images: those of which a score rose most, those in the middle, those of which it fell most.

    Args:
        before, after: by image id; an image that is not in both is left out.
        each: how many of either; fewer where there are not three times as many images.
    """
    gains = sorted(((after[name] - score, name) for name, score in before.items() if name in after), reverse=True)
    count = min(each, len(gains) // 3)
    middle = (len(gains) - count) // 2
    places = {"greatest gain": 0, "median": middle, "least gain": len(gains) - count}
    return [
        (what, name, gain) for what, start in places.items() for gain, name in gains[start : start + count] if count
    ]


def heat(image: Image, seed: SeedMaps) -> Image:
    """Maps over their image."""
    return overlay_heat(image, read_full(seed))


def laid_over(image: Image, mask: Mask) -> Image:
    """A mask over its image."""
    return overlay_mask(image, mask)


@dataclass(frozen=True)
class Shown:
    """An image on a sheet.

    Attributes:
        pictures: (H, W, 3) each, one per column of the sheet.
        caption: what stands below.
        numbers: its row of the sheet's table.
    """

    pictures: Sequence[Image]
    caption: str
    numbers: Sequence[str | float]


def sheet(
    name: str, title: str, note: str, columns: Sequence[str], head: Sequence[str], rows: Sequence[Shown]
) -> Figure | None:
    """The images as a figure; None without any.

    Args:
        name, title, note: see `recam.report.figures.Figure`.
        columns: titles of the pictures.
        head: of the table.
    """
    if not rows:
        return None
    if any(len(row.pictures) != len(columns) for row in rows):
        raise DataError(f"the sheet {name!r} has {len(columns)} columns, and rows of other lengths.")
    laid = panel([row.pictures for row in rows], columns, [row.caption for row in rows], TILE)

    def paint(axes: Axes) -> None:
        axes.imshow(laid, interpolation="lanczos")
        axes.set_axis_off()

    width = INCHES * len(columns)
    table = [tuple(head), *(tuple(row.numbers) for row in rows)]
    return draw(name, title, note, table, paint, width * laid.shape[0] / laid.shape[1], width)
