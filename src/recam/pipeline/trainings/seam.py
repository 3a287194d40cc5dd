"""SEAM's place in a run: each image at two sizes in a step, and maps of its pixel correlation module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from recam.methods.cam import class_maps
from recam.methods.recam import Weighting
from recam.methods.seam import SeamSettings, refined_maps, resize, seam_loss
from recam.models.classifier import Classifier
from recam.pipeline.training import Training, trainings
from recam.settings import Count, Positive, section
from recam.training.loader import Batch


@section("seam")
@dataclass(frozen=True)
class SeamTrainingSettings(SeamSettings):
    """SEAM, `training = "seam"`: maps of a smaller image as smaller maps of the image."""

    epochs: Count = 8
    """Passes over the training split."""
    lr: Positive = 0.01
    """Learning rate of the backbone."""
    head_lr: Positive = 0.1
    """Learning rate of FC1 and of the pixel correlation module."""


@trainings.register("seam")
@dataclass(frozen=True)
class Seam(Training):
    """`recam.methods.seam`. Trainings that start from it continue its classifier, without the correlation module."""

    title, Settings = "SEAM", SeamTrainingSettings
    heads = ("pcm",)
    hands_on_heads = False
    reads_images = True

    def losses(self, network: Classifier, batch: Batch) -> dict[str, Tensor]:
        images = batch["images"]
        small = resize(images, [int(side * self.settings.scale) for side in images.shape[2:]])  # (B, 3, h, w)
        scores, refined = zip(*(self._read(network, view) for view in (images, small)), strict=True)
        loss = seam_loss(scores, refined, batch["labels"], self.settings)
        parts = {"classification": loss.classification, "er": loss.er, "ecr": loss.ecr[0] + loss.ecr[1]}
        return {"loss": loss.total, **parts}

    def maps(
        self, network: Classifier, images: Tensor, classes: Sequence[int], weightings: Sequence[Weighting]
    ) -> dict[Weighting, Tensor]:
        maps = refined_maps(network.backbone, network.heads["pcm"], network.weight_1, images)  # type: ignore[arg-type]
        return {weighting: maps[:, list(classes)] for weighting in weightings}

    def _read(self, network: Classifier, images: Tensor) -> tuple[Tensor, Tensor]:
        """The classifier's maps (B, K, H, W) and those of PCM (B, 1 + K, H, W), both at the size of the view."""
        levels = network.backbone.levels(images)
        features = F.dropout2d(levels[-1], self.settings.dropout, network.training)  # (B, D, h, w)
        maps = class_maps(features, network.weight_1).float()  # (B, K, h, w)
        refined = network.heads["pcm"](images, levels[2:4], maps)  # (B, 1 + K, h, w)
        return resize(maps, images.shape[2:]), resize(refined, images.shape[2:])
