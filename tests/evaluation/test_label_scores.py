"""Average precision and F1 by hand, what chance earns, and when a classifier has learned."""

import math

import numpy as np
import pytest

from recam.errors import DataError
from recam.evaluation.label_scores import average_precision, score_labels


def test_average_precision_by_hand():
    shown = np.array([True, False, True, False])
    assert average_precision(np.array([4.0, 3.0, 2.0, 1.0]), shown) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(np.array([1.0, 2.0, 3.0, 4.0]), shown) == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert average_precision(np.zeros(4), shown) == 0.5  # a constant earns the class's share
    assert math.isnan(average_precision(np.zeros(4), np.zeros(4, bool)))


def test_f1_is_that_of_scores_above_zero():
    scores = np.array([[1.0, -1.0], [1.0, -1.0], [-1.0, -1.0], [2.0, 1.0]])
    found = score_labels(scores, np.array([[1, 0], [0, 0], [1, 0], [1, 0]]), ("a", "b"))
    assert found.f1[0] == pytest.approx(2 * 2 / (3 + 3))
    assert math.isnan(found.f1[1])
    assert found.share == (0.75, 0.0)
    assert found.chance == 0.75  # of the class that occurs
    assert found.as_dict()["classes"]["b"] == {"ap": None, "f1": None, "share": 0.0}


def test_a_classifier_that_has_learned_is_told_from_one_that_has_not():
    rng = np.random.default_rng(3)
    labels = np.eye(4)[rng.integers(0, 4, 80)]
    names = ("a", "b", "c", "d")
    noise = rng.normal(size=labels.shape)
    assert not score_labels(noise, labels, names).is_learned
    assert not score_labels(np.full_like(noise, -1.4), labels, names).is_learned  # the base rate for every image
    assert score_labels(labels + noise, labels, names).is_learned
    every = score_labels(noise, np.ones_like(labels), names)
    assert (every.mean_ap, every.is_learned) == (1.0, False)  # nothing can be ranked


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(DataError, match="do not fit labels"):
        score_labels(np.zeros((2, 3)), np.zeros((2, 2)), ("a", "b", "c"))
    with pytest.raises(DataError, match="NaN or inf"):
        score_labels(np.full((2, 1), np.nan), np.zeros((2, 1)), ("a",))
