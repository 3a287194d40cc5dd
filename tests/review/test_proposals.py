"""Regions that a click takes as a whole."""

import numpy as np
import pytest

from recam.errors import DependencyError
from recam.review import proposals
from recam.review.proposals import connect_colours, propose_regions


@pytest.fixture
def stripes():
    """(40, 60, 3): black, with two white stripes that do not touch."""
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, 10:20] = image[:, 40:50] = 255
    return image


def test_what_has_one_colour_and_hangs_together_is_one_region(stripes):
    found = connect_colours(stripes, 2)
    assert found[0].tolist() == [0] * 10 + [1] * 10 + [2] * 20 + [3] * 10 + [4] * 10
    assert (found == found[0]).all()


def test_a_ring_is_one_region_and_what_it_holds_another():
    image = np.zeros((40, 40, 3), np.uint8)
    image[10:30, 10:30] = 255
    image[16:24, 16:24] = 0
    found = connect_colours(image, 2)
    assert [found[20, column] for column in (0, 12, 20, 27, 39)] == [0, 1, 2, 1, 0]


@pytest.mark.parametrize("missing", [False, True])
def test_a_large_photo_is_reduced_first(stripes, monkeypatch, missing):
    """With superpixels and, where scikit-image is missing, without."""
    if missing:

        def refuse(image, scale):
            raise DependencyError("no scikit-image")

        monkeypatch.setattr(proposals, "segment_graph", refuse)
    found = propose_regions(stripes.repeat(20, 0).repeat(20, 1), 75)
    assert found.shape == (427, 640)
    assert len({int(found[200, column]) for column in (50, 160, 320, 480, 600)}) == 5
