"""Pixels of training images with what is known of them beside any mask: what class maps and masks are judged by where
no true mask is, see `recam.methods.agreement`."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from torch import Tensor

from recam.data.images import read_mask, write_mask
from recam.data.roles import DataSettings, RunData
from recam.data.spread import spread_evenly
from recam.engine.amount import Amount, Turn
from recam.engine.bench import Bench
from recam.engine.stage import Stage
from recam.engine.work import Work, sum_over_processes
from recam.errors import DataError, RecipeError
from recam.files import atomic_write
from recam.labels import mask_value, multi_hot
from recam.methods.agreement import BACKGROUND_CLASS, Pixels, judge_images, measure_agreement, measure_coverage
from recam.methods.cam import STRIDE, strided_size
from recam.models.backbones import Backbone, BackboneSettings
from recam.pipeline.stages.score import mask_path
from recam.pipeline.train_amounts import untrained_backbone
from recam.recipe.recipe import Recipe
from recam.runfolder.store import StageFolder
from recam.training.augment import normalise_image, resize_image, scaled_size
from recam.types import Image, Sample

STAGE = "pixels"
FILE = "features.safetensors"
IMAGES, PIXELS = 500, 400
"""Images that are read at most, evenly spread over the data set, and pixels of each: 200,000 hold still."""
REFINED = 120
"""Images of them that are refined at each threshold, where a refiner reads it."""
GRID = 2
"""Rows and columns of the strided maps between two pixels that can be drawn; nearer ones say the same."""
TRIED = 40
"""Images of which a plan tries to compare masks."""
_WIDTH = 140
"""About as many features as a pixel has, for trials and for the memory that they take."""
LEVELS = (1, 3)
"""Of the backbone's five levels: colours and edges at stride 4, parts of things at stride 16."""


@dataclass(frozen=True)
class PixelsGiven:
    """What the features of pixels depend on, beside the images."""

    backbone: BackboneSettings
    weights: str | None
    seed: int
    max_side: int | None


def plan_pixels(recipe: Recipe, weights: str | None) -> Stage:
    """The stage that draws pixels of training images and reads their features."""
    backbone, max_side = recipe.section(BackboneSettings), recipe.section(DataSettings).max_side
    given = PixelsGiven(replace(backbone, freeze_until=0), weights, recipe.seed, max_side)
    label = {"title": "pixels that masks are judged by"}
    return Stage(STAGE, "masks", read_pixels, given, roles=("train",), label=label, amounts=pixel_amounts)


def read_pixels(given: PixelsGiven, work: Work) -> dict[str, Any]:
    """Colours and features of early layers of `PIXELS` pixels of each image that is judged."""
    samples = judged_samples(work.data.train)
    backbone = given.backbone.make(work.data.channels).eval()
    backbone = backbone.to(memory_format=torch.channels_last).to(work.accelerator.device)
    read = PixelReader(given.seed, given.max_side, backbone)
    features = np.zeros((len(samples), PIXELS, read.width), np.float32)
    index = {sample.id: position for position, sample in enumerate(samples)}
    for sample in work.share(samples, lambda sample: False):
        features[index[sample.id]] = read(sample)
    sum_over_processes(work, features)
    if work.accelerator.is_main_process:
        with atomic_write(work.folder.path / FILE) as temporary:
            save_file({"features": features.astype(np.float16)}, temporary)
    return {"images": len(samples), "pixels": PIXELS, "features": read.width, "seed": given.seed}


def pixel_amounts(given: PixelsGiven, data: RunData) -> list[Amount]:
    """Early layers read the images that judge."""

    def set_up(bench: Bench) -> Turn:
        read = _untrained_reader(bench, given)

        def turn(sample: Sample) -> None:
            read(sample)

        return turn

    images = count_judged(data)
    per_image = PIXELS * 4 * _WIDTH
    return [Amount("pixels of an image", images, set_up, given, holds=images * per_image)]


def agreement_amount(images: int, masks: int) -> Amount:
    """So many masks of so many images are compared with what pixels predict of each other."""
    tried = min(images, TRIED)

    def set_up(bench: Bench) -> Turn:
        rng = np.random.default_rng(0)
        count, n_classes = tried * PIXELS, bench.n_classes
        features = rng.random((count, _WIDTH), np.float32)
        winners = rng.integers(0, n_classes, count)
        labels = rng.random((tried, n_classes)) < 0.5
        pixels = Pixels(np.repeat(np.arange(tried), PIXELS), np.zeros(count, np.float32), winners, features, labels)
        some = np.stack([np.where(rng.random(count) > 0.5, winners, BACKGROUND_CLASS) for _ in range(masks)])

        def turn(sample: Sample) -> float:
            measure_agreement(pixels, some, bench.background)
            return tried / images

        return turn

    # Features, standardised, and both halves of them.
    holds = 3 * images * PIXELS * 4 * _WIDTH
    return Amount("masks compared with pixels", int(images > 0), set_up, (images, masks), holds=holds)


def judge_amounts(data: RunData, stages: int = 1) -> list[Amount]:
    """Masks of so many stages are judged by `judge_masks`."""

    def set_up(bench: Bench) -> Turn:
        def turn(sample: Sample) -> None:
            path = bench.folder / f"{sample.id}.png"
            if not path.is_file():
                write_mask(path, bench.mask(sample))
            read_mask(path)

        return turn

    images = count_judged(data)
    judged = agreement_amount(images, 1)
    return [Amount("mask read", images * stages, set_up), replace(judged, turns=judged.turns * stages)]


def count_judged(data: RunData, most: int = IMAGES) -> int:
    """How many images judge, `most` of them at most."""
    return min(sum(bool(sample.labels) for sample in data.train), IMAGES, most)


def _untrained_reader(bench: Bench, given: PixelsGiven) -> PixelReader:
    backbone = untrained_backbone(bench, given.backbone)
    return bench.once(("pixels", given), lambda: PixelReader(given.seed, given.max_side, backbone))


def judged_samples(samples: Sequence[Sample], most: int = IMAGES) -> list[Sample]:
    """Images with a label, `most` at most, evenly spread. Raises `DataError` where there is none."""
    labelled = [sample for sample in samples if sample.labels]
    if not labelled:
        raise DataError("no training image has a label, so no mask can be judged. Set masks.threshold to a number.")
    read = [labelled[index] for index in spread_evenly(len(labelled), IMAGES)]
    return [read[index] for index in spread_evenly(len(read), most)]


@dataclass(frozen=True)
class JudgedPixels:
    """The pixels that a stage with `STAGE` among its inputs judges by.

    Attributes:
        samples: (N) images.
        features: (N, P, F) float16.
        labels: (N, K) bool.
        seed: of the draw.
    """

    samples: tuple[Sample, ...]
    features: NDArray[np.float16]
    labels: NDArray[np.bool_]
    seed: int

    @classmethod
    def read(cls, work: Work, most: int = IMAGES) -> JudgedPixels:
        """Those of `most` of the images at most."""
        folder = work.inputs[STAGE]
        seed = int(folder.record["results"]["seed"])
        features = load_file(folder.path / FILE)["features"]
        rows, kept = spread_evenly(len(features), most), tuple(judged_samples(work.data.train, most))
        labels = np.stack([multi_hot(sample.labels, len(work.data.catalog.classes)) > 0 for sample in kept])
        return cls(kept, features[rows], labels, seed)

    def draw(self, sample: Sample, size: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and columns (P,) of a sample's pixels in its strided maps of `size`."""
        return draw_pixels(size, sample.id, self.seed)

    def as_pixels(self, values: NDArray[np.float32] | None = None, winners: NDArray[np.int64] | None = None) -> Pixels:
        """With the largest map at each pixel (N, P) and its class (N, P); without, for masks that are known."""
        n = len(self.samples)
        images = np.repeat(np.arange(n), PIXELS)
        values = np.zeros((n, PIXELS), np.float32) if values is None else values
        winners = np.zeros((n, PIXELS), np.int64) if winners is None else winners
        features = self.features.reshape(len(images), -1).astype(np.float32)
        return Pixels(images, values.reshape(-1), winners.reshape(-1), features, self.labels)


@dataclass(frozen=True)
class Judged:
    """How well masks agree with colours and features of their images.

    Attributes:
        agreement: φ of masks and held-out predictions, or the correlation of all classes where there is no background,
            times `shown`; in [−1, 1].
        shown: the part of the labels that masks show, in [0, 1], see `recam.methods.agreement.measure_coverage`.
        images: by id, the IoU of both in the image, in [0, 1].
    """

    agreement: float
    shown: float
    images: Mapping[str, float]


def judge_masks(work: Work, folder: StageFolder) -> Judged:
    """The masks in a stage's folder, judged by the pixels of `STAGE`, which must be among the inputs."""
    judged, n_classes = JudgedPixels.read(work), len(work.data.catalog.classes)
    found = np.full((len(judged.samples), PIXELS), BACKGROUND_CLASS)
    shown = np.zeros((1, len(judged.samples), n_classes), np.bool_)
    for row, sample in enumerate(judged.samples):
        mask = read_mask(mask_path(folder, sample.id))
        present = np.unique(mask).astype(np.int64) - mask_value(0)
        shown[0, row, present[(present >= 0) & (present < n_classes)]] = True
        rows, columns = judged.draw(sample, strided_size((mask.shape[0], mask.shape[1])))
        values = read_at(mask, rows, columns).astype(np.int64)  # (P,)
        found[row] = np.where(
            (values >= mask_value(0)) & (values <= mask_value(n_classes - 1)), values - mask_value(0), BACKGROUND_CLASS
        )
    pixels, flat, background = judged.as_pixels(), found.reshape(-1), work.data.catalog.classes.background
    scores = judge_images(pixels, flat, background)
    names = (sample.id for sample in judged.samples)
    (coverage,) = measure_coverage(shown, judged.labels)
    (agreement,) = measure_agreement(pixels, flat[None], background) * coverage
    # A mask without any of the labels is the worst, however much the rest of it looks like background.
    scores[~(shown[0] & judged.labels).any(1)] = 0.0
    return Judged(float(agreement), float(coverage), dict(zip(names, scores.tolist(), strict=True)))


def read_at(plane: NDArray[Any], rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[Any]:
    """(P,) values of a plane (H, W) of an image in the middle of these pixels of its strided maps."""
    height, width = plane.shape
    at: NDArray[Any] = plane[
        np.minimum(rows * STRIDE + STRIDE // 2, height - 1), np.minimum(columns * STRIDE + STRIDE // 2, width - 1)
    ]
    return at


def draw_pixels(size: tuple[int, ...], sample_id: str, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns (P,) of `PIXELS` pixels of strided maps (h, w), each once as long as there are enough."""
    rows, columns = np.meshgrid(np.arange(0, size[0], GRID), np.arange(0, size[1], GRID), indexing="ij")
    rng = np.random.default_rng([seed, zlib.crc32(sample_id.encode())])
    order = np.concatenate([rng.permutation(rows.size) for _ in range(-(-PIXELS // rows.size))])[:PIXELS]
    return rows.ravel()[order], columns.ravel()[order]


class PixelReader:
    """Draws pixels of an image with their colours and features of early layers."""

    def __init__(self, seed: int, max_side: int | None, backbone: Backbone) -> None:
        self._seed, self._max_side, self._backbone = seed, max_side, backbone
        probe = torch.zeros(1, backbone.bands, 64, 64)
        self.width = backbone.bands + sum(level.shape[1] for level in self._levels(probe))

    @torch.inference_mode()
    def __call__(self, sample: Sample) -> NDArray[np.float32]:
        """Features (P, F) of the pixels drawn from an image."""
        image = sample.image.read()
        height, width = strided_size((image.shape[0], image.shape[1]))
        row, column = draw_pixels((height, width), sample.id, self._seed)
        points = np.stack([(column + 0.5) / width, (row + 0.5) / height], 1) * 2 - 1  # (P, 2)
        return self._features(image, torch.from_numpy(points).float())

    def _features(self, image: Image, points: Tensor) -> NDArray[np.float32]:
        size = scaled_size((image.shape[0], image.shape[1]), 1.0, self._max_side)
        view = normalise_image(resize_image(image, size), self._backbone.mean, self._backbone.std)[None]  # (1, n, H, W)
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
            except RecipeError:  # a network of one level
                return [self._backbone(moved)]
            return [levels[index] for index in LEVELS]
