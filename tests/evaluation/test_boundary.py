"""Boundary IoU by hand."""

import math

import numpy as np
import pytest

from recam.evaluation.boundary import BoundaryCounts, band_width, inner_band


def test_band_width_is_two_percent_of_the_diagonal():
    assert band_width((300, 400)) == 10
    assert band_width((3, 4)) == 1


def test_the_inner_band_of_a_square():
    region = np.zeros((7, 7), bool)
    region[1:6, 1:6] = True
    expected = region.copy()
    expected[2:5, 2:5] = False
    np.testing.assert_array_equal(inner_band(region, 1), expected)
    np.testing.assert_array_equal(inner_band(region, 3), region)


def test_the_border_of_the_image_is_an_outline():
    band = inner_band(np.ones((5, 5), bool), 1)
    assert band.sum() == 16
    assert not band[1:4, 1:4].any()


@pytest.mark.parametrize("width", [1, 3, 20])
def test_bands_in_blocks_of_rows_are_those_of_the_whole(monkeypatch, width):
    region = np.random.default_rng(width).random((23, 9)) < 0.97
    whole = inner_band(region, width)
    monkeypatch.setattr("recam.labels.PIXEL_BLOCK", 27)  # three rows
    np.testing.assert_array_equal(inner_band(region, width), whole)


def test_a_class_is_counted_over_images():
    """A 5×5 square moved by one column: bands of 16 pixels each share 2 rows of 4 and no column: 8 of 24."""
    truth, prediction = np.zeros((9, 9), np.uint8), np.zeros((9, 9), np.uint8)
    truth[2:7, 1:6] = 2
    prediction[2:7, 2:7] = 2
    counts = BoundaryCounts(2)
    counts.update(prediction, truth)
    both = inner_band(truth == 2, 1) & inner_band(prediction == 2, 1)
    np.testing.assert_array_equal(counts.counts, [[0, 0], [both.sum(), 32 - both.sum()]])
    assert both.sum() == 8
    assert counts.mean() == pytest.approx(8 / 24)
    counts.update(truth, truth)
    assert counts.mean() == pytest.approx(24 / 40)


def test_pixels_of_an_unknown_truth_are_not_counted():
    truth = np.full((9, 9), 255, np.uint8)
    truth[:, :3] = 1
    prediction = np.ones((9, 9), np.uint8)
    counts = BoundaryCounts(1)
    counts.update(prediction, truth)
    # Of the truth's band (22 of 27 pixels: the middle column's inner 7 less) the prediction's has rows 0 and 8 and
    # column 0.
    assert counts.counts[0, 1] == (inner_band(truth == 1, 1) | (inner_band(prediction == 1, 1) & (truth == 1))).sum()
    assert counts.counts[0, 0] == 13


def test_nothing_but_background_is_nan():
    counts = BoundaryCounts(3)
    counts.update(np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8))
    assert math.isnan(counts.mean())
