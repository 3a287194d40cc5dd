"""What each training minimises, as modules: batch → losses by name. A batch holds ``images`` or the frozen trunk's ``features``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from recam.data.loader import Batch
from recam.errors import RecipeError
from recam.labels import IGNORE
from recam.methods.cam import STRIDE, bce_loss, classify
from recam.methods.irn import irn_loss
from recam.methods.recam import ReCamSettings, sce_loss, sce_single_loss
from recam.models.classifier import Classifier
from recam.models.irnet import IrNet

MIDDLE = STRIDE // 2

CLASSIFIER_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"bce": bce_loss, "sce": sce_loss, "sce_single": sce_single_loss}


def encode(classifier: Classifier, batch: Batch) -> Tensor:
    """Features (B, D, h, w) of a batch, whichever way it comes."""
    backbone = classifier.backbone
    features: Tensor = backbone.top(batch["features"].float()) if "features" in batch else backbone(batch["images"])
    return features


class ClassifierObjective(nn.Module):
    """FC1 with a loss of Table 1's upper half."""

    def __init__(self, classifier: Classifier, loss: str) -> None:
        super().__init__()
        self.classifier, self.loss = classifier, CLASSIFIER_LOSSES[loss]

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        logits = classify(encode(self.classifier, batch), self.classifier.weight_1)  # (B, K)
        return {"loss": self.loss(logits, batch["labels"])}


class ReactivationObjective(nn.Module):
    """BCE + λ·SCE (eq. 8)."""

    def __init__(self, classifier: Classifier, settings: ReCamSettings) -> None:
        super().__init__()
        self.classifier, self.settings = classifier, settings

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        weight_1, weight_2 = self.classifier.weight_1, self.classifier.weight_2
        loss = self.settings.loss(encode(self.classifier, batch), weight_1, weight_2, batch["labels"])
        return {"loss": loss.total, "bce": loss.bce, "sce": loss.sce}


class IrnObjective(nn.Module):
    """IRN's loss on confident labels; the backbone stays frozen, its features are computed once for both branches."""

    def __init__(self, network: IrNet, radius: float) -> None:
        super().__init__()
        self.network, self.radius = network, radius

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        # The middle pixel of each 4×4 block stands for it, as the nearest one did in the published reduction.
        segmentation = batch["masks"][:, MIDDLE::STRIDE, MIDDLE::STRIDE]  # (B, h, w)
        edge_logits, displacement = self.network(batch["images"])
        loss = irn_loss(edge_logits, displacement, segmentation, self.radius)
        parts = {"positive": loss.positive, "negative": loss.negative}
        if loss.displacement_foreground is not None and loss.displacement_background is not None:
            parts["displacement"] = (loss.displacement_foreground + loss.displacement_background) / 2
        return {"loss": loss.total, **parts}


class SegmentationObjective(nn.Module):
    """Pixel-wise softmax cross-entropy (eq. 3), ignored pixels left out; 0 for a batch that holds nothing else."""

    def __init__(self, segmenter: nn.Module) -> None:
        super().__init__()
        self.segmenter = segmenter

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        images = batch["images"]
        if len(images) == 1:
            images = images.expand(2, -1, -1, -1)  # BatchNorm of a pooled branch cannot learn from one image alone
        logits = self.segmenter(images)[: len(batch["masks"])]  # (B, K+1, H, W)
        total = F.cross_entropy(logits.float(), batch["masks"], ignore_index=IGNORE, reduction="sum")
        return {"loss": total / (batch["masks"] != IGNORE).sum().clamp_min(1)}


def split_parameters(whole: nn.Module, part: nn.Module, part_lr: float, rest_lr: float) -> list[dict[str, Any]]:
    """Two parameter groups: those of `part` (an encoder) and the others, trainable ones only. Raises `RecipeError` where none is."""
    inside = {id(parameter) for parameter in part.parameters()}
    trainable = [parameter for parameter in whole.parameters() if parameter.requires_grad]
    if not trainable:
        raise RecipeError("nothing is left to train: lower backbone.freeze_until.")
    groups = [
        {"params": [p for p in trainable if id(p) in inside], "lr": part_lr},
        {"params": [p for p in trainable if id(p) not in inside], "lr": rest_lr},
    ]
    return [group for group in groups if group["params"]]
