"""GAIN: Li et al., Tell Me Where to Look: Guided Attention Inference Network, CVPR 2018.

A map is whole when the class cannot be recognised any more in what it leaves of the image. Each image is erased by its
own maps, read again by the same network, and the scores of its classes on the rest are lowered (attention mining).

No code of the authors is known. Followed: the paper, with the two third-party implementations where it is silent
(AustinDoolittle/Pytorch-Gain, ilyak93/GAIN-pytorch): maps are stretched to [0, 1] before the mask's sigmoid, which the
paper does not say and without which its ω and σ would depend on the scale of the logits. One map per class of the image
(paper, ilyak93), or one for all of them together (Doolittle), as a setting.

Behind pooling and a linear classifier the gradient of class c's score is w_c / (h·w) at every position, so the weights
of the maps are known without a backward pass; as in the paper they are constants, and the features under them learn.
Departures: the score of a class is its sigmoid unless a setting says otherwise (the paper does not say; one
implementation takes a softmax over classes that do not exclude each other, and adds the classification once per class);
a constant map counts as 0 (published: NaN). Left out: the extended version GAIN_ext, which learns from pixel masks.

Letters: B images, K classes, D channels, M masked images, h×w features, H×W image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from recam.errors import DataError, RecipeError, near_matches
from recam.methods.arguments import as_labels
from recam.methods.cam import fitting_rows
from recam.methods.recam import positive_classes
from recam.settings import NonNegative, Positive, Settings

MapsFor = Literal["class", "image"]
Score = Literal["sigmoid", "softmax", "logit"]


@dataclass(frozen=True)
class GainSettings(Settings):
    """What GAIN's attention mining depends on; the defaults are the paper's, σ that of the implementations."""

    alpha: NonNegative = 1.0
    """α of eq. 6, the weight of attention mining beside classification."""
    omega: Positive = 10.0
    """ω of eq. 4: how steep the mask is."""
    sigma: float = 0.5
    """σ of eq. 4: the value of a map at which half of the image is erased."""
    stretch: bool = True
    """Bring each map to [0, 1] before the mask is made of it, as the implementations do and the paper does not say."""
    maps_for: MapsFor = "class"
    """``class``: the image is erased once for each of its classes (paper); ``image``: once for all of them."""
    score: Score = "sigmoid"
    """What is lowered on the erased image: the class's sigmoid, its softmax, or its logit."""

    def __post_init__(self) -> None:
        for name, value, known in (("maps_for", self.maps_for, MapsFor), ("score", self.score, Score)):
            if value not in get_args(known):
                raise RecipeError(f"GAIN: unknown {name} {value!r}.{near_matches(value, get_args(known))}")


@dataclass(frozen=True)
class Erased:
    """Images with what their maps cover taken away.

    Attributes:
        images: (M, 3, H, W), with a graph to the features that the maps were made of.
        targets: (M, K) in {0, 1}, the classes whose score is to be lowered.
        maps: (M, 1, H, W) ≥ 0.
        masks: (M, 1, H, W) in [0, 1], 1 where the image is taken away.
    """

    images: Tensor
    targets: Tensor
    maps: Tensor
    masks: Tensor


def soft_mask(maps: Tensor, settings: GainSettings | None = None) -> Tensor:
    """T(A) = 1 / (1 + exp(−ω · (A − σ))) (eq. 4) of planes (…, H, W), stretched to [0, 1] before; with a graph through
    their extremes. A constant plane counts as 0."""
    settings = settings or GainSettings()
    if settings.stretch:
        low, high = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
        maps = (maps - low) / (high - low).clamp_min(torch.finfo(maps.dtype).tiny)
    return (settings.omega * (maps - settings.sigma)).sigmoid()


def attention_maps(
    features: Tensor, weight: Tensor, labels: Tensor, maps_for: MapsFor = "class"
) -> tuple[Tensor, Tensor, Tensor]:
    """A^c = relu(Σ_d α_d f_d), α = w_c / (h·w) without a graph (eqs. 1 and 2).

    Args:
        features: (B, D, h, w).
        weight: (K, D) or (K, D, 1, 1).
        labels: (B, K) in {0, 1}.
        maps_for: see `GainSettings`.

    Returns:
        maps (M, 1, h, w), the image of each (M,) int64, and the classes that it is made for (M, K) in {0, 1}. Images
        without labels have none.
    """
    rows = fitting_rows(features, weight).detach()  # (K, D)
    if maps_for == "image":
        chosen, present = (labels @ rows)[:, None], (labels > 0).any(1, keepdim=True)  # (B, 1, D), (B, 1)
        targets = labels[:, None]  # (B, 1, K)
    else:
        classes, present = positive_classes(labels)  # (B, P)
        chosen = rows[classes]  # (B, P, D)
        targets = F.one_hot(classes, len(rows)).to(labels.dtype)  # (B, P, K)
    maps = (chosen @ features.flatten(2)).relu() / features.flatten(2).shape[2]  # (B, P, h·w)
    maps = maps.view(*maps.shape[:2], *features.shape[2:])
    return maps[present][:, None], present.nonzero()[:, 0], targets[present]


def erase(
    images: Tensor,
    features: Tensor,
    weight: Tensor,
    labels: Tensor,
    settings: GainSettings | None = None,
    align_corners: bool = False,
) -> Erased:
    """I* = I − T(A) · I (eq. 3) for each map of each image.

    Args:
        images: (B, 3, H, W), normalised: what is taken away has the mean colour.
        features, weight, labels: see `attention_maps`.
        settings: published ones if None.
        align_corners: of the maps' enlargement; the implementations differ.

    Raises:
        DataError: images, features or labels that do not fit.
    """
    settings = settings or GainSettings()
    if len(images) != len(features):
        raise DataError(f"GAIN: {len(images)} images have features of {len(features)}.")
    labels = as_labels(labels, features.new_empty(len(features), len(weight)))
    maps, owner, targets = attention_maps(features, weight, labels, settings.maps_for)
    maps = F.interpolate(maps, images.shape[2:], mode="bilinear", align_corners=align_corners)  # (M, 1, H, W)
    masks = soft_mask(maps, settings)
    kept = images[owner]  # (M, 3, H, W)
    return Erased(kept - kept * masks, targets, maps, masks)


def mining_loss(logits: Tensor, targets: Tensor, score: Score = "sigmoid") -> Tensor:
    """L_am (eq. 5): mean score of the targets on erased images; logits and targets (M, K) → scalar. 0 for M = 0."""
    scores = logits.sigmoid() if score == "sigmoid" else logits.softmax(1) if score == "softmax" else logits
    return (scores * targets).sum() / targets.sum().clamp_min(1)
