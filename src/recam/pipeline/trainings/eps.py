"""EPS's place in a run: the classifier of CAM with a background channel, and EPS's loss on saliency maps beside the
labels'."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from recam.methods.eps import EpsSettings, eps_loss
from recam.models.classifier import Classifier
from recam.pipeline.training import trainings
from recam.pipeline.trainings.cam import Cam
from recam.settings import Count, NonNegative, Positive, section
from recam.training.loader import Batch


@section("eps")
@dataclass(frozen=True)
class EpsTrainingSettings(EpsSettings):
    """Training with EPS's loss on saliency maps, `training = "eps"`, or `recam.starts_from = "eps"` (ReCAM-E)."""

    weight: NonNegative = 1.0
    """Weight of the loss beside that on image labels, here and in trainings that start from it."""
    loss: Literal["bce", "sce", "sce_single"] = "bce"
    """Loss on FC1, as of section cam."""
    epochs: Count = 5
    """Passes over the training split."""
    lr: Positive = 0.1
    """Learning rate of the backbone."""
    head_lr: Positive = 1.0
    """Learning rate of FC1 and of the background channel."""


@trainings.register("eps")
@dataclass(frozen=True)
class Eps(Cam):
    """`recam.methods.eps`."""

    title, colour, Settings = "EPS", "olive", EpsTrainingSettings  # type: ignore[assignment]
    heads = ("background",)
    uses_saliency = True

    def extra_losses(self, network: Classifier, features: Tensor, batch: Batch) -> dict[str, Tensor]:
        term = eps_loss(network.logit_maps(features).float(), batch["saliency"], batch["labels"], self.settings)
        return {"saliency": self.settings.weight * term}
