"""Outlines of regions: by hand, by what other programs fill, and what simplifying may and may not do."""

import numpy as np
import PIL.Image
import PIL.ImageFilter
import pytest
import shapely
from shape_readers import filled

from recam.export.outlines import KEPT, area_of, outlines

RING = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], np.uint8)
DIAGONAL = np.array([[1, 0], [0, 1]], np.uint8)


def noise(density, grain, seed, values=(0, 1, 2, 255)):
    """(40, 52) random values in squares of `grain` pixels; `density` of them not 0."""
    rng = np.random.default_rng(seed)
    drawn = np.where(
        rng.random((40 // grain, 52 // grain)) < density, rng.choice(values[1:], (40 // grain, 52 // grain)), values[0]
    )
    return np.kron(drawn, np.ones((grain, grain))).astype(np.uint8)


def blobs(seed, n_values=4, size=(90, 120)):
    """Round regions of all values that touch one another, holes and the border of the image."""
    rng = np.random.default_rng(seed)
    clouds = [
        PIL.Image.fromarray(rng.integers(0, 256, size, np.uint8)).filter(PIL.ImageFilter.GaussianBlur(7))
        for _ in range(n_values)
    ]
    return np.argmax([np.asarray(cloud) for cloud in clouds], 0).astype(np.uint8)


def painted(found, shape):
    """The mask that polygons fill, as pycocotools does; refuses pixels that two of them fill."""
    mask, covered = np.zeros(shape, np.uint8), np.zeros(shape, int)
    for value, loops in found.items():
        pixels = filled(loops, shape).astype(int)
        covered += pixels
        mask[pixels > 0] = value
    assert covered.max(initial=0) <= 1
    return mask


def polygons_of(found):
    return [shapely.Polygon(loop) for loops in found.values() for loop in loops]


def furthest(one, other):
    """How far from lines the points of others lie at most, every quarter of a pixel (pixels)."""
    points = shapely.points(shapely.get_coordinates(shapely.segmentize(one, 0.25)))
    tree = shapely.STRtree(shapely.get_parts(other))
    return tree.query_nearest(points, return_distance=True, all_matches=False)[1].max()


def count_corners(found):
    return sum(len(loop) for loops in found.values() for loop in loops)


def test_a_rectangle():
    mask = np.zeros((5, 7), np.uint8)
    mask[1:3, 2:6] = 3
    (loop,) = outlines(mask)[3]
    assert loop.tolist() == [[2, 1], [6, 1], [6, 3], [2, 3]]  # clockwise, straight edges without corners between
    assert area_of(loop) == 8


def test_a_ring_is_cut_and_corners_do_not_join():
    upper, lower = outlines(RING)[1]
    assert upper.tolist() == [[0, 0], [3, 0], [3, 1], [0, 1]]
    assert lower.tolist() == [[0, 1], [1, 1], [1, 2], [2, 2], [2, 1], [3, 1], [3, 3], [0, 3]]
    assert len(outlines(DIAGONAL)[1]) == 2
    assert outlines(np.zeros((3, 3), np.uint8)) == {}
    assert outlines(np.zeros((3, 3), np.uint8), 2.0) == {}


@pytest.mark.parametrize("tolerance", [0, 1.5])
def test_a_region_that_is_all_of_the_image(tolerance):
    (loop,) = outlines(np.full((2, 3), 255, np.uint8), tolerance)[255]
    assert loop.tolist() == [[0, 0], [3, 0], [3, 2], [0, 2]]


@pytest.mark.parametrize("density", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("grain", [1, 4])
def test_polygons_fill_the_same_pixels(density, grain):
    for seed in range(2):
        mask = noise(density, grain, seed)
        found = outlines(mask)
        assert np.array_equal(painted(found, mask.shape), mask)
        assert {value: sum(map(area_of, loops)) for value, loops in found.items()} == {
            v: (mask == v).sum() for v in (1, 2, 255)
        }


def test_a_staircase_becomes_one_edge_for_both_its_sides():
    mask = np.where(np.tri(6, dtype=bool), 1, 2).astype(np.uint8)
    assert count_corners(outlines(mask)) == 14 + 12
    below, above = outlines(mask, 1)[1], outlines(mask, 1)[2]
    # The stairs run from (1, 0) to (6, 5), 0.71 pixels from that edge; the border of the image stays as it is.
    assert [loop.tolist() for loop in below] == [[[0, 0], [1, 0], [6, 5], [6, 6], [0, 6]]]
    assert [loop.tolist() for loop in above] == [[[1, 0], [6, 0], [6, 5]]]
    # The nearest that leaves corners out passes two of them at 1 / √5.
    assert outlines(mask, 0.44)[2][0].tolist() == outlines(mask)[2][0].tolist()


@pytest.mark.parametrize("tolerance", [0.5, 1, 2, 5])
@pytest.mark.parametrize("seed", [0, 1])
def test_outlines_move_no_further_than_asked(tolerance, seed):
    mask = blobs(seed)
    exact, simple = outlines(mask), outlines(mask, tolerance)
    assert count_corners(simple) <= count_corners(exact) * (0.6 if tolerance >= 1 else 1)
    before, after = (shapely.unary_union([shape.exterior for shape in polygons_of(found)]) for found in (exact, simple))
    assert max(furthest(before, after), furthest(after, before)) <= tolerance + 1e-9
    changed = np.argwhere(painted(simple, mask.shape) != mask)[:, ::-1] + 0.5  # centres of pixels
    distances = shapely.distance(before, shapely.points(changed)) if len(changed) else np.zeros(1)
    assert distances.max() <= tolerance + 0.5  # pycocotools rounds corners to a fifth of a pixel and fills by columns
    assert all(shape.is_valid for shape in polygons_of(simple))


@pytest.mark.parametrize("tolerance", [1, 3])
def test_neighbours_keep_their_border(tolerance):
    """Where regions cover the image, their polygons do so too, without gap or overlap."""
    mask = blobs(7) + np.uint8(1)
    shapes = polygons_of(outlines(mask, tolerance))
    assert sum(shape.area for shape in shapes) == pytest.approx(mask.size)
    assert shapely.unary_union(shapes).area == pytest.approx(mask.size)


@pytest.mark.parametrize("tolerance", [1, 2, 10])
def test_no_region_vanishes(tolerance):
    """Dots, lines, a thin ring, slivers along a border and along the image."""
    mask = np.zeros((40, 50), np.uint8)
    mask[2, 2], mask[4, 4:20], mask[6:20, 6] = 1, 1, 2
    mask[24:36, 4:16] = 3
    mask[25:35, 5:15] = 0
    mask[20:30, 30:40], mask[20:30, 40:50], mask[22:28, 39] = 1, 2, 3
    mask[0, 25:30], mask[30:, 49], mask[39, 20] = 3, 1, 2
    exact, simple = outlines(mask), outlines(mask, tolerance)
    assert {value: len(loops) for value, loops in simple.items()} == {
        value: len(loops) for value, loops in exact.items()
    }
    assert all(area_of(loop) >= 1 for loops in simple.values() for loop in loops)
    mask = noise(0.6, 1, seed=tolerance)
    exact, simple = outlines(mask), outlines(mask, tolerance)
    for value, loops in exact.items():
        assert len(simple[value]) == len(loops)
        assert sum(map(area_of, simple[value])) >= KEPT * sum(map(area_of, loops))
    assert all(shape.is_valid for shape in polygons_of(simple))
