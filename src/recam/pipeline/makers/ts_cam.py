"""TS-CAM's place in a run: the classifier's maps where the class token attends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from recam.inference.class_maps import view_pairs
from recam.methods.attention_maps import class_attention, couple
from recam.methods.cam import class_maps, fuse_views, normalise, strided_size
from recam.models.backbones import BackboneSettings
from recam.models.backbones.attention import attention_problems, check_attention, read_attention
from recam.models.classifier import Classifier
from recam.pipeline.maker import MapMaker, MapsOf, Views, makers
from recam.pipeline.training import Training
from recam.recipe.recipe import Recipe
from recam.types import Image, SeedMaps


@makers.register("ts_cam")
@dataclass(frozen=True)
class TsCam(MapMaker):
    """TS-CAM's coupling, `recam.methods.attention_maps.couple`, at the scales and flips of section maps, with the
    training's weights; the backbone is a plain transformer."""

    title = "TS-CAM"

    def problems(self, recipe: Recipe) -> list[str]:
        return attention_problems(recipe.section(BackboneSettings))

    def make(self, training: Training, network: Classifier, views: Views) -> MapsOf:
        check_attention(network.backbone)
        weight = training.weight(network, views.weighting)

        @torch.inference_mode()
        def maps_of(image: Image, classes: Sequence[int]) -> SeedMaps:
            size = (image.shape[0], image.shape[1])
            if not len(classes):
                return self.none(size, strided_size(size))
            made = []
            for pair in view_pairs(network, image, views.scales, views.flip, views.max_side):
                features, attention, prefix = read_attention(network.backbone, pair)
                semantic = class_maps(features, weight[list(classes)])  # (V, n, h, w)
                grid = (features.shape[2], features.shape[3])
                made.append(couple(class_attention(attention, prefix, grid), semantic))
            maps = normalise(fuse_views(made, strided_size(size)))
            return SeedMaps(maps.float().cpu().numpy(), np.asarray(classes, np.int64), size)

        return maps_of
