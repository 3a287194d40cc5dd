"""Pixel-wise cross-entropy of a segmentation model (eq. 3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recam.labels import BACKGROUND, IGNORE, mask_value
from recam.training.loader import Batch


class SegmentationObjective(nn.Module):
    """Pixel-wise softmax cross-entropy (eq. 3), ignored pixels left out; 0 for a batch that holds nothing else.

    Args:
        segmenter: images (B, 3, H, W) → logits (B, K+1, H, W). Where it has ``training_pairs(images, masks)``, the
            losses of all pairs of logits and masks that it names are added.
        class_weights: (K+1,) weight of each class's pixels, see `balance_classes`; None: 1.
        background: False: logits are (B, K, H, W), the first of them mask value 1; a pixel of value 0 is ignored.
    """

    class_weights: Tensor | None

    def __init__(self, segmenter: nn.Module, class_weights: Tensor | None = None, background: bool = True) -> None:
        super().__init__()
        self.segmenter, self.background = segmenter, background
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        images, masks = batch["images"], as_targets(batch["masks"], self.background)
        if len(images) == 1:  # BatchNorm of a pooled branch cannot learn from one image alone
            images, masks = images.expand(2, -1, -1, -1), torch.cat([masks, torch.full_like(masks, IGNORE)])
        pairs = getattr(self.segmenter, "training_pairs", None)
        compared = pairs(images, masks) if pairs else [(self.segmenter(images), masks)]
        return {"loss": torch.stack([self._loss(logits, target) for logits, target in compared]).sum()}

    def _loss(self, logits: Tensor, masks: Tensor) -> Tensor:
        total = F.cross_entropy(logits.float(), masks, self.class_weights, ignore_index=IGNORE, reduction="sum")
        return total / (masks != IGNORE).sum().clamp_min(1)


def as_targets(masks: Tensor, background: bool) -> Tensor:
    """Masks as outputs of the network, 255 ignored: as they are, or, where its first output is mask value 1, shifted,
    pixels of value 0 ignored."""
    if background:
        return masks
    return torch.where((masks == IGNORE) | (masks == BACKGROUND), IGNORE, masks - mask_value(0))


def balance_classes(pixels: Tensor, power: float) -> Tensor:
    """Weights (K+1,) of the classes in a loss: share of the pixels^−power, scaled so that a pixel weighs 1 on average.

    Args:
        pixels: (K+1,) how many pixels each class has; classes without any get weight 0, they never occur.
        power: 0 gives all pixels the same weight, 1 gives all classes the same sum of weights.
    """
    share = pixels.double() / pixels.sum().clamp_min(1)
    weights = torch.where(pixels > 0, share.clamp_min(1e-12) ** -power, 0.0)
    return (weights / (share * weights).sum().clamp_min(1e-12)).float()
