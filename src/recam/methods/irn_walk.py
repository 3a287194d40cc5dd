"""The random walk of IRN (ReCAM, eq. 11), and of whatever else knows affinities of near pixels: class maps walk along
them, and become labels.

Letters: n class maps of one image, h×w the map at a quarter of the image's size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recam.errors import DataError
from recam.methods.arguments import check_finite
from recam.methods.cam import STRIDE, upsample
from recam.methods.irn_paths import Offset, affinities
from recam.methods.thresholds import apply_threshold
from recam.types import Mask


@torch.no_grad()
def random_walk(cams: Tensor, edges: Tensor, radius: float = 5, beta: float = 10, steps: int = 256) -> Tensor:
    """v · T^steps, v = cams ⊗ (1 − edges) as rows (eq. 11), T the affinities to the power of beta, self-loops of 1,
    columns summing to 1.

    In a step each pixel takes the mean of its neighbours and itself, weighted by affinity. Time and memory grow
    linearly with the number of pixels.

    Args:
        cams: (n, h, w) class maps of one image; n may be 0.
        edges: (1, h, w) or (h, w) in [0, 1], probabilities of a class boundary.
        radius: see `IrnSettings.walk_radius`, as the next two for theirs.
        beta: see `IrnSettings`.
        steps: see `IrnSettings`.

    Returns:
        (n, h, w) float32, on the device of `cams`. Values stay within those that a map of v had; divide by the maximum
        to compare.

    Raises:
        DataError: sizes that do not fit, edges outside [0, 1], or class maps with NaN or inf.
    """
    edge = edges[0] if edges.ndim == 3 and len(edges) == 1 else edges
    if cams.ndim != 3 or edge.shape != cams.shape[1:]:
        raise DataError(
            f"random walk: edges {tuple(edges.shape)} do not fit class maps {tuple(cams.shape)}: give (h, w) and (n,"
            " h, w)."
        )
    if edge.numel() and not (edge.min() >= 0 and edge.max() <= 1):
        raise DataError("random walk: edges must be in [0, 1] and not NaN; if these are logits, pass their sigmoid.")
    check_finite(cams, "random walk: class maps", "the network that made them diverged")
    edge = edge.float()
    pairs = {offset: affinity[0] for offset, affinity in affinities(edge[None], radius).items()}
    return walk_along(cams.float() * (1 - edge), pairs, beta, steps)


@torch.no_grad()
def walk_along(maps: Tensor, pairs: Mapping[Offset, Tensor], beta: float, steps: int) -> Tensor:
    """Maps · T^steps, T the affinities to the power of beta, self-loops of 1, columns summing to 1.

    Args:
        maps: (n, h, w) float32; n may be 0.
        pairs: for each offset (y, x) from a pixel to one that follows it in reading order the affinities (h − y, w −
            |x|) in [0, 1] of all such pairs, by the upper left corner of the pair's bounding box; 0 where a pair does
            not count. An offset that is missing has none.
        beta: their exponent.
        steps: length of the walk, ≥ 0.

    Returns:
        (n, h, w), a new tensor.
    """
    bands, share = _transition_bands(maps, pairs, beta)
    walked = maps.flatten(1).clone()  # (n, h·w)
    # One vector at a time stays in a CPU's cache; a GPU is fastest with all at once.
    for vectors in torch.split(walked, 1 if walked.device.type == "cpu" else max(len(walked), 1)):
        _walk(vectors, bands, share, steps)
    return walked.view(maps.shape)


def _transition_bands(
    maps: Tensor, pairs: Mapping[Offset, Tensor], beta: float
) -> tuple[list[tuple[int, Tensor]], Tensor]:
    """T as the bands of a symmetric matrix over the h·w pixels in reading order, and 1 / its column sums.

    A band (k, weights) joins pixel i with pixel i + k by weights[i]. It holds 0 where the pair would leave the map at
    the side.
    """
    height, width = maps.shape[1:]
    bands = []
    sums = maps.new_ones(height * width)  # the self-loops
    for (y, x), affinity in pairs.items():
        weights = maps.new_zeros(height, width)
        weights[: height - y, max(-x, 0) : width - max(x, 0)] = affinity**beta
        shift = y * width + x  # > 0: an offset whose |x| ≥ w is not there
        band = weights.flatten()[:-shift]
        sums[:-shift] += band
        sums[shift:] += band
        bands.append((shift, band))
    return bands, 1 / sums


def _walk(vectors: Tensor, bands: Sequence[tuple[int, Tensor]], share: Tensor, steps: int) -> None:
    """Multiply (m, h·w) vectors by T `steps` times, in place."""
    buffers = vectors, torch.empty_like(vectors)
    # Views are made once: on small maps making them takes as long as the arithmetic.
    additions = [_band_products(source, target, bands) for source, target in (buffers, buffers[::-1])]
    for step in range(steps):
        source, target = buffers if step % 2 == 0 else buffers[::-1]
        target.copy_(source)
        for part, band, factor in additions[step % 2]:
            part.addcmul_(band, factor)
        target.mul_(share)
    if steps % 2:
        vectors.copy_(buffers[1])


def _band_products(
    source: Tensor, target: Tensor, bands: Sequence[tuple[int, Tensor]]
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """What to add to views of `target`, as (view, band, view of `source`) whose product it is: every band and its
    horizontal flip."""
    upper = [(target[:, :-shift], band, source[:, shift:]) for shift, band in bands]
    lower = [(target[:, shift:], band, source[:, :-shift]) for shift, band in bands]
    return [product for both in zip(upper, lower, strict=True) for product in both]


def walk_to_maps(walked: Tensor, size: tuple[int, int]) -> Tensor:
    """Walked maps (n, h, w) at the size of their image, (n, H, W) in [0, 1]: ×4 bilinear, cropped, divided by the
    maximum over all classes.

    Raises:
        DataError: maps too small for the image.
    """
    full = enlarge_walked(walked, size)  # (n, H, W)
    return full / full.amax().clamp_min(torch.finfo(full.dtype).tiny) if len(full) else full


def enlarge_walked(walked: Tensor, size: tuple[int, int]) -> Tensor:
    """Walked maps (n, h, w) at the size (H, W) of their image, (n, H, W). Raises `DataError` for too small ones."""
    height, width = walked.shape[1] * STRIDE, walked.shape[2] * STRIDE
    if height < size[0] or width < size[1]:
        raise DataError(
            f"walked maps of {tuple(walked.shape[1:])} cover {(height, width)} pixels, less than the image's {size}."
        )
    return upsample(walked, (height, width))[:, : size[0], : size[1]]  # (n, H, W)


def walk_to_labels(
    walked: Tensor, size: tuple[int, int], class_indices: Sequence[int] | NDArray[np.integer], threshold: float = 0.28
) -> Mask:
    """Mask (H, W) of walked maps (n, h, w): background unless a class exceeds the share `threshold` of the maximum over
    all classes.

    Args:
        walked: of `random_walk`.
        size: (H, W) of the image.
        class_indices: (n,) the class of each map, 0…K−1.
        threshold: see `IrnSettings.background_threshold`.

    Raises:
        DataError: maps too small for the image; class indices that are none, or not one for each map.
    """
    return apply_threshold(walk_to_maps(walked, size).cpu().numpy(), class_indices, threshold)
