"""The linear probe trained on, with the backbone's last stages: features follow the data, and held-out labels say
whether they should have."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.optim import Optimizer

from recam.methods.cam import bce_loss, classify
from recam.models.classifier import Classifier
from recam.pipeline.training import Training, trainings
from recam.pipeline.trainings.probe import KEPT_HEAD
from recam.runfolder.store import StageFolder
from recam.settings import Count, CountOrNone, NonNegative, Positive, Settings, section
from recam.training.loader import Batch
from recam.training.optim import make_adamw


@section("tuned")
@dataclass(frozen=True)
class TunedSettings(Settings):
    """Training of the backbone's last stages from the linear probe's head, `training = "tuned"`."""

    steps: Count = 240
    """Steps, whatever the number of images: in passes, few images would be learned hardly at all."""
    warmup: CountOrNone = 20
    """Steps over which the rates rise, so that the head's first gradients do not undo it."""
    lr: Positive = 3e-4
    """AdamW's learning rate of the backbone; it does not depend on the scale of features or losses."""
    head_lr: Positive = 3e-3
    """The same of FC1."""
    weight_decay: NonNegative = 0.01
    """AdamW's weight decay."""


@trainings.register("tuned")
@dataclass(frozen=True)
class Tuned(Training):
    """BCE on FC1 (eq. 1) by AdamW, a fixed number of steps."""

    title, starts_from, colour, Settings = "tuned CAM", "probe", "teal", TunedSettings

    def begin(self, network: Classifier, start: StageFolder) -> None:
        super().begin(network, start)
        if (start.path / KEPT_HEAD).is_file():
            head = load_file(start.path / KEPT_HEAD)
            with torch.no_grad():
                network.fc1.weight.copy_(head["weight"][..., None, None])
                network.bias.copy_(head["bias"])

    def optimizer(self, network: Classifier, momentum: float, weight_decay: float) -> Optimizer:
        return make_adamw(self.groups(network), weight_decay=self.settings.weight_decay)

    def losses(self, network: Classifier, batch: Batch) -> dict[str, Tensor]:
        features = network.encode(batch)  # (B, D, h, w)
        loss = bce_loss(classify(features, network.weight_1, network.bias), batch["labels"])
        extra = self.extra_losses(network, features, batch)
        return {"loss": loss + sum(extra.values()), **extra}
