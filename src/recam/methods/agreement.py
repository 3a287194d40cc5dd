"""A threshold for class maps without any mask (ours): the one whose masks a classifier of pixels can learn best.

At the right threshold the inside of objects looks alike over all images, and unlike their outside. Too low, and
background is called object; too high, and parts of objects are called background: either way, colours and features of
early layers tell inside and outside apart less well. So for each threshold, linear discriminant analysis of pixels
(Fisher 1936; one covariance for all classes) is fitted to the masks of half of the images and predicts the other half,
restricted to the labels of each image; the threshold is taken at which prediction and masks agree best, by the
correlation of object and background (Matthews 1975, φ), which no share of the background can flatter.

Letters: P pixels of all images, F features, K classes, T thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recam.errors import DataError

THRESHOLDS = np.round(np.arange(0.02, 0.91, 0.02), 2)
"""Thresholds that are tried."""
RIDGE = 1e-3
"""Added to the variances of standardised features."""
FEWEST = 10
"""Pixels from which the mean of a class is taken; a class with fewer is not predicted."""

Values = NDArray[np.float32]


@dataclass(frozen=True)
class Pixels:
    """Pixels drawn from the images of a data set.

    Attributes:
        images: (P,) number of the image of each, 0…N−1.
        values: (P,) the largest map there, in [0, 1].
        winners: (P,) the class of that map, 0…K−1.
        features: (P, F) what is known of the pixel beside the maps.
        labels: (N, K) bool, image labels.
    """

    images: NDArray[np.int64]
    values: Values
    winners: NDArray[np.int64]
    features: Values
    labels: NDArray[np.bool_]


@dataclass(frozen=True)
class Agreement:
    """What `find_threshold` found.

    Attributes:
        threshold: in (0, 1).
        agreement: φ there, in [−1, 1]; near 0: nothing tells inside and outside apart.
        thresholds: (T,) all that were tried.
        curve: (T,) φ of each.
    """

    threshold: float
    agreement: float
    thresholds: tuple[float, ...]
    curve: tuple[float, ...]


def find_threshold(pixels: Pixels, thresholds: NDArray[np.floating] = THRESHOLDS) -> Agreement:
    """The threshold at which held-out predictions agree best with the masks; the middle of equally good ones.

    Raises:
        DataError: fewer than two images with maps, or maps that hold a single value.
    """
    if len(np.unique(pixels.images)) < 2 or np.ptp(pixels.values) == 0:
        raise DataError(
            "no threshold can be found: the class maps of at least two images must hold different values. "
            "Are they empty? Then the classifier has learned nothing."
        )
    features = pixels.features - pixels.features.mean(0)
    features = features / (features.std(0) + 1e-6)
    bins = np.searchsorted(thresholds, pixels.values, side="left")  # (P,): object at thresholds[j] where above j
    counts = np.zeros((len(thresholds), 4))
    for half in (0, 1):
        learned = pixels.images % 2 == half
        means, sizes, scatter = _sums(features[learned], bins[learned], pixels.winners[learned], pixels, thresholds)
        rest = features[~learned]
        wanted = pixels.labels[pixels.images[~learned]]  # (P', K)
        for index in range(len(thresholds)):
            counts[index] += _count(means[index], sizes[index], scatter, rest, wanted, bins[~learned] > index)
    curve = _phi(counts)
    best = np.flatnonzero(curve >= curve.max() - 1e-9)
    chosen = best[len(best) // 2]
    return Agreement(
        float(thresholds[chosen]), float(curve[chosen]), tuple(map(float, thresholds)), tuple(curve.tolist())
    )


def _sums(
    features: Values,
    bins: NDArray[np.int64],
    winners: NDArray[np.int64],
    pixels: Pixels,
    thresholds: NDArray[np.floating],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Sums (T, K+1, F) and sizes (T, K+1) of background and classes at each threshold, and the second moment (F, F)."""
    n_bins, n_classes, width = len(thresholds) + 1, pixels.labels.shape[1], features.shape[1]
    code = winners * n_bins + bins  # (P,)
    sizes = np.bincount(code, minlength=n_classes * n_bins).reshape(n_classes, n_bins).astype(np.float64)
    sums = np.zeros((n_classes * n_bins, width))
    np.add.at(sums, code, features)
    sums = sums.reshape(n_classes, n_bins, width)
    # Above threshold j lie the bins j + 1, …: sums from the end.
    inside = sums[:, ::-1].cumsum(1)[:, ::-1][:, 1:].transpose(1, 0, 2)  # (T, K, F)
    inside_sizes = sizes[:, ::-1].cumsum(1)[:, ::-1][:, 1:].T  # (T, K)
    outside = sums.sum((0, 1)) - inside.sum(1, keepdims=True)  # (T, 1, F)
    outside_sizes = sizes.sum() - inside_sizes.sum(1, keepdims=True)  # (T, 1)
    moment = features.T.astype(np.float64) @ features
    return np.concatenate([outside, inside], 1), np.concatenate([outside_sizes, inside_sizes], 1), moment


def _count(
    sums: NDArray[np.float64],
    sizes: NDArray[np.float64],
    moment: NDArray[np.float64],
    features: Values,
    wanted: NDArray[np.bool_],
    is_object: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """(4,) pixels by mask and prediction: both object, mask alone, prediction alone, neither."""
    known = sizes >= FEWEST
    total = sizes.sum()
    means = sums / np.maximum(sizes, 1)[:, None]  # (K+1, F)
    within = (moment - (means * sizes[:, None]).T @ means) / total + RIDGE * np.eye(len(moment))
    directions = np.linalg.solve(within, means.T)  # (F, K+1)
    offsets = np.log(np.maximum(sizes, 1) / total) - (means.T * directions).sum(0) / 2
    scores = features @ directions.astype(np.float32) + offsets.astype(np.float32)  # (P', K+1)
    scores[:, ~known] = -np.inf
    scores[:, 1:][~wanted] = -np.inf
    predicted = scores.argmax(1) > 0
    return np.array(
        [
            (is_object & predicted).sum(),
            (is_object & ~predicted).sum(),
            (~is_object & predicted).sum(),
            (~is_object & ~predicted).sum(),
        ],
        np.float64,
    )


def _phi(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """(T, 4) → (T,) correlation of mask and prediction; 0 where either holds one value alone."""
    both, mask, prediction, neither = counts.T
    norm = np.sqrt((both + mask) * (both + prediction) * (neither + mask) * (neither + prediction))
    return np.where(norm > 0, (both * neither - mask * prediction) / np.maximum(norm, 1e-12), 0.0)
