"""Class activation maps (CAM): Zhou et al., CVPR 2016, as the ReCAM paper restates it in equations 1, 2 and 4.

Logits pool the features and apply the classifier (eq. 4); class maps apply the same weights at every position (eq. 2).
At inference the maps of several scales and of horizontal flips are fused as the published code does: relu, flip back,
add, upsample, sum over scales, then divide each class by its own maximum.

Where this departs from the published code: maps are made for the wanted classes only, instead of for all K with most
thrown away.

Letters: B images, K classes, n of them wanted, D channels, H×W image, h×w its feature map.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from recam.errors import DataError, RecipeError, WeightsError, near_matches
from recam.methods.arguments import ClassIndices, as_class_indices, as_labels, check_finite
from recam.types import Maps, SeedMaps

Resolution = Literal["strided", "full"]
"""A quarter of the image (for storing and for the random walk), or the image itself (for masks)."""

STRIDE = 4
EPS = 1e-5


def weight_rows(weight: Tensor) -> Tensor:
    """(K, D) view of a linear layer's (K, D) or a 1×1 convolution's (K, D, 1, 1) weight. Raises `WeightsError` for any
    other shape."""
    if weight.ndim == 2:
        return weight
    if weight.ndim == 4 and weight.shape[2:] == (1, 1):
        return weight.flatten(1)  # (K, D)
    raise WeightsError(f"class weights must be (K, D) or (K, D, 1, 1), got {tuple(weight.shape)}.")


def fitting_rows(features: Tensor, weight: Tensor) -> Tensor:
    """`weight_rows`, with a `WeightsError` where its D is not that of the features (B, D, h, w)."""
    rows = weight_rows(weight)
    if features.ndim != 4 or features.shape[1] != rows.shape[1]:
        raise WeightsError(
            f"class weights {tuple(weight.shape)} do not fit features {tuple(features.shape)}: "
            f"features must be (B, {rows.shape[1]}, h, w), as they are before pooling."
        )
    return rows


def classify(features: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Logits z (B, K) of eq. 4: global average pooling of (B, D, h, w), then the classifier (K, D) or (K, D, 1, 1),
    published without the bias (K,)."""
    logits = features.mean((2, 3)) @ fitting_rows(features, weight).T  # (B, K)
    return logits if bias is None else logits + bias


def bce_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Multi-label soft margin loss (eq. 1) of logits (B, K) and labels (B, K) in {0, 1}: the mean over classes and
    images.

    Raises:
        DataError: labels that do not fit, see `recam.methods.arguments.as_labels`.
    """
    return F.multilabel_soft_margin_loss(logits, as_labels(labels, logits))


def class_maps(features: Tensor, weight: Tensor) -> Tensor:
    """Raw maps A_k = w_k · f (eq. 2): (B, D, h, w) and (K, D) or (K, D, 1, 1) → (B, K, h, w), of any sign.

    Pass just the rows of the classes wanted, ``weight[class_indices]``, to pay for those only.
    """
    return F.conv2d(features, fitting_rows(features, weight)[:, :, None, None])  # (B, K, h, w)


def normalise(maps: Tensor, eps: float = EPS) -> Tensor:
    """relu(A) / (max relu(A) + eps) for each plane (…, h, w): values in [0, 1), all 0 where no entry is positive."""
    positive = maps.relu()
    return positive / (positive.amax((-2, -1), keepdim=True) + eps)


def strided_size(size: tuple[int, int], stride: int = STRIDE) -> tuple[int, int]:
    """⌈size / stride⌉ of an (H, W) image."""
    height, width = size
    return -(-height // stride), -(-width // stride)


def full_size(size: tuple[int, int], multiple: int = 16) -> tuple[int, int]:
    """(H, W) rounded up to a multiple of 16, to which full maps are upsampled before they are cropped to the image."""
    height, width = strided_size(size, multiple)
    return height * multiple, width * multiple


def upsample(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resizing, corners not aligned, of planes (n, h, w) → (n, *size); n may be 0."""
    if not len(maps):
        return maps.new_zeros(0, *size)
    return F.interpolate(maps[None], size, mode="bilinear", align_corners=False)[0]  # (n, *size)


def fuse_views(views: Sequence[Tensor], output: tuple[int, int]) -> Tensor:
    """Sum over scales of relu(A(x)) + flip(relu(A(flip x))), brought to one size; not normalised.

    Args:
        views: for each scale the raw maps (2, n, h_i, w_i) of image and flipped image, or (1, n, h_i, w_i) of the image
            alone.
        output: (h, w) of the result.

    Returns:
        (n, h, w), values ≥ 0.

    Raises:
        DataError: no view, or one of another shape.
    """
    if not views:
        raise DataError("no view to fuse: give the raw maps of at least one scale.")
    fused = []
    for view in views:
        if view.ndim != 4 or len(view) not in (1, 2):
            raise DataError(
                f"a view is (2, n, h, w), image and mirror, or (1, n, h, w), the image alone; got {tuple(view.shape)}."
            )
        positive = view.relu()
        both = positive[0] + positive[1].flip(-1) if len(view) == 2 else positive[0]  # (n, h_i, w_i)
        fused.append(upsample(both, output))  # (n, h, w)
    return torch.stack(fused).sum(0)


def make_cams(
    features: Sequence[Tensor],
    weight: Tensor,
    class_indices: ClassIndices,
    size: tuple[int, int],
    resolution: Resolution = "strided",
) -> Tensor:
    """Normalised class maps of one image from its features at several scales (eq. 2; eq. 9 with ReCAM's weights).

    Args:
        features: for each scale (2, D, h_i, w_i) of image and flipped image, or (1, D, h_i, w_i).
        weight: (K, D) or (K, D, 1, 1), e.g. of `recam.methods.recam.combine_weights`.
        class_indices: the n classes wanted, 0…K−1; usually the image's labels.
        size: (H, W) of the image.
        resolution: ``"strided"`` → (n, ⌈H/4⌉, ⌈W/4⌉), ``"full"`` → (n, H, W).

    Returns:
        float maps in [0, 1), in the order of `class_indices`.

    Raises:
        DataError: class indices that are none (a multi-hot row among them), or maps with NaN or inf.
        WeightsError: weights that do not fit the features.
        RecipeError: an unknown resolution.
    """
    check_resolution(resolution)
    chosen = as_class_indices(class_indices, weight.device, len(weight_rows(weight)))  # (n,)
    if not len(chosen):
        return weight.new_zeros(0, *(strided_size(size) if resolution == "strided" else size))
    rows = weight_rows(weight)[chosen]  # (n, D)
    views = [class_maps(scale, rows) for scale in features]  # (2, n, h_i, w_i) each
    fused = fuse_views(views, strided_size(size) if resolution == "strided" else full_size(size))
    check_finite(fused, "class maps", "the features or weights do, as those of a network that diverged")
    # At full size the maximum is taken after cropping, over what the image shows.
    return normalise(
        fused if resolution == "strided" else fused[:, : size[0], : size[1]]
    )  # (n, ⌈H/4⌉, ⌈W/4⌉) or (n, H, W)


def check_resolution(resolution: str) -> None:
    """Raises `RecipeError` for an unknown one."""
    if resolution not in get_args(Resolution):
        raise RecipeError(f"unknown resolution {resolution!r}.{near_matches(resolution, get_args(Resolution))}")


def read_full(seed: SeedMaps, stride: int = STRIDE) -> Maps:
    """Stored class maps at the size of their image: (n, h, w) → (n, H, W) float32 in [0, 1].

    Strided maps are upsampled by `stride`, bilinear with corners not aligned, and cropped; maps that have the image's
    size already are returned as they are.

    Raises:
        DataError: maps of neither size.
    """
    if seed.maps.shape[1:] == seed.size:
        return seed.maps.astype(np.float32, copy=False)
    expected = strided_size(seed.size, stride)
    if seed.maps.shape[1:] != expected:
        raise DataError(
            f"maps of {seed.maps.shape[1:]} belong to no {seed.size} image: expected {expected} (a {stride}th) or the"
            " image's size."
        )
    padded = (expected[0] * stride, expected[1] * stride)
    full: Maps = upsample(torch.from_numpy(seed.maps.astype(np.float32, copy=False)), padded).numpy()
    return full[:, : seed.size[0], : seed.size[1]]


def read_strided(seed: SeedMaps, stride: int = STRIDE) -> Maps:
    """Class maps at a quarter of the image's size, (n, ⌈H/4⌉, ⌈W/4⌉) float32 in [0, 1]: as stored, or means of full
    ones over 4×4 pixels.

    Raises:
        DataError: maps of neither size.
    """
    if seed.maps.shape[1:] == strided_size(seed.size, stride):
        return seed.maps.astype(np.float32, copy=False)
    full = torch.from_numpy(read_full(seed, stride))  # (n, H, W)
    if not len(full):
        return np.zeros((0, *strided_size(seed.size, stride)), np.float32)
    # Blocks that reach over the border take the mean of what the image has of them.
    strided: Maps = F.avg_pool2d(full[None], stride, ceil_mode=True, count_include_pad=False)[
        0
    ].numpy()  # (n, ⌈H/4⌉, ⌈W/4⌉)
    return strided
