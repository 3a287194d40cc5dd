"""A threshold found by held-out agreement: that which parts maps whose objects differ from the rest."""

import numpy as np
import pytest

from recam.errors import DataError
from recam.methods.agreement import Pixels, find_threshold, judge_images, measure_coverage


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
