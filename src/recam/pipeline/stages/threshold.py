"""The threshold of class maps, found in them and in the images, by no mask: see `recam.methods.agreement`.

Where a refiner reads the mask at the threshold, what comes out of it is judged, not what goes in: on thin and small
objects the threshold that is best before a CRF can be far from the one that is best after it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from recam.data.roles import DataSettings
from recam.engine.stage import Stage
from recam.engine.work import Work, sum_over_processes
from recam.errors import DataError, RecipeError
from recam.files import atomic_write
from recam.labels import multi_hot
from recam.methods.agreement import BACKGROUND_CLASS, Pixels, choose_best, find_threshold, measure_agreement
from recam.methods.cam import read_strided
from recam.methods.refine import EVEN, Refiner
from recam.methods.thresholds import OtsuThreshold
from recam.models.backbones import Backbone, BackboneSettings
from recam.pipeline.map_set import MapFolder, MapSet
from recam.pipeline.refiner import RefineContext, RefinerStep
from recam.progress import log_line
from recam.recipe.recipe import Recipe
from recam.runfolder.kinds import THRESHOLD
from recam.runfolder.maps import read_seed
from recam.training.augment import normalise_image, resize_image, scaled_size
from recam.types import Image, Sample

IMAGES, PIXELS = 500, 400
"""Images that are read at most, evenly spread over the data set, and pixels of each: 200,000 hold still."""
GRID = 2
"""Rows and columns of the strided maps between two pixels that can be drawn; nearer ones say the same."""
LEVELS = (1, 3)
"""Of the backbone's five levels: colours and edges at stride 4, parts of things at stride 16."""
REFINED = 120
"""Images that are refined at each threshold, where a refiner reads it."""
TRIED, LOWEST = 9, 0.2
"""Thresholds that are tried then, evenly in their logarithm, from this part of Otsu's up to Otsu's: of objects that are
few or small, agreement has a second peak above it, where most of them have vanished."""
LOW = 0.2
"""Below this agreement, nothing separates the inside of the masks from the outside."""


@dataclass(frozen=True)
class ThresholdGiven:
    """What the threshold depends on, beside the maps."""

    maps: MapFolder
    backbone: BackboneSettings
    weights: str | None
    seed: int
    max_side: int | None
    step: RefinerStep | None
    """The refiner that reads the mask at the threshold; None: none does."""


def plan_threshold(
    recipe: Recipe, maps: MapSet, oracle: bool, weights: str | None, step: RefinerStep | None = None
) -> list[Stage]:
    """The stage that finds the maps' threshold; none where the recipe has one, or the oracle's is wanted and known.

    Args:
        step: the refiner that comes next.
    """
    if not maps.finds or not maps.source(oracle).found:
        return []
    backbone, max_side = recipe.section(BackboneSettings), recipe.section(DataSettings).max_side
    judged = step if step and step.uses_threshold and not step.uses_saliency else None
    given = ThresholdGiven(maps.folder, replace(backbone, freeze_until=0), weights, recipe.seed, max_side, judged)
    label = {"title": f"threshold of {maps.title}", "kind": THRESHOLD}
    return [Stage(maps.finds, "masks", find, given, (maps.folder.stage,), ("train",), label=label)]


def find(given: ThresholdGiven, work: Work) -> dict[str, Any]:
    """The threshold, how well masks at it can be learned, and Otsu's beside."""
    samples = [sample for sample in work.data.train if sample.labels]
    if not samples:
        raise DataError("no training image has a label, so no threshold can be found. Set masks.threshold to a number.")
    spread = np.linspace(0, len(samples) - 1, min(len(samples), REFINED if given.step else IMAGES))
    samples = [samples[index] for index in spread.round().astype(int)]
    backbone = given.backbone.make().to(memory_format=torch.channels_last).eval().to(work.accelerator.device)
    read = PixelReader(given.seed, given.max_side, backbone)
    shape = (len(samples), PIXELS)
    values, winners = np.zeros(shape, np.float32), np.zeros(shape, np.int64)
    features, otsu = np.zeros((*shape, read.width), np.float32), OtsuThreshold()
    index = {sample.id: position for position, sample in enumerate(samples)}
    for sample in work.share(samples, lambda sample: False):
        place, maps = index[sample.id], read_strided(given.maps.read(work, sample))
        values[place], winners[place], features[place] = read(sample, maps)
        otsu.update(maps)
    sum_over_processes(work, values, winners, features, otsu.histogram)
    del backbone, read
    labels = np.stack([multi_hot(sample.labels, len(work.data.catalog.classes)) > 0 for sample in samples])
    images = np.repeat(np.arange(len(samples)), PIXELS)
    pixels = Pixels(images, values.reshape(-1), winners.reshape(-1), features.reshape(len(images), -1), labels)
    split = otsu.threshold() if np.count_nonzero(otsu.histogram) > 1 else 0.0
    if given.step and split:
        thresholds = np.geomspace(split * LOWEST, split, TRIED)
        masks = _refine(given, work, samples, thresholds)  # (T, N, P)
        found = choose_best(thresholds, measure_agreement(pixels, masks.reshape(len(thresholds), -1)))
    else:
        found = find_threshold(pixels)
    chosen = found.threshold if given.step else min(found.threshold, split)
    if found.agreement < LOW and work.accelerator.is_main_process:
        log_line(
            f"{work.folder.name}: masks agree with colours and features of early layers by {found.agreement:.2f} alone"
            " (of 1): they may follow nothing in the images. Look at pictures/ before you trust them."
        )
    return {
        "images": len(samples),
        "threshold": chosen,
        "agreement": found.agreement,
        "thresholds": list(found.thresholds),
        "curve": list(found.curve),
        "otsu": split,
    }


def _refine(
    given: ThresholdGiven, work: Work, samples: list[Sample], thresholds: NDArray[np.floating]
) -> NDArray[np.int64]:
    """(T, N, P) class of the pixels drawn from each image in its refined mask at each threshold, −1 for background."""
    assert given.step
    contexts = [RefineContext(dict(work.inputs), work.accelerator.device, float(each)) for each in thresholds]
    source = work.inputs[given.maps.stage].path / given.maps.inner
    judge = RefinedPixels(
        tuple(given.step.make_for_each(each) for each in contexts), source, work.folder.path, given.seed
    )
    work.each(samples, lambda sample: judge.target(sample).is_file(), judge, given.step.in_processes)
    work.accelerator.wait_for_everyone()
    return np.stack([np.load(judge.target(sample), allow_pickle=False) for sample in samples], 1)


@dataclass(frozen=True)
class RefinedPixels:
    """Refines the maps of an image at each threshold and keeps the classes of the pixels drawn; picklable where the
    refiners are."""

    refiners_of: tuple[Callable[[Sample], Refiner], ...]
    source: Path
    folder: Path
    seed: int

    def target(self, sample: Sample) -> Path:
        """The file of a sample."""
        return self.folder / "pixels" / f"{sample.id}.npy"

    def __call__(self, sample: Sample) -> None:
        image, seed = sample.image.read(), read_seed(self.source / f"{sample.id}.npz")
        rows, columns = draw_pixels(seed.maps.shape[1:], sample.id, self.seed)
        found = []
        for refiner_of in self.refiners_of:
            refined = refiner_of(sample)(image, seed)
            at = read_strided(refined)[:, rows, columns]  # (n, P)
            found.append(np.where(at.max(0) > EVEN, refined.class_indices[at.argmax(0)], BACKGROUND_CLASS))
        with atomic_write(self.target(sample)) as temporary, temporary.open("wb") as file:
            np.save(file, np.stack(found).astype(np.int64), allow_pickle=False)


def draw_pixels(size: tuple[int, ...], sample_id: str, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns (P,) of `PIXELS` pixels of strided maps (h, w), each once as long as there are enough."""
    rows, columns = np.meshgrid(np.arange(0, size[0], GRID), np.arange(0, size[1], GRID), indexing="ij")
    rng = np.random.default_rng([seed, zlib.crc32(sample_id.encode())])
    order = np.concatenate([rng.permutation(rows.size) for _ in range(-(-PIXELS // rows.size))])[:PIXELS]
    return rows.ravel()[order], columns.ravel()[order]


class PixelReader:
    """Draws pixels of an image with the largest map there, its class, colours and features of early layers."""

    def __init__(self, seed: int, max_side: int | None, backbone: Backbone) -> None:
        self._seed, self._max_side, self._backbone = seed, max_side, backbone
        self.width = 3 + sum(level.shape[1] for level in self._levels(torch.zeros(1, 3, 64, 64)))

    @torch.inference_mode()
    def __call__(
        self, sample: Sample, maps: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
        """Values (P,), class indices (P,) and features (P, F) of the pixels drawn.

        Args:
            maps: (n, h, w) of the image's labels.
        """
        height, width = maps.shape[1:]
        row, column = draw_pixels((height, width), sample.id, self._seed)
        at = maps[:, row, column]  # (n, P)
        points = np.stack([(column + 0.5) / width, (row + 0.5) / height], 1) * 2 - 1  # (P, 2)
        classes = np.array(sample.labels)[at.argmax(0)]
        return at.max(0), classes, self._features(sample.image.read(), torch.from_numpy(points).float())

    def _features(self, image: Image, points: Tensor) -> NDArray[np.float32]:
        size = scaled_size((image.shape[0], image.shape[1]), 1.0, self._max_side)
        view = normalise_image(resize_image(image, size), self._backbone.mean, self._backbone.std)[None]  # (1, 3, H, W)
        # As fine as the maps are: colours of single pixels are noise.
        planes = [F.avg_pool2d(view, 4, ceil_mode=True, count_include_pad=False), *self._levels(view)]
        grid = points[None, None].to(planes[-1].device)  # (1, 1, P, 2)
        drawn = [
            F.grid_sample(plane.to(grid.device).float(), grid, padding_mode="border", align_corners=False)[0, :, 0]
            for plane in planes
        ]  # (C, P) each
        features: NDArray[np.float32] = torch.cat(drawn).T.cpu().numpy()
        return features

    def _levels(self, images: Tensor) -> list[Tensor]:
        device = next(self._backbone.parameters()).device
        with torch.inference_mode():
            moved = images.to(device, memory_format=torch.channels_last)
            try:
                levels = self._backbone.levels(moved)
            except RecipeError:  # a network of one level, as transformers are
                return [self._backbone(moved)]
            return [levels[index] for index in LEVELS]
