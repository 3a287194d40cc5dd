"""Networks as the exporter can follow them: what it knows for fixed sizes only, in other words for any size."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FreePool(nn.Module):
    """`nn.AdaptiveAvgPool2d` for any size: (B, C, h, w) → (B, C, *bins), the same numbers, by two matrices of shares.

    Bin i of n takes the positions from ⌊i·h/n⌋ to below ⌈(i+1)·h/n⌉. ONNX has no such pooling, and the exporter none
    for a free size.
    """

    def __init__(self, bins: tuple[int, int]) -> None:
        super().__init__()
        self.bins = bins

    def forward(self, maps: Tensor) -> Tensor:
        rows, columns = (_shares(maps, axis, bins) for axis, bins in ((-2, self.bins[0]), (-1, self.bins[1])))
        return rows @ maps @ columns.T  # (n, h) · (B, C, h, w) · (w, m)


def make_traceable(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode in which every adaptive pooling to more than one bin is a `FreePool`."""
    copied = copy.deepcopy(network).eval()
    for module in list(copied.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.AdaptiveAvgPool2d):
                size = (
                    child.output_size
                    if isinstance(child.output_size, tuple)
                    else (child.output_size, child.output_size)
                )
                if None not in size and size != (1, 1):
                    setattr(module, name, FreePool((int(size[0] or 1), int(size[1] or 1))))
    return copied


def _shares(maps: Tensor, axis: int, bins: int) -> Tensor:
    """(bins, length of the axis): how much of each bin's mean each position is."""
    length = maps.shape[axis]  # while tracing a tensor: the length stays free
    number, place = torch.arange(bins, device=maps.device)[:, None], torch.arange(length, device=maps.device)[None]
    first = torch.div(number * length, bins, rounding_mode="floor")
    behind = torch.div((number + 1) * length + bins - 1, bins, rounding_mode="floor")
    inside = ((place >= first) & (place < behind)).to(maps.dtype)
    return inside / inside.sum(1, keepdim=True)


@contextmanager
def tracing_freely() -> Iterator[None]:
    """Within, functions are as the exporter can follow them: `torch.roll`, right for maps shorter than its shift, too
    (Swin on small images), where the exporter's is wrong; bicubic resizing with antialiasing (positions of ViT), which
    it does not know."""
    roll, interpolate = torch.roll, F.interpolate
    torch.roll = _roll  # type: ignore[assignment]

    given = signature(interpolate)

    def resize(*values: Any, **options: Any) -> Tensor:
        called = given.bind(*values, **options).arguments
        if called.get("mode") == "bicubic" and called.get("antialias") and not called.get("align_corners"):
            return resize_bicubic(called["input"], called["size"])
        found: Tensor = interpolate(*values, **options)
        return found

    F.interpolate = resize
    try:
        yield
    finally:
        torch.roll, F.interpolate = roll, interpolate


def resize_bicubic(maps: Tensor, size: Sequence[Any]) -> Tensor:
    """`F.interpolate(maps, size, mode="bicubic", antialias=True)` by two matrices: (B, C, h, w) → (B, C, *size)."""
    rows, columns = (_cubic_shares(maps, axis, length) for axis, length in ((-2, size[0]), (-1, size[1])))
    return rows @ maps @ columns.T  # (n, h) · (B, C, h, w) · (w, m)


def _cubic_shares(maps: Tensor, axis: int, wanted: Any) -> Tensor:
    """(wanted, length of the axis): weights of Keys' cubic, a = −0.5, as wide as the axis is reduced."""
    length = maps.shape[axis]  # while tracing tensors, as `wanted`: both stay free
    scale = torch.as_tensor(length, dtype=maps.dtype) / torch.as_tensor(wanted, dtype=maps.dtype)
    centre = (torch.arange(wanted, device=maps.device)[:, None] + 0.5) * scale
    distance = (torch.arange(length, device=maps.device)[None] + 0.5 - centre).abs() / scale.clamp_min(1)
    near = (1.5 * distance - 2.5) * distance * distance + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    weights = torch.where(distance < 1, near, torch.where(distance < 2, far, torch.zeros_like(far))).to(maps.dtype)
    return weights / weights.sum(1, keepdim=True)


def _roll(maps: Tensor, shifts: int | Sequence[int], dims: int | Sequence[int]) -> Tensor:
    """`torch.roll` along some axes, by index."""
    for shift, axis in zip(_several(shifts), _several(dims), strict=True):
        length = maps.shape[axis]
        maps = maps.index_select(axis, torch.remainder(torch.arange(length, device=maps.device) - shift, length))
    return maps


def _several(values: int | Sequence[int]) -> Sequence[int]:
    return (values,) if isinstance(values, int) else values
