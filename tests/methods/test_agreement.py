"""A threshold found by held-out agreement: that which parts maps whose objects differ from the rest."""

import numpy as np
import pytest

from recam.errors import DataError
from recam.methods.agreement import (
    Pixels,
    _correlation,
    find_threshold,
    judge_images,
    measure_agreement,
    measure_coverage,
)


def drawn(edge, n_images=20, n=200, seed=0, n_classes=2):
    """Objects are the pixels whose map exceeds `edge`; two features tell them from the rest, and their class."""
    rng = np.random.default_rng(seed)
    images = np.repeat(np.arange(n_images), n)
    values = rng.random(len(images)).astype(np.float32)
    label = np.arange(n_images) // 2 % n_classes
    winners = label[images]
    is_object = values > edge
    features = rng.normal(size=(len(images), 3))
    features[:, 0] += 4 * is_object
    features[:, 1] += 2 * is_object * winners
    return Pixels(images, values, winners, features.astype(np.float32), np.eye(n_classes, dtype=bool)[label])


@pytest.mark.parametrize("edge", [0.15, 0.4, 0.7])
def test_the_threshold_is_where_features_change(edge):
    found = find_threshold(drawn(edge))
    assert found.threshold == pytest.approx(edge, abs=0.021)
    assert found.agreement > 0.85
    assert found.curve[found.thresholds.index(found.threshold)] == found.agreement == max(found.curve)


def test_rescaled_maps_move_the_threshold_along():
    pixels = drawn(0.6)
    squared = Pixels(pixels.images, pixels.values**2, pixels.winners, pixels.features, pixels.labels)
    assert find_threshold(squared).threshold == pytest.approx(0.36, abs=0.021)


def test_features_that_know_nothing_agree_with_nothing():
    pixels = drawn(0.4)
    noise = np.random.default_rng(1).normal(size=pixels.features.shape).astype(np.float32)
    assert (
        abs(find_threshold(Pixels(pixels.images, pixels.values, pixels.winners, noise, pixels.labels)).agreement) < 0.1
    )


def test_empty_maps_are_refused():
    pixels = drawn(0.4)
    empty = Pixels(pixels.images, np.zeros_like(pixels.values), pixels.winners, pixels.features, pixels.labels)
    with pytest.raises(DataError, match="the classifier has learned nothing"):
        find_threshold(empty)
    one = pixels.images == 0
    with pytest.raises(DataError, match="at least two images"):
        find_threshold(
            Pixels(
                *(each[one] for each in (pixels.images, pixels.values, pixels.winners, pixels.features)), pixels.labels
            )
        )


def test_an_image_is_judged_by_what_the_others_predict_for_it():
    pixels = drawn(0.4)
    mask = np.where(pixels.values > 0.4, pixels.winners, -1)
    good = judge_images(pixels, mask)
    assert good.shape == (20,)
    assert good.min() > 0.7
    wrong = np.where(pixels.images == 3, np.where(mask < 0, pixels.winners, -1), mask)  # inside out in one image
    found = judge_images(pixels, wrong)
    assert found.argmin() == 3
    assert found[3] < 0.3


def test_an_image_without_object_in_mask_and_prediction_is_in_order():
    pixels = drawn(0.4)
    mask = np.where(pixels.values > 0.4, pixels.winners, -1)
    features = np.where(pixels.images[:, None] == 5, [[0.0, 0.0, 0.0]], pixels.features).astype(np.float32)
    empty = np.where(pixels.images == 5, -1, mask)
    assert judge_images(Pixels(pixels.images, pixels.values, pixels.winners, features, pixels.labels), empty)[5] == 1


def test_what_has_vanished_counts_for_nothing():
    labels = np.array([[1, 0], [1, 0], [1, 1], [0, 1]], bool)
    everything = labels
    one_class = labels & [[True, False]]
    half = np.array([[1, 0], [0, 0], [0, 1], [0, 1]], bool)
    found = measure_coverage(np.stack([everything, one_class, half, ~labels]), labels)
    np.testing.assert_allclose(found, [1.0, 0.5, (1 / 3 + 1) / 2, 0.0])


def test_a_class_that_no_image_has_is_not_covered_and_not_missed():
    labels = np.array([[1, 0], [1, 0]], bool)
    np.testing.assert_allclose(measure_coverage(labels[None], labels), [1.0])


def classes_drawn(n_images=12, n=60, n_classes=3, noise=0.3):
    """Pixels of a class each, which features tell; images with one label and with two, in turn."""
    rng = np.random.default_rng(3)
    images = np.repeat(np.arange(n_images), n)
    labels = np.zeros((n_images, n_classes), bool)
    truth = np.zeros(len(images), np.int64)
    for image in range(n_images):
        shown = rng.choice(n_classes, 1 + image % 2, replace=False)
        labels[image, shown] = True
        truth[images == image] = rng.choice(shown, n)
    features = np.eye(n_classes)[truth] * 4 + rng.normal(size=(len(images), n_classes)) * noise
    zeros = np.zeros(len(images), np.float32)
    return Pixels(images, zeros, truth, features.astype(np.float32), labels), truth


def test_without_a_background_classes_are_compared_where_there_are_several():
    pixels, truth = classes_drawn()
    other = np.array([np.flatnonzero(row) for row in pixels.labels[1::2]])  # the two labels of each such image
    swapped = truth.copy()
    for image, pair in zip(range(1, 12, 2), other, strict=True):
        at = pixels.images == image
        swapped[at] = np.where(truth[at] == pair[0], pair[1], pair[0])
    ignored = np.where(np.arange(len(truth)) % 5 == 0, -1, truth)
    right, wrong, fewer = measure_agreement(pixels, np.stack([truth, swapped, ignored]), background=False)
    assert right > 0.98
    assert wrong < 0.2
    assert fewer > 0.98
    alone = Pixels(
        pixels.images, pixels.values, truth, pixels.features, pixels.labels & (np.arange(12) % 2 == 0)[:, None]
    )
    assert measure_agreement(alone, truth[None], background=False).tolist() == [1.0]
    scores = judge_images(pixels, swapped, background=False)
    assert (scores[::2] == 1).all()  # a single label leaves nothing to be wrong
    assert scores[1::2].mean() < 0.7


def test_correlation_of_classes_by_hand():
    """Gorodkin's R_K: that of Matthews for two classes."""
    counts = np.array([[[6.0, 2.0], [1.0, 3.0]], [[5.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    phi = (6 * 3 - 2 * 1) / np.sqrt(8 * 4 * 7 * 5)
    assert _correlation(counts).tolist() == pytest.approx([phi, 0.0, 1.0])
