"""The network of PSA (Ahn & Kwak, CVPR 2018, section 3.2) on any backbone with five feature levels: three levels,
projected and joined at stride 8, whose differences say which pixels belong together.

Widths, group normalisation and initial values are those of the published network on VGG-16; that on ResNet-38 has no
normalisation. There all levels have stride 8; here coarser ones are enlarged to it (bilinear).

Letters: B images of H×W, h×w = ⌈H/8⌉×⌈W/8⌉.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recam.errors import RecipeError
from recam.models.backbones import Backbone
from recam.models.probe import probe_features

WIDTHS, GROUPS = (64, 128, 256), (8, 16, 32)
FIRST = 2
"""The finest level that is read, counted from 0: that at stride 8."""
PROBE = 65
"""Side of the image that shows the level's stride: ⌈65 / 8⌉ = 9."""
ADVICE = "Choose another backbone, e.g. resnet50 or tf_efficientnet_lite0."


class AffinityNet(nn.Module):
    """Normalised images (B, 3, H, W) → features (B, 448, h, w), see `recam.methods.psa.pair_affinities`.

    Args:
        backbone: taken over; what of it trains is its own matter.

    Raises:
        RecipeError: a backbone without five levels, or whose third is not at stride 8.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        probe = torch.zeros(1, backbone.bands, PROBE, PROBE, device=next(backbone.parameters()).device)
        problem = f"PSA needs feature levels of images of any size, which {backbone.name!r} does not make"
        levels = probe_features(backbone.levels, probe, problem, ADVICE)[FIRST:]
        if levels[0].shape[2] != 9:
            raise RecipeError(
                f"PSA needs a third feature level at stride 8 that rounds up; that of {backbone.name!r} is"
                f" {levels[0].shape[2]} of {PROBE} pixels. {ADVICE}"
            )
        self.levels = nn.ModuleList(
            nn.Sequential(nn.Conv2d(level.shape[1], width, 1, bias=False), nn.GroupNorm(groups, width), nn.ELU())
            for level, width, groups in zip(levels, WIDTHS, GROUPS, strict=True)
        )
        self.join = nn.Conv2d(sum(WIDTHS), sum(WIDTHS), 1, bias=False)
        for level in self.levels:
            nn.init.kaiming_normal_(level.get_parameter("0.weight"))
        nn.init.xavier_uniform_(self.join.weight, gain=4)

    def forward(self, images: Tensor) -> Tensor:
        read = self.backbone.levels(images)[FIRST:]
        size = read[0].shape[2:]
        projected = [project(level) for project, level in zip(self.levels, read, strict=True)]
        enlarged = [
            part if part.shape[2:] == size else F.interpolate(part, size, mode="bilinear", align_corners=False)
            for part in projected
        ]  # (B, 64, h, w), (B, 128, h, w), (B, 256, h, w)
        features: Tensor = F.elu(self.join(torch.cat(enlarged, 1)))
        return features
