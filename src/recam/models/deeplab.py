"""DeepLabV2: dilated features, and the sum of four atrous branches as logits.

Chen et al., DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous Convolution, and Fully Connected
CRFs, TPAMI 2018, arXiv 1606.00915. Trained as in its published PyTorch form: the image is read at three sizes, the
logits of each and their maximum are compared with the mask, the four losses are added.

- Features at output stride 8, the last stages dilated by 2 and 4 instead of strided.
- Logits = Σ over rates r of a 3×3 convolution dilated by r (section 3.2), weights drawn from N(0, 0.01), biases 0. At
  another output stride the rates change with it (ours, as DeepLabV3 does), so that the receptive fields stay the same
  in pixels: at 16 half of them.
- BatchNorm of the encoder is frozen altogether: stored statistics, and weight and bias as they came.

Departures. Images are padded to 4 · stride · k + 1 pixels, for which the grids of all three sizes lie on the same
pixels, corner on corner: the published crop of 321 is such a size, others were off by a part of a cell. Masks are read
at exactly the pixels that logits stand for; published code reads them up to half a cell beside. One call reads a test
image at one size: scales are averaged by the caller.

B images, n outputs, H×W image, h×w grid.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recam.labels import IGNORE
from recam.models.probe import freeze_statistics

RATES = (6, 12, 18, 24)
"""Dilations of the branches at output stride 8, in cells of the map: 48 to 192 pixels."""
STRIDE = 8
"""Published output stride."""
SMALLER = (0.75, 0.5)
"""Sizes at which training reads an image, besides its own."""


class AtrousSum(nn.Module):
    """(B, D, h, w) features → (B, n, h, w) logits: the sum of 3×3 convolutions dilated by each of `rates`."""

    def __init__(self, channels: int, n_outputs: int, rates: tuple[int, ...] = RATES) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Conv2d(channels, n_outputs, 3, padding=rate, dilation=rate) for rate in rates)
        for branch in self.branches:
            nn.init.normal_(branch.get_parameter("weight"), std=0.01)
            nn.init.zeros_(branch.get_parameter("bias"))

    def forward(self, features: Tensor) -> Tensor:
        return torch.stack([branch(features) for branch in self.branches]).sum(0)


class DeepLabV2(nn.Module):
    """Images (B, 3, H, W) of any size → logits (B, n, H, W).

    Args:
        encoder: (B, 3, H, W) → feature maps, of which the last is used, at ``⌈size / stride⌉``.
        channels: D of the last feature map.
        n_outputs: n, background included.
        stride: image pixels a feature covers.
        multi_scale: train on three sizes and their maximum; False: on the image's own size alone (1.8 times as fast).
        freeze_batchnorm: BatchNorm of the encoder keeps statistics, weight and bias while training.
    """

    def __init__(
        self,
        encoder: nn.Module,
        channels: int,
        n_outputs: int,
        stride: int = STRIDE,
        multi_scale: bool = True,
        freeze_batchnorm: bool = True,
    ) -> None:
        super().__init__()
        rates = tuple(max(1, rate * STRIDE // stride) for rate in RATES)
        self.encoder, self.aspp = encoder, AtrousSum(channels, n_outputs, rates)
        self.unit = 4 * stride
        self.multi_scale, self.freeze_batchnorm = multi_scale, freeze_batchnorm
        if freeze_batchnorm:
            freeze_statistics(encoder, affine=True)

    def train(self, mode: bool = True) -> DeepLabV2:
        """As `nn.Module.train`, but a frozen BatchNorm stays in evaluation mode."""
        super().train(mode)
        if self.freeze_batchnorm:
            freeze_statistics(self.encoder)
        return self

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        padded = self._pad(images, 0)  # (B, 3, H', W')
        logits = _resize(self._logits(padded), padded.shape[-2:])  # (B, n, h, w) → (B, n, H', W')
        return logits[..., :height, :width]

    def training_pairs(self, images: Tensor, masks: Tensor) -> list[tuple[Tensor, Tensor]]:
        """What the loss compares: logits of each size and of their maximum, each with the mask at the pixels that its
        grid stands for.

        Args:
            images: (B, 3, H, W).
            masks: (B, H, W) int64, 255 ignored.

        Returns:
            (B, n, h_i, w_i) logits and (B, h_i, w_i) masks; one pair without `multi_scale`, else four: 1, 0.75, 0.5,
            maximum.
        """
        images, masks = self._pad(images, 0), self._pad(masks, IGNORE)
        height, width = images.shape[-2:]
        every = [self._logits(images)]
        if self.multi_scale:
            sizes = [(round((height - 1) * scale) + 1, round((width - 1) * scale) + 1) for scale in SMALLER]
            every += [self._logits(_resize(images, size)) for size in sizes]
            every.append(strongest(every))
        return [(logits, sample_mask(masks, logits.shape[-2:])) for logits in every]

    def _logits(self, images: Tensor) -> Tensor:
        logits: Tensor = self.aspp(self.encoder(images)[-1])  # (B, D, h, w) → (B, n, h, w)
        return logits

    def _pad(self, planes: Tensor, value: int) -> Tensor:
        height, width = planes.shape[-2:]
        return F.pad(planes, (0, -(width - 1) % self.unit, 0, -(height - 1) % self.unit), value=value)


def strongest(every: list[Tensor]) -> Tensor:
    """Largest logit over sizes: (B, n, h_i, w_i) each → (B, n, h, w), the grid of the first."""
    size = every[0].shape[-2:]
    return torch.stack([_resize(logits, size) for logits in every]).amax(0)


def sample_mask(masks: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """(B, H, W) masks → (B, h, w), their values at the pixels nearest to a grid of `size` laid corner on corner."""
    rows, columns = (
        torch.linspace(0, full - 1, count, device=masks.device).round().long()
        for full, count in zip(masks.shape[-2:], size, strict=True)
    )
    return masks[:, rows[:, None], columns]


def _resize(planes: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    return planes if planes.shape[-2:] == size else F.interpolate(planes, size, mode="bilinear", align_corners=True)
