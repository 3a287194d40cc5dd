"""EDAM's training in a run: pairs of the batch's images, classified by what lies under their masks, which are the
maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from recam.methods.cam import bce_loss, classify
from recam.methods.edam_attention import EdamAttentionSettings, pair_images
from recam.methods.recam import Weighting
from recam.models.classifier import Classifier
from recam.pipeline.training import Training, trainings
from recam.settings import Count, CountOrNone, Positive, section
from recam.training.loader import Batch
from recam.training.optim import split_parameters


@section("edam_training")
@dataclass(frozen=True)
class EdamTrainingSettings(EdamAttentionSettings):
    """EDAM's training, `training = "edam"`; its post-processing by saliency maps is `refine = ["edam"]`."""

    epochs: Count = 25
    """Passes over the training split. Published: one over lists of pairs that hold 25."""
    warmup: CountOrNone = 2000
    """Steps over which the rates rise."""
    lr: Positive = 0.001
    """Learning rate of backbone, attention and embedding."""
    head_lr: Positive = 0.01
    """Learning rate of the masks, the reduction and the classifiers."""


@trainings.register("edam")
@dataclass(frozen=True)
class Edam(Training):
    """`recam.methods.edam_attention`. FC1 learns beside it, from features that it does not change: the method has no
    classifier of single images, by which labels are judged and which other trainings start from."""

    title, Settings = "EDAM", EdamTrainingSettings
    heads = ("edam",)
    hands_on_heads = False

    @property
    def head_options(self) -> dict[str, dict[str, Any]]:
        own = self.settings
        return {"edam": {"width": own.width, "attention_heads": own.attention_heads, "dropout": own.dropout}}

    def groups(self, network: Classifier) -> list[dict[str, Any]]:
        names = ("mask.weight", "reduce.weight", "classify")
        fast = [network.fc1.weight, *(network.heads["edam"].get_parameter(name) for name in names)]
        return split_parameters(network, fast, self.settings.head_lr, self.settings.lr)

    def losses(self, network: Classifier, batch: Batch) -> dict[str, Tensor]:
        features, labels = network.encode(batch), batch["labels"]
        pairs = pair_images(labels.cpu())  # (G, 2)
        logits = network.heads["edam"](features, pairs)  # (G, 2, K)
        attention = F.binary_cross_entropy_with_logits(logits, labels[pairs.to(labels.device)])
        bce = bce_loss(classify(features.detach(), network.weight_1), labels)
        return {"loss": attention + bce, "attention": attention, "bce": bce}

    def maps(
        self, network: Classifier, images: Tensor, classes: Sequence[int], weightings: Sequence[Weighting]
    ) -> dict[Weighting, Tensor]:
        masks = network.heads["edam"].masks(network.backbone(images))  # type: ignore[operator]
        return {weighting: masks[:, list(classes)] for weighting in weightings}
