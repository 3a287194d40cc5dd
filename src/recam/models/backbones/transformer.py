"""Transformers of timm: plain ones (ViT, DeiT, DINO, EVA) and those with windows (Swin), on images of any size.

A plain transformer returns tokens; without its prefix tokens (class, distillation, registers) they are laid out as the
grid of patches that they stand for, and positions are interpolated to that grid (timm, `dynamic_img_size`). Images are
padded at the right and at the bottom with 0 (the mean colour) to a multiple of the patch, so that features cover them
as those of a convolutional network do: ⌈H/stride⌉ × ⌈W/stride⌉.

The stride is that of the patches and cannot be changed. Stage 1 is the stem (patches, positions, prefix tokens), the
others are the blocks of a plain transformer, or the stages of one with windows. A plain transformer is no chain of
units: its blocks are frozen without a trunk whose features could be kept. Its five levels are the outputs of blocks at
one to four fifths of its depth, and its features, all at the stride of its patches: SEAM reads them, IRN's network does
not, which needs finer ones.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor

from recam.errors import RecipeError
from recam.models.backbones.family import N_LEVELS, Family, backbones, is_within, list_units

MODULES = (
    "deit", "eva", "gemma4_vit", "mvitv2", "naflexvit", "swin_transformer", "swin_transformer_v2", "twins",
    "vision_transformer", "vision_transformer_hybrid", "vision_transformer_sam", "vitamin", "xcit",
)  # fmt: skip
"""Modules of timm whose networks are made here."""
WINDOWS = {"strict_img_size": False, "always_partition": True}
"""What timm's window transformers (Swin) need to take images of any size and to shift their windows in every stage, as
published."""
ANY_SIZE = {"dynamic_img_size": True, **WINDOWS}


class Transformer(Family):
    """Plain and window transformers of timm."""

    rank = 1

    def takes(self, name: str) -> bool:
        return timm.is_model(name) and timm.model_entrypoint(name).__module__.rpartition(".")[2] in MODULES

    def make(self, name: str, output_stride: int, dilate: bool) -> Any:
        if dilate:
            raise RecipeError(
                f"backbone {name!r} is a transformer, which has no kernels to dilate. Set backbone.dilate = false."
            )
        net: Any = timm.create_model(name, pretrained=False, num_classes=0, **options_taken(name, ANY_SIZE))
        stride = net.feature_info[-1]["reduction"]
        if stride != output_stride:
            raise RecipeError(
                f"output_stride={output_stride}: the transformer {name!r} has features at stride {stride}, which cannot"
                f" be changed. Set backbone.output_stride = {stride}, or choose a network of another patch size."
            )
        return net

    def units(self, net: Any) -> tuple[list[str], list[int]]:
        stages = [info["module"] for info in net.feature_info]
        names, ends = list_units(net, stages)
        stem = next(index for index, name in enumerate(names) if is_within(name, stages[0]))
        return names, [stem, *ends]

    def pad(self, net: Any, images: Tensor) -> Tensor:
        patch, (height, width) = net.feature_info[0]["reduction"], images.shape[-2:]
        return F.pad(images, (0, -width % patch, 0, -height % patch))

    def features(self, net: Any, images: Tensor) -> Tensor:
        return self._lay_out(net, net.forward_features(images), images)

    def levels(self, net: Any, images: Tensor) -> list[Tensor]:
        if not hasattr(net, "forward_intermediates"):
            return []
        depth = len(net.feature_info)
        indices = [math.ceil(depth * part / N_LEVELS) - 1 for part in range(1, N_LEVELS)]
        output, between = net.forward_intermediates(images, indices=indices, norm=False, output_fmt="NCHW")
        return [*between, self._lay_out(net, output, images)]

    def _lay_out(self, net: Any, output: Tensor, images: Tensor) -> Tensor:
        """Tokens (B, n, D), or a map of stages with windows, as (B, D, h, w)."""
        if output.ndim != 3:
            return self.as_map(net, output)
        stride, (height, width) = net.feature_info[-1]["reduction"], images.shape[-2:]
        tokens = output[:, getattr(net, "num_prefix_tokens", 0) :]  # (B, h·w, D)
        grid = (tokens.shape[2], height // stride, width // stride)  # the batch stays free where this is traced
        return tokens.transpose(1, 2).reshape(-1, *grid)  # (B, D, h, w)


def options_taken(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the options that the class of timm's model, or one that it extends, has."""
    with torch.device("meta"):
        kinds = type(timm.create_model(name)).__mro__
    taken = {option for kind in kinds for option in inspect.signature(kind).parameters}
    return {option: value for option, value in options.items() if option in taken}


backbones.register("transformer")(Transformer())
