import re
import sys

import numpy as np
import pytest

from recam.errors import DataError, DependencyError, RecipeError
from recam.methods.crf import CrfSettings, LabelCrfSettings, confident_labels, crf_labels, crf_probabilities


@pytest.fixture
def _densecrf():
    pytest.importorskip("pydensecrf", reason="the dense CRF needs pydensecrf2: pip install 'recam[crf]'")


needs_densecrf = pytest.mark.usefixtures("_densecrf")


def two_colours(height=24, width=32, edge=14):
    """An image that is dark left of column `edge` and bright from there on."""
    image = np.full((height, width, 3), 30, np.uint8)
    image[:, edge:] = 220
    return image


@needs_densecrf
def test_labels_move_to_the_edge_of_the_image():
    labels = np.zeros((24, 32), np.uint8)
    labels[:, 17:] = 1  # three columns too far right
    expected = np.zeros_like(labels)
    expected[:, 14:] = 1
    refined = crf_labels(two_colours(), labels, 2)
    assert refined.dtype == np.uint8
    np.testing.assert_array_equal(refined, expected)


@needs_densecrf
def test_unknown_labels_are_decided_by_their_colour():
    labels = np.full((24, 32), 255, np.uint8)
    labels[:, :6], labels[:, 26:] = 2, 1
    expected = np.full_like(labels, 2)
    expected[:, 14:] = 1
    np.testing.assert_array_equal(crf_labels(two_colours(), labels, 3), expected)


@needs_densecrf
def test_probabilities_sum_to_one_and_follow_the_edge():
    first = np.full((24, 32), 0.3, np.float32)
    first[:, :11] = 0.7
    probabilities = np.stack([first, 1 - first])
    refined = crf_probabilities(two_colours(), probabilities)
    assert refined.dtype == np.float32
    np.testing.assert_allclose(refined.sum(0), 1, atol=1e-5)
    assert (refined[0, :, :14] > 0.5).all()
    assert (refined[1, :, 14:] > 0.5).all()


@needs_densecrf
def test_without_pairwise_terms_probabilities_stay():
    probabilities = np.random.default_rng(0).dirichlet((1, 2, 3), (5, 6)).astype(np.float32).transpose(2, 0, 1)
    settings = CrfSettings(gaussian_weight=0, bilateral_weight=0)
    image = two_colours(5, 6, 3)
    np.testing.assert_allclose(crf_probabilities(image, probabilities, settings), probabilities, atol=1e-5)


@needs_densecrf
def test_arguments_are_not_changed_and_may_be_read_only():
    image, labels = two_colours(), np.zeros((24, 32), np.int64)
    labels[:, 10:] = 1
    before = labels.copy()
    for array in (image, labels):
        array.flags.writeable = False
    crf_labels(image[:, ::-1], labels[:, ::-1], 2)
    np.testing.assert_array_equal(labels, before)


@needs_densecrf
def test_confident_labels_where_the_thresholds_agree():
    cams = np.zeros((2, 24, 32), np.float32)
    cams[0, :, :8] = 0.9  # above both thresholds
    cams[1, :, 8:14] = 0.2  # between them
    cams[1, :, 14:] = 0.05  # below both
    # Without pairwise terms the CRF leaves the two seed masks as they are.
    settings = LabelCrfSettings(gaussian_weight=0, bilateral_weight=0)
    labels = confident_labels(two_colours(), cams, [3, 6], settings=settings)
    np.testing.assert_array_equal(labels[:, :8], 4)
    np.testing.assert_array_equal(labels[:, 8:14], 255)
    np.testing.assert_array_equal(labels[:, 14:], 0)


def test_image_without_classes_is_background():
    labels = confident_labels(two_colours(), np.zeros((0, 24, 32), np.float32), [])
    np.testing.assert_array_equal(labels, np.zeros((24, 32), np.uint8))


def test_one_label_needs_no_inference():
    probabilities = np.full((1, 24, 32), 0.4, np.float32)
    np.testing.assert_array_equal(crf_probabilities(two_colours(), probabilities), np.ones_like(probabilities))


def test_missing_package_names_the_extra_and_the_way_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    with pytest.raises(DependencyError, match=re.escape("pip install 'recam[crf]'")) as caught:
        crf_labels(two_colours(), np.zeros((24, 32), np.uint8), 2)
    assert "PAMR" in str(caught.value)


def test_data_that_does_not_fit():
    image, labels = two_colours(), np.zeros((24, 32), np.uint8)
    with pytest.raises(DataError, match=re.escape("an image of (24, 32) with labels of (12, 16)")):
        crf_labels(image, labels[::2, ::2], 2)
    with pytest.raises(DataError, match=re.escape("labels 0…3, but with n_labels = 3 a value is 0…2 or 255")):
        crf_labels(image, np.pad(labels[1:], ((1, 0), (0, 0)), constant_values=3), 3)
    with pytest.raises(DataError, match="not logits"):
        crf_probabilities(image, np.full((2, 24, 32), -1.0, np.float32))
    with pytest.raises(DataError, match=re.escape("probabilities of (2, 32, 24)")):
        crf_probabilities(image, np.full((2, 32, 24), 0.5, np.float32))
    with pytest.raises(DataError, match=re.escape("2 classes with maps of (1, 24, 32)")):
        confident_labels(image, np.zeros((1, 24, 32), np.float32), [0, 1])


@needs_densecrf
def test_image_of_another_form():
    with pytest.raises(DataError, match=re.escape("an image is (H, W, 3) uint8 RGB, got float64 (24, 32, 3)")):
        crf_labels(two_colours() / 255, np.zeros((24, 32), np.uint8), 2)


def test_settings_that_make_no_sense():
    with pytest.raises(
        RecipeError, match=r"iterations must be at least 1, got 0; bilateral_sxy .* got 0; gaussian_weight .* got -1"
    ):
        CrfSettings(iterations=0, bilateral_sxy=0, gaussian_weight=-1)
    with pytest.raises(RecipeError, match="gt_prob is a probability between 0 and 1, got 1"):
        LabelCrfSettings(gt_prob=1)
    with pytest.raises(RecipeError, match=re.escape("background_threshold 0.5 is above foreground_threshold 0.35")):
        confident_labels(two_colours(), np.zeros((1, 24, 32), np.float32), [0], background_threshold=0.5)


@needs_densecrf
def test_confident_labels_without_a_background():
    """A pixel whose largest map is not above the foreground's threshold is ignored, whatever the CRF makes of it."""
    cams = np.zeros((2, 24, 32), np.float32)
    cams[0, :, :17], cams[1, :, 17:] = 0.9, 0.8
    cams[:, :6] *= 0.1
    labels = confident_labels(two_colours(), cams, [3, 1], 0.35, None)
    assert (labels[:6] == 255).all()
    assert (labels[6:, :14] == 4).all()
    assert (labels[6:, 17:] == 2).all()
    assert (confident_labels(two_colours(), cams[:0], [], 0.35, None) == 255).all()
