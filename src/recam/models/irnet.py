"""The network of IRN (Ahn et al., CVPR 2019, section 4 and figure 4) on any backbone with five feature levels.

Two branches read the features of a frozen backbone: one gives the logits of class boundaries, the other, optional, each
pixel's displacement to the centre of its object. Layer widths, normalisation groups and where maps are enlarged are
those of the published code.

Departures: no graph is built through the backbone (published: built, then thrown away). A stem at stride 2 is brought
to stride 4 by 3×3 max pooling, which for a ResNet is the published stem and for other networks a choice of ours. Edges
are found on an image of any size, as it is (published: padded with zeros to 512×512, which GroupNorm, being over the
whole map, lets all edges feel).

Letters: B images of H×W, h×w = ⌈H/4⌉×⌈W/4⌉.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recam.errors import RecipeError
from recam.models.backbones import Backbone
from recam.models.probe import probe_features

EDGE_WIDTH, EDGE_GROUPS = 32, 4
DISPLACEMENT_WIDTHS, DISPLACEMENT_GROUPS = (64, 128, 256, 256, 256), (8, 16, 16, 16, 16)
FINE, COARSE = 4, 8
"""Strides at which the levels meet: all of them for edges; the last three, then all, for displacements."""
PROBE = 65
"""Side of the image that shows the levels' strides, by ⌈65 / stride⌉; odd, to notice networks that round down."""

ADVICE = "Choose another backbone, e.g. resnet50 or tf_efficientnet_lite0."


class IrnOutput(NamedTuple):
    """Output of the branches for a batch.

    Attributes:
        edge_logits: (B, 1, h, w), before the sigmoid.
        displacement: (B, 2, h, w), y then x, in pixels of the stride-4 map; None without that branch.
    """

    edge_logits: Tensor
    displacement: Tensor | None


class MeanShift(nn.Module):
    """Takes a running mean (C,) from maps (B, C, h, w) outside training: displacements then sum to about 0 over a data
    set.

    Args:
        channels: C.
        momentum: weight of the newest batch in the mean.
    """

    running_mean: Tensor

    def __init__(self, channels: int, momentum: float = 0.1) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("running_mean", torch.zeros(channels))

    def forward(self, maps: Tensor) -> Tensor:
        if not self.training:
            return maps - self.running_mean[:, None, None]
        self.running_mean.lerp_(maps.detach().float().mean((0, 2, 3)), self.momentum)
        return maps


class Projection(nn.Sequential):
    """1×1 convolution, group normalisation, enlargement by a whole factor (bilinear), relu; in that order, as
    published."""

    def __init__(self, channels: int, width: int, groups: int, factor: int = 1) -> None:
        resize = [nn.Upsample(scale_factor=factor, mode="bilinear", align_corners=False)] if factor > 1 else []
        super().__init__(
            nn.Conv2d(channels, width, 1, bias=False), nn.GroupNorm(groups, width), *resize, nn.ReLU(inplace=True)
        )


class EdgeBranch(nn.Module):
    """Five levels → logits of a class boundary (B, 1, h, w)."""

    def __init__(self, channels: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            Projection(width, EDGE_WIDTH, EDGE_GROUPS, stride // FINE)
            for width, stride in zip(channels, strides, strict=True)
        )
        self.logits = nn.Conv2d(len(channels) * EDGE_WIDTH, 1, 1)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        logits: Tensor = self.logits(_join(self.levels, levels))
        return logits


class DisplacementBranch(nn.Module):
    """Five levels → displacements (B, 2, h, w): the last three are joined at stride 8, and then with the first two at
    stride 4."""

    def __init__(self, channels: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        widths, middle = DISPLACEMENT_WIDTHS, DISPLACEMENT_WIDTHS[-1]
        meets = (FINE, FINE, COARSE, COARSE, COARSE)
        self.levels = nn.ModuleList(
            Projection(*level)
            for level in zip(
                channels,
                widths,
                DISPLACEMENT_GROUPS,
                (s // meet for s, meet in zip(strides, meets, strict=True)),
                strict=True,
            )
        )
        self.coarse = Projection(sum(widths[2:]), middle, DISPLACEMENT_GROUPS[-1], COARSE // FINE)
        self.fine = Projection(sum(widths[:2]) + middle, middle, DISPLACEMENT_GROUPS[-1])
        self.vectors = nn.Conv2d(middle, 2, 1, bias=False)
        self.shift = MeanShift(2)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        fine = _join(self.levels[:2], levels[:2])  # (B, 192, h, w)
        coarse = self.coarse(_join(self.levels[2:], levels[2:]))  # (B, 256, ≥ h, ≥ w)
        joined = torch.cat([fine, _crop(coarse, fine)], 1)
        shifted: Tensor = self.shift(self.vectors(self.fine(joined)))
        return shifted


class IrNet(nn.Module):
    """A frozen backbone with IRN's branches: normalised images (B, 3, H, W) → `IrnOutput`.

    Args:
        backbone: taken over: its parameters are frozen, and it stays in evaluation mode.
        displacement: add the displacement branch, which helps the training of edges and is not needed for the random
            walk.

    Raises:
        RecipeError: a backbone without five levels, or whose levels are not at strides 2 or 4, 4, 8 and 8 to 32.
    """

    def __init__(self, backbone: Backbone, displacement: bool = True) -> None:
        super().__init__()
        self.backbone = backbone.requires_grad_(False).eval()
        channels, strides = _probe_levels(backbone)
        self.edge = EdgeBranch(channels, strides)
        self.displacement = DisplacementBranch(channels, strides) if displacement else None

    def train(self, mode: bool = True) -> IrNet:
        """Training mode for the branches; the backbone stays in evaluation mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    def features(self, images: Tensor) -> list[Tensor]:
        """What the branches read of normalised images (B, 3, H, W): five levels at strides 4, 4, 8, …, without a
        graph."""
        with torch.no_grad():
            stem, *stages = self.backbone.levels(images)
            return [_pool_to(stem, stages[0]), *stages]

    def heads(self, levels: Sequence[Tensor]) -> IrnOutput:
        """The branches on what `features` gave."""
        return IrnOutput(self.edge(levels), self.displacement(levels) if self.displacement is not None else None)

    def forward(self, images: Tensor) -> IrnOutput:
        return self.heads(self.features(images))

    @torch.no_grad()
    def edges(self, images: Tensor) -> Tensor:
        """Probabilities of a class boundary (B, 1, h, w): the sigmoid of the mean logit of the image and its horizontal
        flip, as the walk needs."""
        logits: Tensor = self.edge(self.features(images))
        mirrored: Tensor = self.edge(self.features(images.flip(-1))).flip(-1)
        return ((logits + mirrored) / 2).sigmoid()


def _probe_levels(backbone: Backbone) -> tuple[list[int], list[int]]:
    """Channels of the levels, and their strides after the stem is brought to 4."""
    device = next(backbone.parameters()).device
    problem = f"IRN needs feature levels of images of any size, which {backbone.name!r} does not make"
    probe = torch.zeros(1, backbone.bands, PROBE, PROBE, device=device)
    levels = probe_features(backbone.levels, probe, problem, ADVICE)
    known = {-(-PROBE // stride): stride for stride in (1, 2, 4, 8, 16, 32)}
    strides = [known.get(level.shape[2], 0) for level in levels]
    if (
        strides[0] not in (2, 4)
        or strides[1:3] != [FINE, COARSE]
        or not all(stride >= COARSE for stride in strides[3:])
    ):
        sizes = ", ".join(str(level.shape[2]) for level in levels)
        raise RecipeError(
            f"IRN needs feature levels at strides 2 or 4, then 4, 8 and 8 to 32 that round up; {backbone.name!r} makes"
            f" {sizes} of {PROBE} pixels. {ADVICE}"
        )
    return [level.shape[1] for level in levels], [FINE, *strides[1:]]


def _pool_to(stem: Tensor, finer: Tensor) -> Tensor:
    """A stem at twice the size of the next level, (B, C, ⌈H/2⌉, ⌈W/2⌉), at that level's size."""
    return stem if stem.shape[2:] == finer.shape[2:] else F.max_pool2d(stem, 3, stride=2, padding=1)


def _crop(maps: Tensor, to: Tensor) -> Tensor:
    """What an enlarged map has beyond another one's size is cut off, right and below."""
    return maps[..., : to.shape[2], : to.shape[3]]


def _join(projections: nn.ModuleList, levels: Sequence[Tensor]) -> Tensor:
    """Projected levels side by side, at the size of the first; (B, ΣC, h, w)."""
    maps = [project(level) for project, level in zip(projections, levels, strict=True)]
    return torch.cat([_crop(projected, maps[0]) for projected in maps], 1)
