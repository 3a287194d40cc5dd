"""Networks as the exporter can follow them: what it knows for fixed sizes only, in other words for any size."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
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
def rolling_freely() -> Iterator[None]:
    """Within, `torch.roll` is right for maps shorter than its shift, too (Swin on small images), where the exporter's
    is wrong."""
    own = torch.roll
    torch.roll = _roll  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.roll = own


def _roll(maps: Tensor, shifts: int | Sequence[int], dims: int | Sequence[int]) -> Tensor:
    """`torch.roll` along some axes, by index."""
    for shift, axis in zip(_several(shifts), _several(dims), strict=True):
        length = maps.shape[axis]
        maps = maps.index_select(axis, torch.remainder(torch.arange(length, device=maps.device) - shift, length))
    return maps


def _several(values: int | Sequence[int]) -> Sequence[int]:
    return (values,) if isinstance(values, int) else values
