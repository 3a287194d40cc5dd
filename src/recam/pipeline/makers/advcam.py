"""AdvCAM's place in a run: maps of images that climb towards each of their classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from recam.inference.class_maps import view_pairs
from recam.methods.advcam import AdvCamRefiner, AdvCamSettings
from recam.methods.cam import strided_size
from recam.models.classifier import Classifier
from recam.pipeline.maker import MapMaker, MapsOf, Views, makers
from recam.pipeline.training import Training
from recam.settings import CHANGES_NOTHING, Count, Scales, section
from recam.types import Image, SeedMaps


@section("advcam")
@dataclass(frozen=True)
class AdvCamMakerSettings(AdvCamSettings):
    """AdvCAM, `maker = "advcam"`: see `recam.methods.advcam`."""

    scales: Scales | None = None
    """Factors at which each image climbs; None: those of `maps.scales`."""
    classes_at_once: Count | None = field(default=None, metadata=CHANGES_NOTHING)
    """Classes of an image that climb as one batch; None: as many as a GPU's memory holds, one on a CPU. All give the
    same maps."""

    def method(self) -> AdvCamSettings:
        """What climbing itself depends on."""
        return AdvCamSettings(**{each.name: getattr(self, each.name) for each in fields(AdvCamSettings)})


@makers.register("advcam")
@dataclass(frozen=True)
class AdvCam(MapMaker):
    """`recam.methods.advcam.AdvCamRefiner`."""

    title, Settings = "AdvCAM", AdvCamMakerSettings

    def views(self, views: Views) -> Views:
        return replace(views, scales=self.settings.scales or views.scales, flip=True)

    def lighter(self) -> tuple[AdvCam, float]:
        return replace(self, settings=replace(self.settings, steps=1)), 1 / self.settings.steps

    def make(self, training: Training, network: Classifier, views: Views) -> MapsOf:
        def pairs_of(image: Image) -> list[Any]:
            return view_pairs(network, image, views.scales, views.flip, views.max_side)

        weight = training.weight(network, views.weighting)
        own = self.settings
        climb = AdvCamRefiner(network.backbone, pairs_of, views.scales, weight, own.method(), own.classes_at_once)

        def maps_of(image: Image, classes: Sequence[int]) -> SeedMaps:
            size = (image.shape[0], image.shape[1])
            empty = np.zeros((len(classes), *strided_size(size)), np.float32)
            return climb(image, SeedMaps(empty, np.asarray(classes, np.int64), size))

        return maps_of
