"""ReCAM's place in a run: FC2 beside FC1, trained on with BCE + λ·SCE (eq. 8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from recam.methods.recam import WEIGHTINGS, ReCamSettings
from recam.models.classifier import Classifier
from recam.pipeline.training import Training, trainings
from recam.recipe.recipe import Recipe
from recam.settings import Count, Positive, section
from recam.training.loader import Batch
from recam.training.optim import split_parameters


@section("recam")
@dataclass(frozen=True)
class ReCamTrainingSettings(ReCamSettings):
    """ReCAM's training (eqs. 5–8) from a converged classifier."""

    starts_from: str = "cam"
    """The training it starts from; ``eps`` makes it ReCAM-E, with EPS's loss here as well."""
    epochs: Count = 4
    """Passes over the training split."""
    steps: Count | None = None
    """How many steps instead of `epochs`; None: by epochs."""
    lr: Positive = 5e-5
    """Learning rate of backbone and FC1."""
    fc2_lr: Positive = 5e-4
    """Learning rate of FC2, which starts fresh."""


@trainings.register("recam")
@dataclass(frozen=True)
class ReCam(Training):
    """`recam.methods.recam`."""

    title, colour, Settings = "ReCAM", "orange", ReCamTrainingSettings
    heads = ("fc2",)
    weightings = WEIGHTINGS

    @classmethod
    def start(cls, recipe: Recipe) -> str:
        return recipe.section(ReCamTrainingSettings).starts_from

    def groups(self, network: Classifier) -> list[dict[str, Any]]:
        return split_parameters(network, network.heads["fc2"], self.settings.fc2_lr, self.settings.lr)

    def losses(self, network: Classifier, batch: Batch) -> dict[str, Tensor]:
        features = network.encode(batch)  # (B, D, h, w)
        loss = self.settings.loss(features, network.weight_1, network.weight_2, batch["labels"], network.bias)
        extra = self.extra_losses(network, features, batch)
        return {"loss": loss.total + sum(extra.values()), "bce": loss.bce, "sce": loss.sce, **extra}

    def problems(self, n_classes: int) -> list[str]:
        if n_classes > 1 or self.settings.background_logit:
            return []
        return [
            "with a single class ReCAM's softmax loss is always 0. Set recam.background_logit = true, or training ="
            " 'cam'."
        ]
