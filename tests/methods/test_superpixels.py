import numpy as np
import pytest

from recam.errors import DataError
from recam.methods import superpixels

STRIPES = np.repeat([[0, 1, 2, 3]], 4, 0)  # (4, 4), a column each


def test_features_of_regions_by_hand():
    features = np.array([[[1.0, 3]], [[0, 10]]])  # (D = 2, 1, 2): columns 0 and 1 lie in the first cell
    means = superpixels.region_features(features, STRIPES)
    assert means.tolist() == [[1, 0], [1, 0], [3, 10], [3, 10]]
    whole = superpixels.region_features(features, STRIPES * 0)
    assert whole.tolist() == [[2, 5]]


def test_regions_of_like_features_are_joined_first():
    features = np.array([[1.0, 0], [0, 1], [1, 0.1], [0.1, 1]])
    merged = superpixels.merge_regions(STRIPES, features, 2)
    assert merged[0].tolist() == [0, 1, 0, 1]
    assert merged.dtype == np.uint8


def test_of_regions_alike_the_smallest_are_joined_first():
    regions = np.array([[0] * 6 + [1, 2]])
    merged = superpixels.merge_regions(regions, np.ones((3, 2)), 2)
    assert merged.tolist() == [[0] * 6 + [1, 1]]


def test_few_regions_stay_and_numbers_are_closed_up():
    assert superpixels.merge_regions(STRIPES * 2, np.ones((7, 2)), 9)[0].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("most", [0, 255])
def test_numbers_that_a_mask_cannot_hold_are_refused(most):
    with pytest.raises(DataError, match="1 to 254 superpixels"):
        superpixels.merge_regions(STRIPES, np.ones((4, 2)), most)


def test_a_picture_of_two_colours_has_two_regions():
    pytest.importorskip("skimage", reason="superpixels need scikit-image: pip install 'recam[superpixels]'")
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[:, 16:] = 200
    regions = superpixels.segment_graph(picture)
    assert len(np.unique(regions)) == 2
    assert regions[0, 0] != regions[0, 31]
