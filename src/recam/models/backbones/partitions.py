"""MaxViT's windows and grids on maps of any size.

timm parts a map into windows, or into a grid, whose sides must divide the map's. Here each such block pads its input at
the right and at the bottom with 0 first and crops its output, as Swin does; where nothing is left over, nothing
changes. A block keeps its class's parameters and names, so weights fit.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from timm.models import maxxvit
from torch import Tensor, nn


def _on_padded(forward: Callable[[Tensor], Tensor], sides: tuple[int, int], last: bool, maps: Tensor) -> Tensor:
    """Output, at the size of `maps`, of a block that takes multiples of `sides`; `last`: (B, h, w, D), not (B, D, h,
    w)."""
    height, width = maps.shape[1:3] if last else maps.shape[2:]
    missing = (0, -width % sides[1], 0, -height % sides[0])
    output = forward(F.pad(maps, (0, 0, *missing) if last else missing))
    return output[:, :height, :width] if last else output[:, :, :height, :width]


class _ChannelsLast(maxxvit.PartitionAttentionCl):
    def forward(self, x: Tensor) -> Tensor:
        return _on_padded(super().forward, self.partition_size, True, x)


class _ChannelsFirst(maxxvit.PartitionAttention2d):
    def forward(self, x: Tensor) -> Tensor:
        return _on_padded(super().forward, self.partition_size, False, x)


class _Parallel(maxxvit.ParallelPartitionAttention):
    def forward(self, x: Tensor) -> Tensor:
        return _on_padded(super().forward, self.partition_size, True, x)


KINDS: dict[type[nn.Module], type[nn.Module]] = {
    maxxvit.PartitionAttentionCl: _ChannelsLast,
    maxxvit.PartitionAttention2d: _ChannelsFirst,
    maxxvit.ParallelPartitionAttention: _Parallel,
}


def free_partitions(net: nn.Module) -> None:
    """Have MaxViT's blocks take maps of any size, in place; other networks stay as they are."""
    for module in net.modules():
        if type(module) in KINDS:
            module.__class__ = KINDS[type(module)]
