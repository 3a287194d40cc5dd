"""The multi-label classifier: backbone, global average pooling and heads (ReCAM figure 3), and the registry of those
heads that are more than a linear layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from recam.errors import RecipeError
from recam.models.backbones import Backbone
from recam.registry import Registry

heads: Registry[Callable[..., nn.Module]] = Registry(
    "head of a classifier", builtin=("recam.methods",), beside=("recam.trainings",)
)
"""Builders ``(backbone, n_classes, **options) → module`` of heads with parts of their own, such as an attention. A head
of any other name is a linear layer."""

BACKGROUND_HEAD = "background"
"""The one head with a single channel, for losses on pixels."""


class Classifier(nn.Module):
    """f(x) with FC1, and whatever heads a training adds. FC1 and linear heads are 1×1 convolutions without bias, so
    their weights are map weights; a bias of the logits, which is zero unless a training sets it, takes no part in maps.

    Args:
        backbone: the feature encoder.
        n_classes: K, foreground classes.
        heads: further heads, freshly initialised, with the options of each: one of the registry `heads`, or a linear
            layer D→K, e.g. ``fc2``; ``background`` has one channel.
    """

    def __init__(
        self, backbone: Backbone, n_classes: int, heads: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        super().__init__()
        if n_classes < 1:
            raise RecipeError(f"a classifier needs at least one class, got {n_classes}.")
        self.backbone, self.n_classes = backbone, n_classes
        self.fc1 = nn.Conv2d(backbone.channels, n_classes, 1, bias=False)
        self.register_buffer("bias", torch.zeros(n_classes))
        self.head_options = {name: dict(options) for name, options in (heads or {}).items()}
        self.heads = nn.ModuleDict(
            {name: make_head(name, backbone, n_classes, options) for name, options in self.head_options.items()}
        )

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


def make_head(name: str, backbone: Backbone, n_classes: int, options: Mapping[str, Any]) -> nn.Module:
    """A fresh head: that of the registry, or a linear layer."""
    if name in heads:
        return heads[name](backbone, n_classes, **options)
    return nn.Conv2d(backbone.channels, 1 if name == BACKGROUND_HEAD else n_classes, 1, bias=False)
