"""What each training minimises, as modules: batch → losses by name. A batch holds ``images`` or the frozen trunk's ``features``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recam.labels import IGNORE
from recam.methods.cam import STRIDE, bce_loss, classify
from recam.methods.irn import irn_loss
from recam.methods.recam import ReCamSettings, sce_loss, sce_single_loss
from recam.methods.saliency import EpsSettings, eps_loss
from recam.models.classifier import Classifier
from recam.models.irnet import IrNet
from recam.training.loader import Batch

MIDDLE = STRIDE // 2

CLASSIFIER_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"bce": bce_loss, "sce": sce_loss, "sce_single": sce_single_loss}


def encode(classifier: Classifier, batch: Batch) -> Tensor:
    """Features (B, D, h, w) of a batch, whichever way it comes."""
    backbone = classifier.backbone
    features: Tensor = backbone.top(batch["features"].float()) if "features" in batch else backbone(batch["images"])
    return features


@dataclass(frozen=True)
class EpsTerm:
    """EPS's loss beside another; needs a classifier with a background channel, and ``saliency`` in each batch."""

    weight: float
    settings: EpsSettings

    def add(self, losses: dict[str, Tensor], classifier: Classifier, features: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`losses` with the weighted term in ``loss``, and the term itself as ``saliency``."""
        term = eps_loss(classifier.logit_maps(features).float(), batch["saliency"], batch["labels"], self.settings)
        return {**losses, "loss": losses["loss"] + self.weight * term, "saliency": term}


class ClassifierObjective(nn.Module):
    """FC1 with a loss of Table 1's upper half, and EPS's where it is given."""

    def __init__(self, classifier: Classifier, loss: str, eps: EpsTerm | None = None) -> None:
        super().__init__()
        self.classifier, self.loss, self.eps = classifier, CLASSIFIER_LOSSES[loss], eps

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        features = encode(self.classifier, batch)  # (B, D, h, w)
        losses = {"loss": self.loss(classify(features, self.classifier.weight_1), batch["labels"])}
        return self.eps.add(losses, self.classifier, features, batch) if self.eps else losses


class ReactivationObjective(nn.Module):
    """BCE + λ·SCE (eq. 8), and EPS's loss where it is given."""

    def __init__(self, classifier: Classifier, settings: ReCamSettings, eps: EpsTerm | None = None) -> None:
        super().__init__()
        self.classifier, self.settings, self.eps = classifier, settings, eps

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        weight_1, weight_2 = self.classifier.weight_1, self.classifier.weight_2
        features = encode(self.classifier, batch)  # (B, D, h, w)
        loss = self.settings.loss(features, weight_1, weight_2, batch["labels"])
        losses = {"loss": loss.total, "bce": loss.bce, "sce": loss.sce}
        return self.eps.add(losses, self.classifier, features, batch) if self.eps else losses


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
    """Pixel-wise softmax cross-entropy (eq. 3), ignored pixels left out; 0 for a batch that holds nothing else.

    Args:
        segmenter: images (B, 3, H, W) → logits (B, K+1, H, W). Where it has ``training_pairs(images, masks)``, the losses of all pairs of
            logits and masks that it names are added.
        class_weights: (K+1,) weight of each class's pixels, see `balance_classes`; None: 1.
    """

    class_weights: Tensor | None

    def __init__(self, segmenter: nn.Module, class_weights: Tensor | None = None) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        images, masks = batch["images"], batch["masks"]
        if len(images) == 1:  # BatchNorm of a pooled branch cannot learn from one image alone
            images, masks = images.expand(2, -1, -1, -1), torch.cat([masks, torch.full_like(masks, IGNORE)])
        pairs = getattr(self.segmenter, "training_pairs", None)
        compared = pairs(images, masks) if pairs else [(self.segmenter(images), masks)]
        return {"loss": torch.stack([self._loss(logits, seen) for logits, seen in compared]).sum()}

    def _loss(self, logits: Tensor, masks: Tensor) -> Tensor:
        total = F.cross_entropy(logits.float(), masks, self.class_weights, ignore_index=IGNORE, reduction="sum")
        return total / (masks != IGNORE).sum().clamp_min(1)


def balance_classes(pixels: Tensor, power: float) -> Tensor:
    """Weights (K+1,) of the classes in a loss: share of the pixels^−power, scaled so that a pixel weighs 1 on average.

    Args:
        pixels: (K+1,) how many pixels each class has; classes without any get weight 0, they never occur.
        power: 0 gives all pixels the same weight, 1 gives all classes the same sum of weights.
    """
    share = pixels.double() / pixels.sum().clamp_min(1)
    weights = torch.where(pixels > 0, share.clamp_min(1e-12) ** -power, 0.0)
    return (weights / (share * weights).sum().clamp_min(1e-12)).float()
