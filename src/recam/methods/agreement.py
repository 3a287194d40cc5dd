"""A threshold for class maps without any mask (ours): the one whose masks a classifier of pixels can learn best.

At the right threshold the inside of objects looks alike over all images, and unlike their outside. Too low, and
background is called object; too high, and parts of objects are called background: either way, colours and features of
early layers separate inside from outside less well. So for each threshold, linear discriminant analysis of pixels
(Fisher 1936; one covariance for all classes) is fitted to the masks of half of the images and predicts the other half,
restricted to the labels of each image; the threshold is taken at which prediction and masks agree best, by the
correlation of object and background (Matthews 1975, φ), which no share of the background can flatter. Without a
background there is no threshold to choose; masks are judged by the correlation of all classes (Gorodkin 2004, R_K,
which is φ for two) over the images with several labels, where there is something to tell apart.

Letters: P pixels of all images, F features, K classes, T thresholds.
"""

from __future__ import annotations

from collections.abc import Iterator
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

SPLITS = 3
"""Ways to halve the images; a single one can be off by a peak."""
BACKGROUND_CLASS = -1

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
        agreement: φ there, in [−1, 1]; near 0: nothing separates inside from outside.
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
    bins = np.searchsorted(thresholds, pixels.values, side="left")  # (P,): object at thresholds[j] where above j
    is_object = bins[None] > np.arange(len(thresholds))[:, None]  # (T, P)
    curve = measure_agreement(pixels, np.where(is_object, pixels.winners, BACKGROUND_CLASS))
    return choose_best(thresholds, curve)


def measure_agreement(pixels: Pixels, masks: NDArray[np.integer], background: bool = True) -> NDArray[np.float64]:
    """(T,) φ of held-out predictions and masks, the mean over `SPLITS` ways to halve the images.

    Args:
        masks: (T, P) class of each pixel, −1 for background, in T masks of the same pixels.
        background: False: −1 is a pixel that is not judged, and R_K is measured; 1 where no image has several labels.
    """
    if not background:
        correlated: NDArray[np.float64] = _correlation(_count_classes(pixels, masks).sum(2)).mean(0)
        return correlated
    curve: NDArray[np.float64] = _phi(_compare(pixels, masks).sum(2)).mean(0)
    return curve


def judge_images(pixels: Pixels, mask: NDArray[np.integer], background: bool = True) -> NDArray[np.float64]:
    """(N,) how well the mask of each image agrees with what is predicted for it from the others: the share of pixels of
    either that are pixels of both (IoU of all classes together), in [0, 1]; 1 where neither has any.

    Args:
        mask: (P,) class of each pixel, −1 for background.
        background: False: the share of pixels where both agree; −1 is a pixel that is not judged.
    """
    if not background:
        counts = _count_classes(pixels, mask[None], single=True)[:, 0].sum(0)  # (N, K, K)
        judged = counts.sum((1, 2))
        return np.where(judged > 0, np.trace(counts, axis1=1, axis2=2) / np.maximum(judged, 1), 1.0)
    both, alone, other = _compare(pixels, mask[None])[:, 0, :, :3].sum(0).T  # (N,) each
    either = both + alone + other
    return np.where(either > 0, both / np.maximum(either, 1), 1.0)


def _compare(pixels: Pixels, masks: NDArray[np.integer]) -> NDArray[np.float64]:
    """(`SPLITS`, T, N, 4) pixels of each image by mask and held-out prediction: both object, mask alone, prediction
    alone, neither."""
    n = len(pixels.labels)
    counts = np.zeros((SPLITS, len(masks), n, 4))
    for split, index, images, mask, predicted in _hold_out(pixels, masks, True):
        case = np.where(mask >= 0, np.where(predicted >= 0, 0, 1), np.where(predicted >= 0, 2, 3))
        counts[split, index] += np.bincount(images * 4 + case, minlength=n * 4).reshape(n, 4)
    return counts


def _count_classes(pixels: Pixels, masks: NDArray[np.integer], single: bool = False) -> NDArray[np.float64]:
    """(`SPLITS`, T, N, K, K) pixels of each image by class in the mask and class of the held-out prediction.

    Args:
        single: images with a single label count as well, where both always agree.
    """
    n, k = pixels.labels.shape
    counts = np.zeros((SPLITS, len(masks), n, k, k))
    several = pixels.labels.sum(1) > 1  # (N,)
    for split, index, images, mask, predicted in _hold_out(pixels, masks, False):
        judged = (mask >= 0) & (predicted >= 0) & (several[images] | single)
        code = (images[judged] * k + mask[judged]) * k + predicted[judged]
        counts[split, index] += np.bincount(code, minlength=n * k * k).reshape(n, k, k)
    return counts


def _hold_out(
    pixels: Pixels, masks: NDArray[np.integer], background: bool
) -> Iterator[tuple[int, int, NDArray[np.int64], NDArray[np.integer], NDArray[np.int64]]]:
    """(split, mask, images (P'), classes in the mask (P'), classes predicted (P')) of the pixels of each half,
    predicted from the other."""
    features = pixels.features - pixels.features.mean(0)
    features = features / (features.std(0) + 1e-6)
    n = len(pixels.labels)
    for split in range(SPLITS):
        order = np.random.default_rng(split).permutation(n)
        in_first = (order % 2 == 0)[pixels.images]  # (P,)
        for learned in (in_first, ~in_first):
            moment = features[learned].T.astype(np.float64) @ features[learned]
            rest, images = features[~learned], pixels.images[~learned]  # (P', F), (P',)
            wanted = pixels.labels[images]  # (P', K)
            for index, mask in enumerate(masks):
                sums, sizes = _sums(features[learned], mask[learned], pixels.labels.shape[1])
                predicted = _predict(sums, sizes, moment, rest, wanted, background)
                yield split, index, images, mask[~learned], predicted


def measure_coverage(shown: NDArray[np.bool_], labels: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(T,) how much of the labels masks show: of each class the share of its images whose mask shows it, the mean over
    classes that some image has. What has vanished disagrees with nothing, so agreement is worth as much as this.

    Args:
        shown: (T, N, K) whether the mask of an image shows a class.
        labels: (N, K) bool.
    """
    images = labels.sum(0)  # (K,)
    share = (shown & labels).sum(1) / np.maximum(images, 1)  # (T, K)
    coverage: NDArray[np.float64] = share[:, images > 0].mean(1)
    return coverage


def choose_best(thresholds: NDArray[np.floating], curve: NDArray[np.float64]) -> Agreement:
    """The threshold of the largest agreement; the middle of equally good ones."""
    best = np.flatnonzero(curve >= curve.max() - 1e-9)
    chosen = best[len(best) // 2]
    return Agreement(
        float(thresholds[chosen]), float(curve[chosen]), tuple(map(float, thresholds)), tuple(curve.tolist())
    )


def _sums(
    features: Values, mask: NDArray[np.integer], n_classes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums (K+1, F) and sizes (K+1,) of background and classes."""
    sums = np.zeros((n_classes + 1, features.shape[1]))
    for value in range(n_classes + 1):
        sums[value] = features[mask == value - 1].sum(0)
    return sums, np.bincount(mask + 1, minlength=n_classes + 1).astype(np.float64)


def _predict(
    sums: NDArray[np.float64],
    sizes: NDArray[np.float64],
    moment: NDArray[np.float64],
    features: Values,
    wanted: NDArray[np.bool_],
    background: bool,
) -> NDArray[np.int64]:
    """(P',) the class, of those that its image is labelled with, that is predicted for each pixel; −1 for background,
    or where there is none for a pixel of whose classes nothing is known."""
    known = sizes >= FEWEST
    total = sizes.sum()
    means = sums / np.maximum(sizes, 1)[:, None]  # (K+1, F)
    within = (moment - (means * sizes[:, None]).T @ means) / total + RIDGE * np.eye(len(moment))
    directions = np.linalg.solve(within, means.T)  # (F, K+1)
    offsets = np.log(np.maximum(sizes, 1) / total) - (means.T * directions).sum(0) / 2
    scores = features @ directions.astype(np.float32) + offsets.astype(np.float32)  # (P', K+1)
    scores[:, ~known] = -np.inf
    scores[:, 1:][~wanted] = -np.inf
    if not background:
        scores[:, 0] = np.finfo(np.float32).min
    predicted: NDArray[np.int64] = scores.argmax(1) - 1
    return predicted


def _correlation(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """(…, K, K) → (…) R_K of mask and prediction; 0 where either holds one class alone, 1 where nothing is counted."""
    total, right = counts.sum((-2, -1)), np.trace(counts, axis1=-2, axis2=-1)
    masks, predictions = counts.sum(-1), counts.sum(-2)  # (…, K)
    norm = np.sqrt((total**2 - (masks**2).sum(-1)) * (total**2 - (predictions**2).sum(-1)))
    value = (right * total - (masks * predictions).sum(-1)) / np.maximum(norm, 1e-12)
    return np.where(norm > 0, value, np.where(total > 0, 0.0, 1.0))


def _phi(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """(…, 4) → (…) correlation of mask and prediction; 0 where either holds one value alone."""
    both, mask, prediction, neither = np.moveaxis(counts, -1, 0)
    norm = np.sqrt((both + mask) * (both + prediction) * (neither + mask) * (neither + prediction))
    return np.where(norm > 0, (both * neither - mask * prediction) / np.maximum(norm, 1e-12), 0.0)
