"""The multi-label classifier: backbone, global average pooling and one or two bias-free heads (ReCAM figure 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recam.errors import RecipeError
from recam.models.backbones import Backbone


class Classifier(nn.Module):
    """f(x) with FC1, and after reactivation FC2. Both heads are 1×1 convolutions D→K without bias, so their weights are class map weights.

    Args:
        backbone: the feature encoder.
        n_classes: K, foreground classes.
        second_head: add FC2, freshly initialised.
        background: add a channel of the background beside FC1, freshly initialised, for losses on pixels such as EPS's.
    """

    def __init__(self, backbone: Backbone, n_classes: int, second_head: bool = False, background: bool = False) -> None:
        super().__init__()
        if n_classes < 1:
            raise RecipeError(f"a classifier needs at least one class, got {n_classes}.")
        self.backbone = backbone
        self.fc1 = nn.Conv2d(backbone.channels, n_classes, 1, bias=False)
        self.fc2 = nn.Conv2d(backbone.channels, n_classes, 1, bias=False) if second_head else None
        self.background = nn.Conv2d(backbone.channels, 1, 1, bias=False) if background else None

    @property
    def weight_1(self) -> Tensor:
        """(K, D), w of eq. 2."""
        return self.fc1.weight.flatten(1)

    @property
    def weight_2(self) -> Tensor:
        """(K, D), w' of eq. 9. Raises `RecipeError` before reactivation."""
        if self.fc2 is None:
            raise RecipeError("this classifier was not re-activated: it has w only. Use weighting 'w', or run the reactivate stage.")
        return self.fc2.weight.flatten(1)

    def logit_maps(self, features: Tensor) -> Tensor:
        """Features (B, D, h, w) → (B, K + 1, h, w) of background and FC1. Raises `RecipeError` without a background channel."""
        if self.background is None:
            raise RecipeError("this classifier has no background channel. Train it with classify.saliency_loss = 'eps'.")
        return torch.cat([self.background(features), self.fc1(features)], 1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K) of normalised images (B, 3, H, W), eq. 4."""
        pooled = self.backbone(images).mean((2, 3), keepdim=True)  # (B, D, 1, 1)
        logits: Tensor = self.fc1(pooled).flatten(1)  # (B, K)
        return logits
