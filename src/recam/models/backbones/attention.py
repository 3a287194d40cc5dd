"""Attention of a plain transformer, read while it runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from recam.errors import RecamError, RecipeError
from recam.models.backbones.backbone import Backbone, BackboneSettings


def has_attention(backbone: Backbone) -> bool:
    """Whether `read_attention` can read it: all tokens attend to all, in blocks that say so."""
    return bool(_layers(backbone)) and getattr(backbone.net, "num_prefix_tokens", None) is not None


def check_attention(backbone: Backbone) -> None:
    """Raises `RecipeError` for a network whose attention cannot be read."""
    if not has_attention(backbone):
        raise RecipeError(
            f"backbone {backbone.name!r} has no attention of all patches to all. Choose a plain transformer, e.g."
            " vit_small_patch16_224 or vit_small_patch14_dinov2."
        )


def attention_problems(settings: BackboneSettings) -> list[str]:
    """What keeps the attention of a network from being read, found without its weights; empty: nothing."""
    try:
        check_attention(replace(settings, weights="none").make())
    except RecamError as error:
        return [str(error)]
    return []


@torch.no_grad()
def read_attention(backbone: Backbone, images: Tensor, last: int = 0) -> tuple[Tensor, Tensor, int]:
    """Features and attention of normalised images (B, 3, H, W).

    Args:
        last: the last so many layers count; 0 all.

    Returns:
        features (B, D, h, w); attention (B, T, T), mean over heads and those layers, rows summing to 1; P, the number
        of tokens before those of the patches.

    Raises:
        RecipeError: no plain transformer.
    """
    check_attention(backbone)
    layers = _layers(backbone)
    layers = layers[-last:] if last else layers
    total: list[Tensor] = []

    def add(module: nn.Module, inputs: Any, output: Tensor) -> None:
        mean = output.float().mean(1)  # (B, T, T)
        total[:] = [total[0] + mean] if total else [mean]

    fused = [layer.fused_attn for layer in layers]
    hooks = [layer.attn_drop.register_forward_hook(add) for layer in layers]
    try:
        for layer in layers:  # fused kernels never make the matrix
            layer.fused_attn = False
        features = backbone(images)
    finally:
        for hook in hooks:
            hook.remove()
        for layer, before in zip(layers, fused, strict=True):
            layer.fused_attn = before
    return features, total[0] / len(layers), int(backbone.net.num_prefix_tokens)


def _layers(backbone: Backbone) -> list[Any]:
    """Attention of each block, first to last; none where they attend within windows, or are of another kind."""
    blocks = getattr(backbone.net, "blocks", None)
    if not isinstance(blocks, nn.ModuleList | nn.Sequential):
        return []
    found = [getattr(block, "attn", None) for block in blocks]
    whole = all(getattr(block, "window_size", 0) in (0, None) for block in blocks)
    return found if whole and all(hasattr(each, "fused_attn") and hasattr(each, "attn_drop") for each in found) else []
