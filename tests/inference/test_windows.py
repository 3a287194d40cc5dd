"""Sliding windows: where they lie, what their overlaps average to, and that memory does not grow with the height of an
image."""

import itertools
import sys
import tracemalloc
import types

import numpy as np
import pytest

from recam.errors import DependencyError, RecipeError
from recam.inference.settings import InferenceSettings
from recam.inference.windows import _starts, make_mask, make_refinement


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def by_colour(image):
    """Probabilities that a pixel's own colour decides: red share, then the rest. (2, H, W)."""
    red = image[..., 0].astype(np.float32) / 255
    return np.stack([1 - red, red])


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.7])
@pytest.mark.parametrize("side", [40, 41, 64, 100, 333])
def test_windows_cover_a_side(side, overlap):
    starts = _starts(side, 40, overlap)
    assert starts[0] == 0
    assert starts[-1] == side - 40
    assert all(after - before <= 40 * (1 - overlap) + 1 for before, after in itertools.pairwise(starts))
    assert _starts(20, 40, overlap) == [0]


@pytest.mark.parametrize("size", [(100, 90), (40, 130), (130, 33), (41, 41)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.7])
def test_where_each_pixel_decides_for_itself_windows_change_nothing(size, overlap):
    image = picture(*size)
    whole = make_mask(image, by_colour, InferenceSettings(), keep=True)
    slid = make_mask(image, by_colour, InferenceSettings(window=40, overlap=overlap), keep=True)
    assert np.array_equal(whole.planes, slid.planes)
    assert np.abs(whole.probabilities.astype(int) - slid.probabilities).max() <= 1
    np.testing.assert_allclose(whole.highest, slid.highest, rtol=1e-6)


def test_overlapping_windows_are_averaged():
    """Two windows of 32 over 48 columns: 0–31 and 16–47. The first returns 0.2 for plane 1, the second 0.9."""
    shapes = []

    def constant(part):
        shapes.append(part.shape)
        value = 0.2 if len(shapes) == 1 else 0.9
        plane = np.full(part.shape[:2], value, np.float32)
        return np.stack([1 - plane, plane])

    made = make_mask(picture(32, 48), constant, InferenceSettings(window=32, overlap=0.5), keep=True)
    assert shapes == [(32, 32, 3)] * 2
    assert made.probabilities[1, 0, [0, 15, 16, 31, 32, 47]].tolist() == [
        51,
        51,
        140,
        140,
        230,
        230,
    ]  # 0.2, 0.55, 0.9 of 255
    assert made.planes[0, [0, 16, 47]].tolist() == [0, 1, 1]
    assert made.highest.tolist() == pytest.approx([0.8, 0.9])


def test_memory_does_not_grow_with_the_height():
    def peak(height):
        image = np.zeros((height, 200, 3), np.uint8)
        tracemalloc.start()
        make_mask(image, lambda part: np.zeros((20, *part.shape[:2]), np.float32), InferenceSettings(window=64))
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest - height * 200 * 2  # without the mask itself, as its bands and as a whole

    assert peak(3200) < 1.1 * peak(400)


def test_refinement_by_pamr_smooths_inside_a_region():
    """One colour, noisy probabilities: PAMR makes neighbours agree, and keeps sums of 1."""
    noise = np.random.default_rng(0).random((1, 40, 40), np.float32)
    image = np.full((40, 40, 3), 90, np.uint8)
    image[:, 20:] = 200
    refined = make_refinement("pamr")(image, np.concatenate([noise, 1 - noise]))
    assert refined[0].std() < 0.5 * noise.std()
    np.testing.assert_allclose(refined.sum(0), 1, atol=1e-4)
    made = make_mask(image, lambda part: np.concatenate([noise, 1 - noise]), InferenceSettings(refine="pamr"))
    assert made.planes.tolist() == refined.argmax(0).tolist()


def test_refinement_by_crf_is_the_published_field(monkeypatch):
    """Positions weigh 3 at 1 pixel, colours 4 at 67 pixels and 3 levels, ten steps."""
    used = {}

    class Field:
        def __init__(self, width, height, labels):
            self.shape = (labels, height * width)

        def setUnaryEnergy(self, unary):
            self.unary = unary

        def addPairwiseGaussian(self, **words):
            used["gaussian"] = words

        def addPairwiseBilateral(self, rgbim, **words):
            used["bilateral"] = words

        def inference(self, steps):
            used["steps"] = steps
            return np.exp(-self.unary)

    module = types.ModuleType("pydensecrf.densecrf")
    module.DenseCRF2D = Field
    monkeypatch.setitem(sys.modules, "pydensecrf", types.ModuleType("pydensecrf"))
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", module)
    image = picture(8, 9)
    made = make_mask(image, by_colour, InferenceSettings(refine="crf"))
    assert used == {"gaussian": {"sxy": 1, "compat": 3}, "bilateral": {"sxy": 67, "srgb": 3, "compat": 4}, "steps": 10}
    assert np.array_equal(made.planes, by_colour(image).argmax(0))


def test_settings_that_make_no_sense(monkeypatch):
    with pytest.raises(RecipeError, match=r"scales \(\).*window of 8 pixels.*overlap 1.*'crff'.*crf"):
        InferenceSettings(scales=(), window=8, overlap=1, refine="crff")
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    with pytest.raises(DependencyError, match=r"recam\[crf\].*PAMR"):
        make_refinement("crf")
