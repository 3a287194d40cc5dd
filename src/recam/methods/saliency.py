"""Saliency plug-ins (ReCAM paper, Table 4): EPS's loss (Lee et al., CVPR 2021) and EDAM's post-processing (Wu et al., CVPR 2021).

A saliency map says how much a pixel stands out, of whatever class. It is supervision beyond image labels, so results made with it must say
so. Both work with CAM and with ReCAM (ReCAM-E, ReCAM-M).

EPS, followed: the published code. Of the labelled classes' channels, those that lie on salient pixels are foreground, the others count as
background together with the background's own channel; channels of classes that the image does not have are left out of both. Departures:
the background channel comes first, as everywhere here, not last; an overlap is divided by the channel's area, without a small constant.

EDAM, followed: the published settings. Departures: where several maps exceed β the largest wins, not the class that comes first; a salient
pixel where all maps are below α is ignored, where the published code calls it background.

Letters: B images, K classes, n maps of one image, H×W an image, h×w a map.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from recam.errors import DataError, RecipeError
from recam.labels import BACKGROUND, IGNORE, check_class_indices, mask_values
from recam.methods.arguments import as_labels
from recam.methods.cam import read_full
from recam.methods.refine import one_plane_a_class
from recam.types import Image, Maps, Mask, SeedMaps, check_maps


@dataclass(frozen=True)
class EpsSettings:
    """What EPS's loss depends on; the defaults are the published ones.

    Attributes:
        overlap_threshold: τ; a class channel is foreground where more than this share of its area is salient.
        foreground_weight: λ, the weight of the foreground's channels beside that of 1 − background.
    """

    overlap_threshold: float = 0.4
    foreground_weight: float = 0.5

    def __post_init__(self) -> None:
        _check_shares("EPS", {"overlap_threshold": self.overlap_threshold, "foreground_weight": self.foreground_weight})


@dataclass(frozen=True)
class EdamSettings:
    """Three thresholds; the defaults are the published ones.

    Attributes:
        saliency_threshold: θ; a pixel is background up to this saliency. The published command has 20 of 255.
        ignore_below: α; a salient pixel where no map reaches it is ignored.
        sure_above: β; a pixel with a map above it has that class, whatever its saliency.
    """

    saliency_threshold: float = 20 / 255
    ignore_below: float = 1e-6
    sure_above: float = 0.99999

    def __post_init__(self) -> None:
        shares = {"saliency_threshold": self.saliency_threshold, "ignore_below": self.ignore_below, "sure_above": self.sure_above}
        _check_shares("EDAM", shares)
        if self.ignore_below > self.sure_above:
            raise RecipeError(f"EDAM: ignore_below {self.ignore_below} is above sure_above {self.sure_above}: exchange them.")


def eps_loss(logit_maps: Tensor, saliency: Tensor, labels: Tensor, settings: EpsSettings | None = None) -> Tensor:
    """Mean squared difference of the saliency that the class channels together claim and the one given.

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


def edam_mask(
    cams: Maps,
    class_indices: Sequence[int] | NDArray[np.integer],
    saliency: NDArray[np.floating],
    settings: EdamSettings | None = None,
) -> Mask:
    """Seed mask of class maps with the background of a saliency map.

    Args:
        cams: (n, H, W) class maps in [0, 1].
        class_indices: (n,) the class of each, 0…K−1.
        saliency: (H, W) float in [0, 1].
        settings: published ones if None.

    Returns:
        (H, W): the class of the largest map where that is above β or the pixel is salient; background where it is not salient; 255 where it
        is and all maps are below α. All background without any map.

    Raises:
        DataError: maps and saliency that do not fit, either of them outside [0, 1] or NaN; class indices that are none, or not one for each
            map.
    """
    settings = settings or EdamSettings()
    check_saliency(saliency, cams.shape[1:])
    check_maps(cams)
    check_class_indices(class_indices, len(cams))
    if not len(cams):
        return np.full(saliency.shape, BACKGROUND, np.uint8)
    largest, salient = cams.max(0), saliency > settings.saliency_threshold  # (H, W)
    # A map of 0 claims nothing, even where α = 0 ignores nothing.
    claimed = (largest > settings.sure_above) | (salient & (largest >= settings.ignore_below) & (largest > 0))
    winner = np.where(claimed, cams.argmax(0) + 1, 0)  # (H, W): 0 is background, i the i-th map
    mask: Mask = mask_values(class_indices)[winner]
    mask[salient & ~claimed & (largest < settings.ignore_below)] = IGNORE
    return mask


@dataclass(frozen=True)
class EdamRefiner:
    """`edam_mask` of an image's class maps: full-size maps of 0 and 1, its 255 as pixels to ignore; any threshold between gives the mask.

    Attributes:
        saliency_of: the saliency map of an image, (H, W) float in [0, 1].
        settings: published ones.
    """

    saliency_of: Callable[[Image], NDArray[np.floating]]
    settings: EdamSettings = field(default_factory=EdamSettings)

    def __call__(self, image: Image, seed: SeedMaps) -> SeedMaps:
        # Planes instead of classes: mask value i is the i-th map.
        mask = edam_mask(read_full(seed), range(len(seed.maps)), self.saliency_of(image), self.settings)
        ignore = mask == IGNORE
        if seed.ignore is not None:
            ignore |= seed.ignore
        maps = one_plane_a_class(mask, len(seed.maps)) if len(seed.maps) else np.zeros((0, *seed.size), np.float32)
        return SeedMaps(maps, seed.class_indices, seed.size, ignore if ignore.any() else None)


def check_saliency(saliency: NDArray[np.floating], size: tuple[int, ...], what: str = "the saliency map") -> None:
    """Raises `DataError` naming `what` where a saliency map is not (H, W) of `size`, float, in [0, 1]."""
    if saliency.shape != size:
        raise DataError(f"{what} is {saliency.shape} for maps of {tuple(size)}: make it for the same images at their full size.")
    if saliency.dtype.kind != "f":
        raise DataError(f"{what} is {saliency.dtype}, not float in [0, 1]: divide an 8-bit picture by 255.")
    if saliency.size and not 0 <= saliency.min() <= saliency.max() <= 1:
        raise DataError(f"{what} has values {saliency.min():g}…{saliency.max():g}: it must be in [0, 1].")


def _check_eps(logit_maps: Tensor, saliency: Tensor, labels: Tensor) -> None:
    problems = []
    if logit_maps.ndim != 4 or labels.ndim != 2 or logit_maps.shape[:2] != (len(labels), labels.shape[1] + 1):
        problems.append(f"logit maps {tuple(logit_maps.shape)} and labels {tuple(labels.shape)} must be (B, K + 1, h, w) and (B, K)")
    if saliency.ndim != 4 or saliency.shape[:2] != (len(logit_maps), 1):
        problems.append(f"saliency {tuple(saliency.shape)} must be ({len(logit_maps)}, 1, H, W)")
    elif not saliency.is_floating_point():
        problems.append(f"saliency is {saliency.dtype}, not float in [0, 1]: divide 8-bit pictures by 255")
    elif saliency.device.type == "cpu" and saliency.numel() and not 0 <= saliency.min() <= saliency.max() <= 1:
        problems.append(f"saliency has values {saliency.min():g}…{saliency.max():g}, it must be in [0, 1]")
    if problems:
        raise DataError(f"EPS: {'; '.join(problems)}.")


def _check_shares(what: str, shares: dict[str, float]) -> None:
    problems = [f"{name} must be in [0, 1], got {value}" for name, value in shares.items() if not 0 <= value <= 1]
    if problems:
        raise RecipeError(f"{what}: {'; '.join(problems)}.")
