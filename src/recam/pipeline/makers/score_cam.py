"""Score-CAM's place in a run: maps weighed by what the classifier says of the image seen through each channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
import torch

from recam.inference.class_maps import view_pairs
from recam.methods.cam import strided_size
from recam.methods.score_cam import ScoreCamSettings, score_cam
from recam.models.classifier import Classifier
from recam.pipeline.maker import MapMaker, MapsOf, Views, makers
from recam.pipeline.training import Training
from recam.settings import CHANGES_NOTHING, Count, section
from recam.types import Image, SeedMaps


@section("score_cam")
@dataclass(frozen=True)
class ScoreCamMakerSettings(ScoreCamSettings):
    """Score-CAM, `maker = "score_cam"`: see `recam.methods.score_cam`."""

    batch: Count = field(default=16, metadata=CHANGES_NOTHING)
    """Masked images that are read at once. All give the same maps."""

    def method(self) -> ScoreCamSettings:
        """What the maps depend on."""
        return ScoreCamSettings(**{each.name: getattr(self, each.name) for each in fields(ScoreCamSettings)})


@makers.register("score_cam")
@dataclass(frozen=True)
class ScoreCam(MapMaker):
    """`recam.methods.score_cam` of the image at its own scale, as published; scores are those of FC1, which has learned
    labels, whatever weights the training makes its maps with."""

    title, Settings = "Score-CAM", ScoreCamMakerSettings

    def views(self, views: Views) -> Views:
        return replace(views, scales=(1.0,), flip=False)

    def lighter(self) -> tuple[ScoreCam, float]:
        few = self.settings.batch
        whole = self.settings.top_channels
        # Of all channels nobody knows here how many there are: the ResNet-50's number is taken.
        return replace(self, settings=replace(self.settings, top_channels=few)), min(1.0, few / (whole or 2048))

    def make(self, training: Training, network: Classifier, views: Views) -> MapsOf:
        @torch.inference_mode()
        def maps_of(image: Image, classes: Sequence[int]) -> SeedMaps:
            size = (image.shape[0], image.shape[1])
            if not len(classes):
                return self.none(size, strided_size(size))
            (view,) = view_pairs(network, image, views.scales, views.flip, views.max_side)  # (1, 3, H, W)
            features = network.backbone(view)[0]  # (D, h, w)
            maps = score_cam(
                network,
                view[0],
                features,
                classes,
                strided_size(size),
                self.settings.method(),
                self.settings.batch,
            )
            return SeedMaps(maps.float().cpu().numpy(), np.asarray(classes, np.int64), size)

        return maps_of
