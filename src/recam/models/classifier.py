"""The multi-label classifier: backbone, global average pooling and linear heads (ReCAM figure 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from recam.errors import RecipeError
from recam.models.backbones import Backbone

BACKGROUND_HEAD = "background"
"""The one head with a single channel, for losses on pixels."""


class Classifier(nn.Module):
    """f(x) with FC1, and whatever heads a training adds. All heads are 1×1 convolutions without bias, so their weights
    are map weights; a bias of the logits, which is zero unless a training sets it, takes no part in maps.

    Args:
        backbone: the feature encoder.
        n_classes: K, foreground classes.
        heads: names of further heads D→K, freshly initialised, e.g. ``fc2``; ``background`` has one channel.
    """

    def __init__(self, backbone: Backbone, n_classes: int, heads: Sequence[str] = ()) -> None:
        super().__init__()
        if n_classes < 1:
            raise RecipeError(f"a classifier needs at least one class, got {n_classes}.")
        self.backbone, self.n_classes = backbone, n_classes
        self.fc1 = nn.Conv2d(backbone.channels, n_classes, 1, bias=False)
        self.register_buffer("bias", torch.zeros(n_classes))
        widths = {name: 1 if name == BACKGROUND_HEAD else n_classes for name in heads}
        self.heads = nn.ModuleDict({name: nn.Conv2d(backbone.channels, n, 1, bias=False) for name, n in widths.items()})

    bias: Tensor

    @property
    def bands(self) -> int:
        """n of the images (B, n, H, W)."""
        return self.backbone.bands

    @property
    def weight_1(self) -> Tensor:
        """(K, D), w of eq. 2."""
        return self.fc1.weight.flatten(1)

    @property
    def weight_2(self) -> Tensor:
        """(K, D), w' of eq. 9. Raises `RecipeError` for a network without FC2."""
        if "fc2" not in self.heads:
            raise RecipeError("this classifier was not re-activated: it has w only. Use weighting 'w', or train ReCAM.")
        weight = self.heads["fc2"].get_parameter("weight").flatten(1)
        return weight

    def logit_maps(self, features: Tensor) -> Tensor:
        """Features (B, D, h, w) → (B, K + 1, h, w) of background and FC1. Raises `RecipeError` without a background
        channel."""
        if BACKGROUND_HEAD not in self.heads:
            raise RecipeError(
                "this classifier has no background channel. Train it with a loss on pixels, such as EPS's."
            )
        return torch.cat([self.heads[BACKGROUND_HEAD](features), self.fc1(features)], 1)

    def encode(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Features (B, D, h, w) of a batch of ``images`` (B, 3, H, W), or of the frozen trunk's ``features``."""
        backbone = self.backbone
        features: Tensor = backbone.top(batch["features"].float()) if "features" in batch else backbone(batch["images"])
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K) of normalised images (B, 3, H, W), eq. 4."""
        pooled = self.backbone(images).mean((2, 3), keepdim=True)  # (B, D, 1, 1)
        logits: Tensor = self.fc1(pooled).flatten(1) + self.bias  # (B, K)
        return logits
