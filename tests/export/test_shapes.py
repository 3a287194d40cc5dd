"""Shapes fill the pixels they were made of: by hand, and by what other programs read."""

import numpy as np
import pytest
from shape_readers import decoded_brush

from recam.export.shapes import box_of, brush_runs, run_lengths


def test_run_lengths():
    assert run_lengths(np.array([0, 0, 1, 1, 1, 0], bool)).tolist() == [2, 3, 1]
    assert run_lengths(np.array([1, 0, 0], bool)).tolist() == [0, 1, 2]
    assert run_lengths(np.array([0, 0], bool)).tolist() == [2]


def test_box():
    binary = np.zeros((5, 7), bool)
    binary[1:3, 2:6] = True
    assert box_of(binary) == (2, 1, 4, 2)


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (150, 200)])
def test_brush_runs_are_read_back(size):
    noise = np.random.default_rng(0).random(size) < 0.5
    block = np.zeros(size, bool)
    block[: size[0] // 2 + 1] = True  # at 150×200 longer than one run can be
    for binary in (noise, block, np.zeros(size, bool), np.ones(size, bool)):
        assert np.array_equal(
            decoded_brush(brush_runs(binary)).reshape(*size, 4), np.repeat(binary[..., None], 4, 2) * np.uint8(255)
        )
