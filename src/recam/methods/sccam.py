"""SC-CAM: Chang et al., Weakly-Supervised Semantic Segmentation via Sub-category Exploration, CVPR 2020.

To tell the sub-classes of a class apart, found by clustering features of a classifier, a network must look at more of
the object than to tell classes apart. Classes and sub-classes are learned together; the features learned make the next
round's sub-classes.

Followed: the published code (Juliachang/SC-CAM): k-means with the best of ten starts for each class on pooled features
of whole images; an image with several classes takes part in each with the same features; every round trains from the
backbone's weights, so that features of the round before give sub-classes and nothing else. Masks are made of the maps
of the classes; those of the sub-classes (`sub_class_cams`) the code scores and uses no further.

Departures: k-means is ours (`recam.methods.kmeans`; published scikit-learn's), a class with fewer images than k has as
many sub-classes as images, and the pictures that the code writes over its maps before it saves them are no part of
this. Colour jitter is left out, as augmentation is that of all trainings here.

Letters: N images of a data set, B of a batch, K classes, k sub-classes each, D channels, h×w features, H×W image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recam.errors import DataError
from recam.methods.cam import EPS, bce_loss, class_maps, classify, fitting_rows, fuse_views, weight_rows
from recam.methods.kmeans import kmeans
from recam.models.backbones import Backbone
from recam.models.classifier import heads
from recam.settings import Count, NonNegative, Settings, Share

ABSENT = -1
"""Sub-class of an image in a class that it does not have."""
STARTS = 10
"""Starts of k-means for each class."""


@dataclass(frozen=True)
class ScCamSettings(Settings):
    """What SC-CAM's sub-classes and loss depend on; the defaults are the published ones."""

    sub_classes: Count = 10
    """k: sub-classes of each class."""
    sub_weight: NonNegative = 5.0
    """Weight of the sub-classes' loss beside that of the classes."""
    dropout: Share = 0.5
    """Part of the feature channels that both classifiers do without in each step."""


@dataclass(frozen=True)
class ScCamLoss:
    """The loss of one batch and its parts, scalars with graphs."""

    total: Tensor
    classes: Tensor
    sub_classes: Tensor


def find_sub_classes(features: Tensor, labels: Tensor, k: int, seed: int = 0) -> Tensor:
    """Sub-class of each image in each of its classes, by k-means of the images that have the class.

    Args:
        features: (N, D), pooled, of whole images.
        labels: (N, K) in {0, 1}.
        k: sub-classes of each class; at most as many as it has images.
        seed: of k-means.

    Returns:
        (N, K) int64, 0…k−1, and −1 where the image does not have the class.

    Raises:
        DataError: features and labels of different numbers of images, or NaN in features.
    """
    if len(features) != len(labels):
        raise DataError(f"SC-CAM: {len(features)} features for {len(labels)} rows of labels.")
    found = torch.full(labels.shape, ABSENT, dtype=torch.int64)
    for class_index in range(labels.shape[1]):
        members = labels[:, class_index] > 0
        if members.any():
            found[members, class_index] = kmeans(features[members], k, seed, starts=STARTS).assignment.cpu()
    return found


def sub_labels(sub_classes: Tensor, k: int) -> Tensor:
    """(…, K) sub-classes, −1 for none → labels (…, K·k) in {0, 1}: 1 at c·k + a for sub-class a of class c."""
    chosen = F.one_hot(sub_classes.clamp_min(0), k) * (sub_classes >= 0)[..., None]  # (…, K, k)
    return chosen.flatten(-2).float()


def sccam_loss(
    features: Tensor, weight: Tensor, sub_weight: Tensor, labels: Tensor, sub: Tensor, settings: ScCamSettings
) -> ScCamLoss:
    """BCE of the classes + 5 · BCE of the sub-classes, both linear on the same pooled features.

    Args:
        features: (B, D, h, w).
        weight: of the classes (K, D).
        sub_weight: of the sub-classes (K·k, D).
        labels: (B, K) in {0, 1}.
        sub: (B, K·k) in {0, 1}, see `sub_labels`.
    """
    classes = bce_loss(classify(features, weight), labels)
    sub_classes = bce_loss(classify(features, sub_weight), sub)
    return ScCamLoss(classes + settings.sub_weight * sub_classes, classes, sub_classes)


def sub_class_cams(
    features: Sequence[Tensor], sub_weight: Tensor, class_indices: Sequence[int], k: int, size: tuple[int, int]
) -> Tensor:
    """Maps of classes by their sub-classes: the k maps of a class over their common maximum, the largest at each pixel.

    Args:
        features: for each scale (2, D, h_i, w_i) of image and mirrored image, or (1, D, h_i, w_i).
        sub_weight: (K·k, D).
        class_indices: the n classes wanted.
        size: (H, W) of the result.

    Returns:
        (n, H, W) in [0, 1).
    """
    chosen = [class_index * k + sub for class_index in class_indices for sub in range(k)]
    rows = fitting_rows(features[0], sub_weight)[chosen]  # (n·k, D)
    fused = fuse_views([class_maps(scale, rows) for scale in features], size)  # (n·k, H, W)
    maps = fused.view(len(class_indices), k, *size)
    return (maps / (maps.amax((1, 2, 3), keepdim=True) + EPS)).amax(1)  # (n, H, W)


@heads.register("sub_classes")
def make_sub_classes(backbone: Backbone, n_classes: int, k: int = 10) -> nn.Module:
    """The classifier of the sub-classes, D → K·k without bias."""
    return nn.Conv2d(backbone.channels, n_classes * k, 1, bias=False)


def sub_class_rows(head: nn.Module) -> Tensor:
    """(K·k, D) of the head `make_sub_classes`."""
    return weight_rows(head.get_parameter("weight"))
