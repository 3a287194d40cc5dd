"""GAIN's place in a run: each image is read again without what its maps cover."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from recam.methods.cam import bce_loss, classify
from recam.methods.gain import GainSettings, erase, mining_loss
from recam.models.classifier import Classifier
from recam.pipeline.training import Training, trainings
from recam.settings import Count, Positive, section
from recam.training.loader import Batch


@section("gain")
@dataclass(frozen=True)
class GainTrainingSettings(GainSettings):
    """GAIN, `training = "gain"`: maps that leave nothing of a class in the rest of the image."""

    epochs: Count = 5
    """Passes over the training split."""
    lr: Positive = 0.1
    """Learning rate of the backbone."""
    head_lr: Positive = 1.0
    """Learning rate of FC1."""


@trainings.register("gain")
@dataclass(frozen=True)
class Gain(Training):
    """`recam.methods.gain`, on the classifier of CAM; rates are those of CAM, as the paper gives none for it."""

    title, Settings = "GAIN", GainTrainingSettings
    reads_images = True

    def losses(self, network: Classifier, batch: Batch) -> dict[str, Tensor]:
        images, labels = batch["images"], batch["labels"]
        features = network.backbone(images)  # (B, D, h, w)
        bce = bce_loss(classify(features, network.weight_1, network.bias), labels)
        erased = erase(images, features.float(), network.weight_1, labels, self.settings)
        if len(erased.images):
            mining = mining_loss(network(erased.images), erased.targets, self.settings.score)
        else:
            mining = bce * 0
        return {"loss": bce + self.settings.alpha * mining, "bce": bce, "mining": mining}
