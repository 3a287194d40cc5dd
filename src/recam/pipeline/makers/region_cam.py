"""Region-CAM's place in a run: gradients of each class on all stages, spread along their features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from recam.errors import RecipeError
from recam.inference.class_maps import view_pairs
from recam.methods.cam import classify, strided_size
from recam.methods.region_cam import RegionCamSettings, region_cam
from recam.models.classifier import Classifier
from recam.pipeline.maker import MapMaker, MapsOf, Views, makers
from recam.pipeline.training import Training
from recam.settings import section
from recam.types import Image, SeedMaps


@section("region_cam")
@dataclass(frozen=True)
class RegionCamMakerSettings(RegionCamSettings):
    """Region-CAM, `maker = "region_cam"`: see `recam.methods.region_cam`."""


@makers.register("region_cam")
@dataclass(frozen=True)
class RegionCam(MapMaker):
    """`recam.methods.region_cam` of the image at its own scale; its logits are FC1's, whatever weights the training
    makes its maps with. A network without five levels is read as one stage, its last."""

    title, Settings = "Region-CAM", RegionCamMakerSettings

    def views(self, views: Views) -> Views:
        return replace(views, scales=(1.0,), flip=False)

    def make(self, training: Training, network: Classifier, views: Views) -> MapsOf:
        def levels_of(image: Tensor) -> tuple[list[Tensor], Tensor]:
            try:
                levels = network.backbone.levels(image)
            except RecipeError:  # no five levels
                levels = [network.backbone(image)]
            return levels, classify(levels[-1], network.weight_1, network.bias)

        def maps_of(image: Image, classes: Sequence[int]) -> SeedMaps:
            size = (image.shape[0], image.shape[1])
            if not len(classes):
                return self.none(size, strided_size(size))
            (view,) = view_pairs(network, image, views.scales, views.flip, views.max_side)  # (1, 3, H, W)
            maps = region_cam(levels_of, view, classes, strided_size(size), self.settings)
            return SeedMaps(maps.float().cpu().numpy(), np.asarray(classes, np.int64), size)

        return maps_of
