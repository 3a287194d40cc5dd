"""EPS's loss (Lee et al., Railroad is not a Train, CVPR 2021; ReCAM paper, Table 4: with ReCAM it is ReCAM-E).

A saliency map measures how much a pixel stands out, of whatever class. It is supervision beyond image labels, so
results made with it must be labelled so.

Followed: the published code. Of the labelled classes' channels, those that lie on salient pixels are foreground, the
others count as background together with the background's own channel; channels of classes that the image does not have
are left out of both. Departures: the background channel comes first, as everywhere here, not last; an overlap is
divided by the channel's area, without a small constant.

Letters: B images, K classes, H×W image, h×w map.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from recam.errors import DataError
from recam.methods.arguments import as_labels
from recam.settings import Settings, Share, check_shares


@dataclass(frozen=True)
class EpsSettings(Settings):
    """What EPS's loss depends on; the defaults are the published ones."""

    overlap_threshold: Share = 0.4
    """τ: a class channel is foreground where more than this share of its area is salient."""
    foreground_weight: Share = 0.5
    """λ: weight of the foreground's channels beside that of 1 − background."""

    def __post_init__(self) -> None:
        check_shares("EPS", {"overlap_threshold": self.overlap_threshold, "foreground_weight": self.foreground_weight})


def eps_loss(logit_maps: Tensor, saliency: Tensor, labels: Tensor, settings: EpsSettings | None = None) -> Tensor:
    """Mean squared difference of the saliency that the class channels together claim and that of the map.

    It is added to the classification loss on the K class channels.

    Args:
        logit_maps: (B, K + 1, h, w) raw, background first.
        saliency: (B, 1, H, W) in [0, 1]; brought to h×w by the nearest pixel.
        labels: (B, K) in {0, 1}.
        settings: published ones if None.

    Returns:
        scalar with a graph to `logit_maps`; which channels are foreground is not learnt from.

    Raises:
        DataError: tensors that do not fit; labels or saliency outside [0, 1] or NaN (checked on a CPU).
    """
    settings = settings or EpsSettings()
    _check_eps(logit_maps, saliency, labels)
    labels = as_labels(labels, logit_maps[:, 1:, 0, 0])
    target = F.interpolate(saliency.to(logit_maps.dtype), logit_maps.shape[2:])  # (B, 1, h, w)
    probabilities = logit_maps.softmax(1)  # (B, K + 1, h, w)
    background, classes = probabilities[:, :1], probabilities[:, 1:]

    area = (classes.detach() > 0.5).to(target.dtype)  # (B, K, h, w)
    overlap = (area * (target > 0.5)).sum((2, 3)) / area.sum((2, 3)).clamp_min(1)  # (B, K)
    present = labels > 0
    on_salient = present & (overlap > settings.overlap_threshold)  # (B, K)
    foreground = (classes * on_salient[:, :, None, None]).sum(1, keepdim=True)  # (B, 1, h, w)
    background = background + (classes * (present & ~on_salient)[:, :, None, None]).sum(1, keepdim=True)  # (B, 1, h, w)

    share = settings.foreground_weight
    return F.mse_loss(share * foreground + (1 - share) * (1 - background), target)


def _check_eps(logit_maps: Tensor, saliency: Tensor, labels: Tensor) -> None:
    problems = []
    if logit_maps.ndim != 4 or labels.ndim != 2 or logit_maps.shape[:2] != (len(labels), labels.shape[1] + 1):
        problems.append(
            f"logit maps {tuple(logit_maps.shape)} and labels {tuple(labels.shape)} must be (B, K + 1, h, w) and (B, K)"
        )
    if saliency.ndim != 4 or saliency.shape[:2] != (len(logit_maps), 1):
        problems.append(f"saliency {tuple(saliency.shape)} must be ({len(logit_maps)}, 1, H, W)")
    elif not saliency.is_floating_point():
        problems.append(f"saliency is {saliency.dtype}, not float in [0, 1]: divide 8-bit pictures by 255")
    elif saliency.device.type == "cpu" and saliency.numel() and not 0 <= saliency.min() <= saliency.max() <= 1:
        problems.append(f"saliency has values {saliency.min():g}…{saliency.max():g}, it must be in [0, 1]")
    if problems:
        raise DataError(f"EPS: {'; '.join(problems)}.")
