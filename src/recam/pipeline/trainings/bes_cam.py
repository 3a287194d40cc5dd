"""The classifier of BES in a run: CAM with attention pooling, whose maps cover more."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from recam.methods.bes import attention_logits
from recam.methods.cam import bce_loss
from recam.models.classifier import Classifier
from recam.pipeline.training import Training, trainings
from recam.settings import Count, NonNegative, Positive, Settings, section
from recam.training.loader import Batch


@section("bes_cam")
@dataclass(frozen=True)
class BesCamSettings(Settings):
    """BES's classifier, `training = "bes_cam"`: CAM with attention pooling."""

    attention: NonNegative = 1e-3
    """K, the scale of features in the softmax over positions; 0: plain pooling. Published for features of a ResNet-50,
    whose activations are large."""
    epochs: Count = 5
    """Passes over the training split."""
    lr: Positive = 0.1
    """Learning rate of the backbone."""
    head_lr: Positive = 1.0
    """Learning rate of FC1."""


@trainings.register("bes_cam")
@dataclass(frozen=True)
class BesCam(Training):
    """`recam.methods.bes.attention_logits`; maps are made without the attention, as published."""

    title, Settings = "BES's CAM", BesCamSettings

    def losses(self, network: Classifier, batch: Batch) -> dict[str, Tensor]:
        features = network.encode(batch)  # (B, D, h, w)
        loss = bce_loss(attention_logits(features, network.weight_1, self.settings.attention), batch["labels"])
        extra = self.extra_losses(network, features, batch)
        return {"loss": loss + sum(extra.values()), **extra}
