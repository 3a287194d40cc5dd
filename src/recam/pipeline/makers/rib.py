"""RIB's place in a run: for each image the classifier is trained on a little, and put back."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from recam.data.large_photos import read_reduced
from recam.inference.class_maps import view_pairs
from recam.labels import multi_hot
from recam.methods.cam import class_maps, strided_size
from recam.methods.rib import RibSettings, learn, make_rib_maps, weights_kept
from recam.pipeline.maker import MakerContext, MapMaker, MapsOf, Views, makers
from recam.recipe.recipe import Recipe
from recam.settings import CountOrNone, Scales, section
from recam.training.augment import Augment
from recam.training.optim import split_parameters
from recam.training.settings import ordered
from recam.types import Image, Sample, SeedMaps

HEAD_FACTOR = 10.0
"""The class weights learn at so many times the backbone's rate (published)."""

OthersOf = Callable[[int], "tuple[Tensor, Tensor] | None"]


@section("rib")
@dataclass(frozen=True)
class RibMakerSettings(RibSettings):
    """RIB, `maker = "rib"`: see `recam.methods.rib`."""

    others: CountOrNone = 20
    """Other images per step, drawn from the training images that share no class with it; COCO 15, 0 none."""
    crop: Annotated[int, Field(ge=32)] = 512
    """Side (pixels) of their random square crops."""
    long_side: tuple[int, int] = (320, 640)
    """Range of the longer side that they are resized to."""
    freeze_until: int | str = 3
    """Stages of the backbone that keep their weights; published 3: the stem and two stages."""
    scales: Scales | None = None
    """Scales at which each image is read; None: those of `maps.scales`. All but 0.5 are learned from."""

    def method(self) -> RibSettings:
        """What learning itself depends on."""
        return RibSettings(**{each.name: getattr(self, each.name) for each in fields(RibSettings)})

    def conflicts(self, recipe: Recipe) -> list[str]:
        return ordered("rib.long_side", self.long_side)


@makers.register("rib")
@dataclass(frozen=True)
class Rib(MapMaker):
    """`recam.methods.rib`; what it draws at random follows from the image alone, so that the order of images does not
    matter."""

    title, Settings = "RIB", RibMakerSettings
    trains_network, reads_training_images = True, True

    def views(self, views: Views) -> Views:
        return replace(views, scales=self.settings.scales or views.scales, flip=True)

    def lighter(self) -> tuple[Rib, float]:
        return replace(self, settings=replace(self.settings, steps=1)), 1 / self.settings.steps

    def make_with(self, context: MakerContext) -> MapsOf:
        own: RibMakerSettings = self.settings
        network, training, views = context.network, context.training, context.views
        backbone = network.backbone
        backbone.freeze(own.freeze_until)
        for head in (network.fc1, *network.heads.values()):
            head.requires_grad_(True)
        groups = split_parameters(network, backbone, own.lr, HEAD_FACTOR * own.lr)
        learned = [parameter for group in groups for parameter in group["params"]]
        into_trunk = backbone.trunk if backbone.is_chain else _unchanged

        def maps_of_features(read: Tensor) -> Tensor:
            features = backbone.top(read) if backbone.is_chain else backbone(read)
            return class_maps(features, training.weight(network, views.weighting))  # (B, K, h, w)

        def maps_of(image: Image, classes: Sequence[int]) -> SeedMaps:
            size, indices = (image.shape[0], image.shape[1]), np.asarray(classes, np.int64)
            if not len(indices):
                return self.none(size, strided_size(size))
            # Frozen units see the same images in each step: their features are made once.
            pairs = [into_trunk(pair) for pair in view_pairs(network, image, views.scales, True, views.max_side)]
            others = self._others(context, image, indices.tolist())
            scales, n_classes = views.scales, network.n_classes
            with weights_kept(learned):
                result = learn(
                    maps_of_features,
                    [dict(group) for group in groups],
                    pairs,
                    scales,
                    indices,
                    n_classes,
                    lambda step: _moved(others(step), into_trunk),
                    own.method(),
                )
                maps = make_rib_maps(result.sums, size)
            return SeedMaps(maps.cpu().numpy(), indices, size)

        return maps_of

    def _others(self, context: MakerContext, image: Image, classes: list[int]) -> OthersOf:
        """Batches of training images without any of the classes, cropped as for a training."""
        own, backbone, device = self.settings, context.network.backbone, context.network.fc1.weight.device
        pool = [each for each in context.samples if each.labels and not set(each.labels) & set(classes)]
        count, content = min(own.others, len(pool)), zlib.crc32(np.ascontiguousarray(image).tobytes())
        augment = Augment(own.crop, backbone.mean, backbone.std, long_side=own.long_side)
        order = np.random.default_rng(content).permutation(len(pool))

        def batch(step: int) -> tuple[Tensor, Tensor] | None:
            if not count:
                return None
            taken = [pool[order[place % len(pool)]] for place in range(step * count, (step + 1) * count)]
            views = [
                _view(sample, augment, np.random.default_rng([content, step, i])) for i, sample in enumerate(taken)
            ]
            labels = np.stack([multi_hot(sample.labels, context.network.n_classes) for sample in taken])
            return torch.stack(views).to(device), torch.from_numpy(labels).to(device)

        return batch


def _view(sample: Sample, augment: Augment, rng: np.random.Generator) -> Tensor:
    """(3, crop, crop)."""
    image, size = read_reduced(sample.image, augment.largest_side)
    view, _ = augment(image, rng, size=size)
    return view


def _moved(found: tuple[Tensor, Tensor] | None, into_trunk: Callable[[Tensor], Any]) -> tuple[Tensor, Tensor] | None:
    return (into_trunk(found[0]), found[1]) if found else None


def _unchanged(images: Tensor) -> Tensor:
    return images
