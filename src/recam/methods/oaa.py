"""OAA: Jiang et al., Integral Object Mining via Online Attention Accumulation, ICCV 2019.

While a classifier learns, its attention moves from part to part of an object. So the maps of an image are kept as they
go, and their running maximum covers more than the last of them does (OAA). A second network then learns the
accumulated maps, and fills in what attention never reached (OAA+). Masks come from its maps and saliency maps.

Followed: the PyTorch code (PengtaoJiang/OAA-PyTorch). The older Caffe code (PengtaoJiang/OAA) stretches each map, and
what is stored before each maximum, to its smallest and largest value and cuts off to 8 bits, which takes about a grey
level off at each merge: `rule` "caffe". Left out: layers that average or multiply maps in place of the maximum and the
random drop layer of a later version, which the published training does not use.

Departures: maps are those of the network at the end of each epoch, of the whole image (published: of the step that
reads the image, with colours jittered); rates fall polynomially (published: to a tenth twice).

Letters: B images, K classes, n of them an image's, h×w features, H×W image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from recam.errors import DataError
from recam.labels import BACKGROUND, IGNORE, check_class_indices, mask_values
from recam.methods.arguments import check_labels
from recam.methods.cam import read_full
from recam.methods.edam import check_saliency
from recam.methods.refine import maps_of_mask
from recam.settings import CountOrNone, NonNegative, Settings, Share, section
from recam.types import Image, Maps, Mask, SeedMaps, check_maps

EPS = 1e-8
Rule = Literal["maximum", "caffe"]


@dataclass(frozen=True)
class AccumulationSettings(Settings):
    """How maps accumulate; the defaults are the published ones."""

    skip_epochs: CountOrNone = 1
    """Epochs at the start whose maps are not kept."""
    rule: Rule = "maximum"
    """``maximum`` keeps the larger value, and in the last epoch maps of classes that were never predicted; ``caffe``
    also stretches before each maximum, as the older code does, and leaves such classes without a map."""


@dataclass(frozen=True)
class IntegralSettings(Settings):
    """How accumulated maps are learned; the defaults are the published ones."""

    least: NonNegative = 1e-3
    """Accumulated values above it are to be found, all others are none of the class."""


@section("oaa_masks")
@dataclass(frozen=True)
class OaaMaskSettings(Settings):
    """OAA's masks by saliency maps, `refine = ["oaa"]`; the defaults are the published ones."""

    foreground_threshold: Share = 0.3
    """Maps, and the background, count from this value."""
    conflict: Share = 0.9
    """A pixel with two values above it is ignored."""
    salient: Share = 32 / 255
    """Background that is at least so salient is ignored."""
    attended: Share = 0.8
    """Background with a map above it is ignored."""
    least_objects: Share = 0.01
    """An image with a smaller part of objects is ignored as a whole."""


def predicted(logits: Tensor, labels: Tensor) -> Tensor:
    """Whether a class of an image is among its n most likely ones: (B, K), (B, K) → (B, K) bool, False where the image
    does not have the class."""
    check_labels(labels)
    rank = logits.argsort(1, descending=True).argsort(1)  # (B, K)
    return (rank < labels.sum(1, keepdim=True)) & (labels > 0)


def accumulate(
    stored: Tensor, known: Tensor, maps: Tensor, accepted: Tensor, rule: Rule = "maximum"
) -> tuple[Tensor, Tensor]:
    """Accumulated maps of an image after one more epoch.

    Args:
        stored: (n, h, w) uint8, so far.
        known: (n,) bool, which of them are any.
        maps: (n, h, w) raw maps of this epoch.
        accepted: (n,) bool, which classes are predicted; in the last epoch, by the rule ``maximum``, also those that
            are not known.

    Returns:
        `stored` and `known` anew.

    Raises:
        DataError: maps of other sizes.
    """
    if stored.shape != maps.shape or stored.dtype != torch.uint8:
        raise DataError(
            f"OAA: stored maps {tuple(stored.shape)} {stored.dtype} and new ones {tuple(maps.shape)} must be (n, h, w),"
            " the stored ones uint8."
        )
    if not maps.numel():
        return stored, known
    positive = maps.float().relu()
    if rule == "caffe":
        new, old = stretch(positive), stretch(stored.double())
        levels = torch.where(known[:, None, None], torch.maximum(old, new) * 255, new * 255).to(torch.uint8)
    else:
        new = positive / (positive.amax((1, 2), keepdim=True) + EPS) * 255  # (n, h, w)
        levels = torch.where(known[:, None, None], torch.maximum(stored, new), new).round().to(torch.uint8)
    return torch.where(accepted[:, None, None], levels, stored), known | accepted


def stretch(maps: Tensor) -> Tensor:
    """(m − min) / (max − min) of each map (n, h, w)."""
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - low) / (high - low + EPS)


def integral_loss(scores: Tensor, targets: Tensor, least: float = 1e-3) -> Tensor:
    """Hybrid loss of OAA+: mean of −t log σ(s) where t > least, plus mean of −log(1 − σ(s)) everywhere else, each over
    all images, classes and positions together; a part of none is 0.

    As published a position of the class has no part (1 − t) log(1 − σ(s)): its score may be anything above.

    Args:
        scores: s, (B, K, h, w).
        targets: t, (B, K, h, w) in [0, 1].
    """
    if scores.shape != targets.shape:
        raise DataError(f"OAA: targets {tuple(targets.shape)} are not those of scores {tuple(scores.shape)}.")
    found = targets > least
    inside, outside = targets * F.softplus(-scores), F.softplus(scores)  # (B, K, h, w)
    counts = found.sum().clamp_min(1), (~found).sum().clamp_min(1)
    return torch.where(found, inside, 0).sum() / counts[0] + torch.where(found, 0, outside).sum() / counts[1]


def saliency_mask(
    cams: Maps,
    class_indices: Sequence[int] | NDArray[np.integer],
    saliency: NDArray[np.floating],
    settings: OaaMaskSettings | None = None,
) -> Mask:
    """Mask of an image's maps with the background of a saliency map; the published proxy labels.

    Args:
        cams: (n, H, W) class maps in [0, 1].
        class_indices: (n,) the class of each, 0…K−1.
        saliency: (H, W) float in [0, 1].
        settings: published ones if None.

    Returns:
        (H, W): the largest of the maps, each stretched to 0…1, and of 1 − saliency; 255 as the settings say. All 255
        where there are hardly any objects.

    Raises:
        DataError: maps and saliency that do not fit, either of them outside [0, 1] or NaN; class indices that are none,
            or not one for each map.
    """
    own = settings or OaaMaskSettings()
    check_saliency(saliency, cams.shape[1:])
    check_maps(cams)
    check_class_indices(class_indices, len(cams))
    maps = stretch(torch.from_numpy(np.array(cams))).numpy() if len(cams) else cams
    scores = np.concatenate([1 - saliency[None], maps]).astype(np.float32)  # (n + 1, H, W)
    scores[scores < own.foreground_threshold] = 0
    mask: Mask = mask_values(class_indices)[scores.argmax(0)]
    mask[(scores > own.conflict).sum(0) > 1] = IGNORE
    claimed = (saliency >= own.salient) | (maps > own.attended).any(0)
    mask[(mask == BACKGROUND) & claimed] = IGNORE
    if ((mask != BACKGROUND) & (mask != IGNORE)).mean() < own.least_objects:
        mask[...] = IGNORE
    return mask


@dataclass(frozen=True)
class OaaRefiner:
    """`saliency_mask` of an image's class maps: full-size maps of 0 and 1, its 255 as pixels to ignore; any threshold
    between gives the mask.

    Attributes:
        saliency_of: the saliency map of an image, (H, W) float in [0, 1].
        settings: published ones.
    """

    saliency_of: Callable[[Image], NDArray[np.floating]]
    settings: OaaMaskSettings = field(default_factory=OaaMaskSettings)

    def __call__(self, image: Image, seed: SeedMaps) -> SeedMaps:
        # Planes instead of classes: mask value i is the i-th map.
        mask = saliency_mask(read_full(seed), range(len(seed.maps)), self.saliency_of(image), self.settings)
        return maps_of_mask(mask, seed)
