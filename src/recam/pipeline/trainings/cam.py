"""CAM's place in a run: the multi-label classifier (eq. 1), and the loss variants of Table 1's upper half on its
head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from recam.methods.cam import bce_loss, classify
from recam.methods.recam import sce_loss, sce_single_loss
from recam.models.classifier import Classifier
from recam.pipeline.training import Training, trainings
from recam.settings import Count, Positive, Settings, section
from recam.training.loader import Batch

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "bce": bce_loss, "sce": sce_loss, "sce_single": sce_single_loss
}  # fmt: skip


@section("cam")
@dataclass(frozen=True)
class CamSettings(Settings):
    """Training of the multi-label classifier (eq. 1), which other trainings start from."""

    loss: Literal["bce", "sce", "sce_single"] = "bce"
    """Loss on FC1: ``bce`` (eq. 1), or a variant of Table 1."""
    epochs: Count = 5
    """Passes over the training split."""
    steps: Count | None = None
    """How many steps instead of `epochs`, so that few images are learned as long as many; None: by epochs."""
    lr: Positive = 0.1
    """Learning rate of the backbone."""
    head_lr: Positive = 1.0
    """Learning rate of FC1."""


@trainings.register("cam")
@dataclass(frozen=True)
class Cam(Training):
    """`recam.methods.cam`: FC1 by itself."""

    title, colour, Settings = "CAM", "grey", CamSettings

    def losses(self, network: Classifier, batch: Batch) -> dict[str, Tensor]:
        features = network.encode(batch)  # (B, D, h, w)
        loss = LOSSES[self.settings.loss](classify(features, network.weight_1, network.bias), batch["labels"])
        extra = self.extra_losses(network, features, batch)
        return {"loss": loss + sum(extra.values()), **extra}

    def problems(self, n_classes: int) -> list[str]:
        if n_classes == 1 and self.settings.loss != "bce":
            return [f"with a single class the loss {self.settings.loss!r} is always 0. Set cam.loss = 'bce'."]
        return []
