"""Networks of timm that read images of one size alone: BEiT, CaiT, MLP-Mixer, Hiera, LeViT, CoAtNet and their like.

Their positions, mixing layers or windows belong to the size that they were made for. Images are brought to that size,
whatever their shape (bilinear, corners not aligned, reduced with antialiasing), as whoever trained them did; features
are the network's own grid over the whole image. So test-time scales change what they read little, and fine detail of
large photos is lost: a network of any size is the better choice where there is one.

Tokens before those of the grid (class, distillation) are left out: a grid has as many rows as columns, and its tokens
come last.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import Any

import timm
import torch.nn.functional as F
from torch import Tensor

from recam.errors import RecipeError
from recam.models.backbones.family import HEAD_NAMES, Family, backbones, list_units

MODULES = (
    "beit", "byoanet", "cait", "coat", "convit", "crossvit", "efficientformer", "efficientformer_v2", "gcvit", "hiera",
    "levit", "mlp_mixer", "nest", "pit", "swin_transformer_v2_cr", "tnt", "vision_transformer_relpos",
    "visformer", "volo",
)  # fmt: skip
"""Modules of timm whose networks are made here, and names of some of another module."""
PREFIXES = ("bat_", "coatnet", "coatnext")
COARSEST = 32
"""The stride that is set for networks that do not say theirs, or a larger one (LeViT)."""


class FixedSize(Family):
    """Networks of timm that take images of their own size."""

    rank = 1

    def takes(self, name: str) -> bool:
        if not timm.is_model(name):
            return False
        return timm.model_entrypoint(name).__module__.rpartition(".")[2] in MODULES or name.startswith(PREFIXES)

    def make(self, name: str, output_stride: int, dilate: bool) -> Any:
        if dilate:
            raise RecipeError(f"backbone {name!r} takes no dilation. Set backbone.dilate = false.")
        net: Any = timm.create_model(name, pretrained=False, num_classes=0)
        infos = list(getattr(net, "feature_info", None) or ())
        stride = min(infos[-1]["reduction"], COARSEST) if infos else COARSEST
        if stride != output_stride:
            raise RecipeError(
                f"output_stride={output_stride}: {name!r} has features at stride {stride}, which cannot be changed."
                f" Set backbone.output_stride = {stride}."
            )
        return net

    def units(self, net: Any) -> tuple[list[str], list[int]]:
        infos = list(getattr(net, "feature_info", None) or ())
        if infos:
            return list_units(net, [info["module"] for info in infos])
        names = [name for name, _ in net.named_children() if name not in HEAD_NAMES]
        return names, list(range(1, len(names) + 1))

    def pad(self, net: Any, images: Tensor) -> Tensor:
        _, height, width = net.pretrained_cfg["input_size"]
        return F.interpolate(images, (height, width), mode="bilinear", align_corners=False, antialias=True)

    def as_map(self, net: Any, output: Tensor | Sequence[Tensor]) -> Tensor:
        if not isinstance(output, Tensor):  # branches (CrossViT, CoaT): the last has the largest patches
            return self.as_map(net, output[-1])
        if output.ndim != 3:
            return super().as_map(net, output)
        side = isqrt(output.shape[1])
        grid = output[:, -side * side :]  # (B, side², D)
        return grid.transpose(1, 2).reshape(-1, grid.shape[2], side, side)  # (B, D, side, side)


backbones.register("fixed_size")(FixedSize())
