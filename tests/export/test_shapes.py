"""Shapes fill the pixels they were made of: by hand, and by what other programs read."""

import numpy as np
import pytest
from shape_readers import decoded_brush, filled

from recam.export.shapes import box_of, brush_runs, polygons, run_lengths

RING = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], bool)
DIAGONAL = np.array([[1, 0], [0, 1]], bool)


def test_run_lengths():
    assert run_lengths(np.array([0, 0, 1, 1, 1, 0], bool)).tolist() == [2, 3, 1]
    assert run_lengths(np.array([1, 0, 0], bool)).tolist() == [0, 1, 2]
    assert run_lengths(np.array([0, 0], bool)).tolist() == [2]


def test_box():
    binary = np.zeros((5, 7), bool)
    binary[1:3, 2:6] = True
    assert box_of(binary) == (2, 1, 4, 2)


def test_polygon_of_a_rectangle():
    binary = np.zeros((5, 7), bool)
    binary[1:3, 2:6] = True
    (loop,) = polygons(binary)
    assert loop.tolist() == [[2, 1], [6, 1], [6, 3], [2, 3]]  # clockwise, straight edges without corners between


def test_a_ring_is_cut_and_corners_do_not_join():
    assert np.array_equal(filled(polygons(RING), RING.shape), RING)
    assert len(polygons(RING)) == 2
    assert len(polygons(DIAGONAL)) == 2
    assert polygons(np.zeros((3, 3), bool)) == []


@pytest.mark.parametrize("density", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("grain", [1, 4])
def test_polygons_fill_the_same_pixels(density, grain):
    for seed in range(5):
        noise = np.random.default_rng(seed).random((40 // grain, 52 // grain)) < density
        binary = np.kron(noise, np.ones((grain, grain))) > 0
        assert np.array_equal(filled(polygons(binary), binary.shape), binary)


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (150, 200)])
def test_brush_runs_are_read_back(size):
    noise = np.random.default_rng(0).random(size) < 0.5
    block = np.zeros(size, bool)
    block[: size[0] // 2 + 1] = True  # at 150×200 longer than one run can be
    for binary in (noise, block, np.zeros(size, bool), np.ones(size, bool)):
        assert np.array_equal(decoded_brush(brush_runs(binary)).reshape(*size, 4), np.repeat(binary[..., None], 4, 2) * np.uint8(255))
