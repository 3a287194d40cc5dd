"""What goes to the browser comes back as it was, reduced where it is too large."""

import numpy as np

from recam.review.packing import MASK_PLANE, pack_maps, pack_mask, read_packed, write_packed
from recam.types import SeedMaps


def test_maps_and_masks_come_back():
    maps = np.array([[[0, 0.2, 1]], [[0.5, 0, 0.998]]], np.float32)
    seed = SeedMaps(maps, np.array([3, 253]), (4, 12))
    mask = np.array([[0, 1, 255], [2, 2, 2]], np.uint8)
    empty = SeedMaps(np.zeros((0, 1, 3), np.float32), np.zeros(0, np.int64), (4, 12))
    one, two, three = read_packed(write_packed([pack_maps(7, seed, 0), pack_mask(8, mask, 0), pack_maps(9, empty, 0)]))
    assert (one.number, one.size, one.class_indices.tolist()) == (7, (4, 12), [3, 253])
    assert one.planes.tolist() == [[[0, 51, 255]], [[128, 0, 254]]]
    assert (two.number, two.size, two.class_indices.tolist()) == (8, (2, 3), [MASK_PLANE])
    assert np.array_equal(two.planes[0], mask)
    assert three.planes.shape == (0, 1, 3)


def test_what_is_too_large_is_reduced():
    mask = np.zeros((100, 400), np.uint8)
    mask[:, 200:] = 7
    (small,) = read_packed(write_packed([pack_mask(0, mask, 40)]))
    assert small.planes.shape == (1, 10, 40)
    assert small.size == (100, 400)
    assert set(np.unique(small.planes)) == {0, 7}  # no value between two classes
    seed = SeedMaps(np.tile(np.array([0, 1], np.float32), (1, 2, 2)), np.array([0]), (8, 16))
    (halved,) = read_packed(write_packed([pack_maps(0, seed, 2)]))
    assert halved.planes.tolist() == [[[128, 128]]]  # the mean of 0 and 255


def test_pixels_left_open_are_a_plane():
    ignore = np.zeros((4, 8), bool)
    ignore[:, 4:] = True
    seed = SeedMaps(np.ones((1, 1, 2), np.float32), np.array([2]), (4, 8), ignore)
    (packed,) = read_packed(write_packed([pack_maps(0, seed, 0)]))
    assert packed.class_indices.tolist() == [2, MASK_PLANE]
    assert packed.planes.tolist() == [[[255, 255]], [[0, 255]]]
