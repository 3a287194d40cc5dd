"""NSROM: Yao et al., Non-Salient Region Object Mining for Weakly Supervised Semantic Segmentation, CVPR 2021.

Saliency maps show the object that stands out and lose the others. Three steps look for these: classifiers reason over
regions of the whole image (`GraphReasoning`), so that attention reaches further; background where the first
classifier's attention is high is ignored instead of learned as background (`potential_mask`); and the last segmentation
model learns from the first one's own masks, with what the pseudo masks have beside, near objects and salient pixels
alone (`second_round_mask`). Attention accumulates and is learned by a second network as OAA's is (`recam.methods.oaa`);
the loss is that with `least` = 0.

Followed: the published code (NUST-Machine-Intelligence-Laboratory/nsrom), where thresholds of a class without a label
are the median of the values above the median of those > 0.3 (paper: the top quarter).

Departures: the backbone's features go into the reasoning directly (published: three convolutions more, of a VGG-16);
how well labels are predicted is judged without it; predictions of the second round are restricted to the image's
labels.

Letters: B images, C channels, M nodes, n classes of one image, h×w features, H×W image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from recam.errors import DataError
from recam.labels import BACKGROUND, IGNORE, mask_values
from recam.methods.cam import read_full
from recam.methods.edam import check_saliency
from recam.methods.oaa import OaaMaskSettings, saliency_mask, stretch
from recam.methods.refine import check_threshold, maps_of_mask
from recam.methods.thresholds import apply_threshold
from recam.models.backbones import Backbone
from recam.models.classifier import heads
from recam.settings import Count, Settings, Share, section
from recam.types import Image, Maps, Mask, SeedMaps, check_maps


@section("nsrom_masks")
@dataclass(frozen=True)
class NsromMaskSettings(OaaMaskSettings):
    """NSROM's masks by saliency maps, `refine = ["nsrom"]`: OAA's, and what may be an object is ignored."""

    potential: Share = 0.3
    """Where the mask shows no pixel of a class, its potential objects are found among attention above this."""


@section("nsrom_round")
@dataclass(frozen=True)
class NsromRoundSettings(Settings):
    """NSROM's second round, `refine = ["nsrom", "nsrom_round"]`."""

    reach: Count = 30
    """Side (pixels) of the square around objects and salient pixels beyond which an image of several classes is
    ignored."""
    salient: Share = 0.0
    """Pixels of a higher saliency are salient."""
    least_objects: Share = 0.01
    """An image with a smaller part of objects is ignored as a whole."""


@heads.register("graph_reasoning")
class GraphReasoning(nn.Module):
    """Reasoning over M regions (GloRe: Chen et al., CVPR 2019), added to the features.

    Args:
        backbone: of C channels.
        n_classes: taken by all heads; this one has no part per class.
        nodes: M.
    """

    def __init__(self, backbone: Backbone, n_classes: int, *, nodes: int = 64) -> None:
        super().__init__()
        channels, states = backbone.channels, 2 * nodes
        self.state, self.project = nn.Conv2d(channels, states, 1), nn.Conv2d(channels, nodes, 1)
        self.between, self.within = nn.Linear(nodes, nodes), nn.Linear(states, states, bias=False)
        self.extend = nn.Conv2d(states, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels, eps=1e-4)

    def forward(self, features: Tensor) -> Tensor:
        """x + BN(E R P), V = S Pᵀ, R = W₂ relu(W₁ V + V): (B, C, h, w) → the same."""
        states, regions = self.state(features).flatten(2), self.project(features).flatten(2)  # (B, 2M, hw), (B, M, hw)
        nodes = states @ regions.transpose(1, 2)  # (B, 2M, M)
        reasoned = (self.between(nodes) + nodes).relu()
        reasoned = self.within(reasoned.transpose(1, 2)).transpose(1, 2)  # (B, 2M, M)
        spread = (reasoned @ regions).view(*states.shape[:2], *features.shape[2:])  # (B, 2M, h, w)
        added: Tensor = features + self.norm(self.extend(spread))
        return added


def potential_mask(
    cams: Maps,
    first: Maps,
    class_indices: Sequence[int] | NDArray[np.integer],
    saliency: NDArray[np.floating],
    settings: NsromMaskSettings | None = None,
) -> Mask:
    """Mask of an image's maps with the background of a saliency map, without what may be an object in that.

    Background is ignored where the first classifier's attention to a class, stretched to 0…1, exceeds its median over
    the mask's pixels of the class; of a class without any, the median of values above the median of those above
    `potential`.

    Args:
        cams: (n, H, W) class maps in [0, 1], of the second network.
        first: (n, H, W) those of the first.
        class_indices: (n,) the class of each, 0…K−1.
        saliency: (H, W) float in [0, 1].
        settings: published ones if None.

    Returns:
        (H, W): 0, mask values of classes, 255.

    Raises:
        DataError: as `recam.methods.oaa.saliency_mask` does, or maps of the first network that do not fit.
    """
    own = settings or NsromMaskSettings()
    check_maps(first, "maps of the first classifier")
    if first.shape != cams.shape:
        raise DataError(f"NSROM: maps {cams.shape} and those of the first classifier {first.shape} must be alike.")
    mask = saliency_mask(cams, class_indices, saliency, own)
    values = mask_values(class_indices)[1:]
    attention = stretch(torch.from_numpy(np.array(first))).numpy() if len(first) else first
    potential = np.zeros(mask.shape, bool)
    for plane, value in zip(attention, values, strict=True):
        potential |= plane > potential_threshold(plane, mask == value, own)
    mask[(mask == BACKGROUND) & potential] = IGNORE
    return mask


def potential_threshold(
    attention: NDArray[np.floating], shown: NDArray[np.bool_], settings: NsromMaskSettings
) -> float:
    """The attention (H, W) above which background may be of the class; 1 where nothing tells.

    Args:
        shown: (H, W), pixels that the mask has of the class.
    """
    inside = attention[shown]
    if inside.sum():
        return float(np.median(inside))
    high = attention[attention > settings.potential]
    if not len(high):
        return 1.0
    highest = attention[attention > np.median(high)]
    return float(np.median(highest)) if len(highest) else 1.0


def second_round_mask(
    prediction: Mask,
    pseudo: Mask,
    saliency: NDArray[np.floating],
    n_labels: int,
    settings: NsromRoundSettings | None = None,
) -> Mask:
    """What the second segmentation model learns from: the first one's mask of an image, with the pseudo mask's classes
    where that has background, ignored beyond the reach of objects and salient pixels. An image of one class keeps its
    prediction.

    Args:
        prediction: (H, W) of the first model.
        pseudo: (H, W) that it learned from.
        saliency: (H, W) float in [0, 1].
        n_labels: how many labels the image has.
        settings: published ones if None.

    Raises:
        DataError: sizes that do not fit, or a saliency map that is none.
    """
    own = settings or NsromRoundSettings()
    if pseudo.shape != prediction.shape:
        raise DataError(f"NSROM: a prediction {prediction.shape} and a pseudo mask {pseudo.shape} must be of one size.")
    check_saliency(saliency, prediction.shape)
    mask = prediction.copy()
    if n_labels > 1:
        fill = (mask == BACKGROUND) & (pseudo != BACKGROUND) & (pseudo != IGNORE)
        mask[fill] = pseudo[fill]
        near = widen((mask != BACKGROUND) | (saliency > own.salient), own.reach)
        mask[~near] = IGNORE
    if ((mask != BACKGROUND) & (mask != IGNORE)).mean() < own.least_objects:
        mask[...] = IGNORE
    return mask


def widen(plane: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """(H, W): whether any pixel of a square of this side around a position is set, from ⌊side / 2⌋ before it."""
    before = side // 2
    padded = F.pad(torch.from_numpy(plane)[None, None].float(), (before, side - 1 - before) * 2)
    wide: NDArray[np.bool_] = (F.max_pool2d(padded, side, 1)[0, 0] > 0).numpy()
    return wide


@dataclass(frozen=True)
class NsromRefiner:
    """`potential_mask` of an image's class maps: full-size maps of 0 and 1, its 255 as pixels to ignore; any threshold
    between gives the mask.

    Attributes:
        saliency_of: the saliency map of an image, (H, W) float in [0, 1].
        settings: published ones.
        first: maps of the first classifier, of the same classes; None: the maps themselves.
    """

    saliency_of: Callable[[Image], NDArray[np.floating]]
    settings: NsromMaskSettings = field(default_factory=NsromMaskSettings)
    first: SeedMaps | None = None

    def __call__(self, image: Image, seed: SeedMaps) -> SeedMaps:
        maps = read_full(seed)
        first = read_full(self.first) if self.first else maps
        # Planes instead of classes: mask value i is the i-th map.
        mask = potential_mask(maps, first, range(len(maps)), self.saliency_of(image), self.settings)
        return maps_of_mask(mask, seed)


@dataclass(frozen=True)
class NsromRoundRefiner:
    """`second_round_mask` of an image, as `NsromRefiner` gives its own.

    Attributes:
        refined_by: the first segmentation model as a refiner, whose maps are above 0.5 where it predicts a class.
        saliency_of: the saliency map of an image, (H, W) float in [0, 1].
        threshold: that of the maps which the model learned from.
        settings: published ones.
        without_data: (H, W) bool, pixels of an image that hold nothing, which stay ignored; None: there are none.
    """

    refined_by: Callable[[Image, SeedMaps], SeedMaps]
    saliency_of: Callable[[Image], NDArray[np.floating]]
    threshold: float | None = 0.5
    settings: NsromRoundSettings = field(default_factory=NsromRoundSettings)
    without_data: Callable[[Image], NDArray[np.bool_] | None] = lambda image: None

    def __post_init__(self) -> None:
        check_threshold(self.threshold, "NSROM")

    def __call__(self, image: Image, seed: SeedMaps) -> SeedMaps:
        count = len(seed.maps)
        if not count:
            return seed
        pseudo = apply_threshold(read_full(seed), np.arange(count), self.threshold, seed.ignore)
        predicted = apply_threshold(read_full(self.refined_by(image, seed)), np.arange(count), 0.5)
        mask = second_round_mask(predicted, pseudo, self.saliency_of(image), count, self.settings)
        # What the first masks ignored is predicted now.
        return maps_of_mask(mask, replace(seed, ignore=self.without_data(image)))
