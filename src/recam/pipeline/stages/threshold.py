"""The threshold of class maps, found in them and in the images, by no mask: see `recam.methods.agreement`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from recam.data.roles import DataSettings
from recam.engine.stage import Stage
from recam.engine.work import Work, sum_over_processes
from recam.errors import RecipeError
from recam.labels import multi_hot
from recam.methods.agreement import Pixels, find_threshold
from recam.methods.cam import read_strided
from recam.methods.thresholds import OtsuThreshold
from recam.models.backbones import Backbone, BackboneSettings
from recam.pipeline.map_set import MapFolder, MapSet
from recam.progress import say
from recam.recipe.recipe import Recipe
from recam.runfolder.kinds import THRESHOLD
from recam.training.augment import normalise_image, resize_image, scaled_size
from recam.types import Image, Sample

IMAGES, PIXELS = 500, 400
"""Images that are read at most, evenly spread over the data set, and pixels of each: 200,000 hold still."""
GRID = 2
"""Rows and columns of the strided maps between two pixels that can be drawn; nearer ones say the same."""
LEVELS = (1, 3)
"""Of the backbone's five levels: colours and edges at stride 4, parts of things at stride 16."""
LOW = 0.2
"""Below this agreement, nothing tells inside and outside of the masks apart."""


@dataclass(frozen=True)
class ThresholdGiven:
    """What the threshold depends on, beside the maps."""

    maps: MapFolder
    backbone: BackboneSettings
    weights: str | None
    seed: int
    max_side: int | None


def plan_threshold(recipe: Recipe, maps: MapSet, oracle: bool, weights: str | None) -> list[Stage]:
    """The stage that finds the maps' threshold; none where the recipe has one, or the oracle's is wanted and known."""
    if not maps.finds or not maps.source(oracle).found:
        return []
    backbone, max_side = recipe.section(BackboneSettings), recipe.section(DataSettings).max_side
    given = ThresholdGiven(maps.folder, replace(backbone, freeze_until=0), weights, recipe.seed, max_side)
    label = {"title": f"threshold of {maps.title}", "kind": THRESHOLD}
    return [Stage(maps.finds, "masks", find, given, (maps.folder.stage,), ("train",), label=label)]


def find(given: ThresholdGiven, work: Work) -> dict[str, Any]:
    """The threshold, how well masks at it can be learned, and Otsu's beside."""
    samples = [sample for sample in work.data.train if sample.labels]
    samples = samples[:: -(-len(samples) // IMAGES)]
    backbone = given.backbone.make().to(memory_format=torch.channels_last).eval().to(work.accelerator.device)
    read = PixelReader(given, backbone)
    width = read.width
    shape = (len(samples), PIXELS)
    values, winners = np.zeros(shape, np.float32), np.zeros(shape, np.int64)
    features, otsu = np.zeros((*shape, width), np.float32), OtsuThreshold()
    index = {sample.id: position for position, sample in enumerate(samples)}
    for sample in work.share(samples, lambda sample: False):
        place, maps = index[sample.id], read_strided(given.maps.read(work, sample))
        values[place], winners[place], features[place] = read(sample, maps, place)
        otsu.update(maps)
    sum_over_processes(work, values, winners, features, otsu.histogram)
    labels = np.stack([multi_hot(sample.labels, len(work.data.catalog.classes)) > 0 for sample in samples])
    images = np.repeat(np.arange(len(samples)), PIXELS)
    found = find_threshold(Pixels(images, values.reshape(-1), winners.reshape(-1), features.reshape(-1, width), labels))
    if found.agreement < LOW and work.accelerator.is_main_process:
        say(
            f"{work.folder.name}: masks agree with colours and features of early layers by {found.agreement:.2f} alone"
            " (of 1): they may follow nothing in the images. Look at pictures/ before you trust them."
        )
    return {
        "images": len(samples),
        "threshold": found.threshold,
        "agreement": found.agreement,
        "thresholds": list(found.thresholds),
        "curve": list(found.curve),
        "otsu": otsu.threshold(),
    }


class PixelReader:
    """Draws pixels of an image with the largest map there, its class, colours and features of early layers."""

    def __init__(self, given: ThresholdGiven, backbone: Backbone) -> None:
        self._given, self._backbone = given, backbone
        self.width = 3 + sum(level.shape[1] for level in self._levels(torch.zeros(1, 3, 64, 64)))

    @torch.inference_mode()
    def __call__(
        self, sample: Sample, maps: NDArray[np.float32], place: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
        """Values (P,), class indices (P,) and features (P, F) of `PIXELS` pixels.

        Args:
            maps: (n, h, w) of the image's labels.
            place: of the image in the data set, by which pixels are drawn.
        """
        height, width = maps.shape[1:]
        rows, columns = np.meshgrid(np.arange(0, height, GRID), np.arange(0, width, GRID), indexing="ij")
        rng = np.random.default_rng([self._given.seed, place])
        # Each pixel once, as long as there are enough of them.
        order = np.concatenate([rng.permutation(rows.size) for _ in range(-(-PIXELS // rows.size))])[:PIXELS]
        row, column = rows.ravel()[order], columns.ravel()[order]
        at = maps[:, row, column]  # (n, P)
        points = np.stack([(column + 0.5) / width, (row + 0.5) / height], 1) * 2 - 1  # (P, 2)
        classes = np.array(sample.labels)[at.argmax(0)]
        return at.max(0), classes, self._features(sample.image.read(), torch.from_numpy(points).float())

    def _features(self, image: Image, points: Tensor) -> NDArray[np.float32]:
        size = scaled_size((image.shape[0], image.shape[1]), 1.0, self._given.max_side)
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
