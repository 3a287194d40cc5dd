"""Feature affinities by hand, and the refiner on maps that follow what is alike."""

import numpy as np
import pytest
import torch

from recam.errors import DataError, RecipeError
from recam.methods.feature_affinity import (
    FeatureRefiner,
    FeatureSettings,
    centred,
    level_affinities,
    pool_regions,
    principal_components,
    walk,
)
from recam.methods.irn_paths import Offset
from recam.types import SeedMaps


def halves():
    """An image (32, 64) dark at the left and light at the right, and features that say the same."""
    image = np.zeros((32, 64, 3), np.uint8)
    image[:, 32:] = 200
    features = torch.zeros(2, 8, 16)
    features[0, :, :8] = features[1, :, 8:] = 1
    return image, features


def seed():
    """Two classes; each is found in four positions of its half."""
    maps = np.zeros((2, 8, 16), np.float32)
    maps[0, 2:4, 2:4] = maps[1, 4:6, 11:13] = 1
    return SeedMaps(maps, np.array([1, 4]), (32, 64))


def test_features_lose_their_mean():
    level = torch.tensor([[[1.0, 3.0], [5.0, 7.0]], [[2.0, 2.0], [2.0, 2.0]]])
    assert centred(level, (2, 2)).tolist() == [[[-3, -1], [1, 3]], [[0, 0], [0, 0]]]


def test_affinities_are_means_of_cosines_over_levels():
    one = torch.tensor([[[1.0, 1.0, 0.0]], [[0.0, 1.0, 1.0]]])  # cosines 1/√2, 1/√2
    other = torch.tensor([[[1.0, -1.0, -2.0]]])  # cosines −1 → 0, 1
    pairs = level_affinities([one, other], 1.5)
    torch.testing.assert_close(pairs[Offset(0, 1)], torch.tensor([[0.5**0.5 / 2, (0.5**0.5 + 1) / 2]]))


def test_a_step_of_the_walk_by_hand():
    planes = torch.tensor([[[1.0, 0.0]]])
    walked = walk(planes, {Offset(0, 1): torch.tensor([[0.5]])}, FeatureSettings(beta=2, steps=1))
    torch.testing.assert_close(walked, torch.tensor([[[0.8, 0.2]]]))  # weight 0.25 beside a self-loop of 1


@pytest.mark.parametrize("by", ["walk", "pamr"])
def test_maps_reach_what_is_alike_and_no_further(by):
    image, features = halves()
    before = seed()
    made = FeatureRefiner(lambda image: [features], 0.3, FeatureSettings(by=by, steps=200, components=2))(image, before)
    maps = made.maps if by == "walk" else made.maps[:, ::4, ::4]
    assert made.class_indices.tolist() == [1, 4]
    # The first class stays in the left half, the second in the right.
    assert maps[0, :, 9:].max() < 1e-3 < maps[0, 2, 5]
    assert maps[1, :, :7].max() < 1e-3 < maps[1, 4, 9]


def test_superpixels_end_coarse_features_where_regions_do():
    regions = np.repeat([[0, 0, 0, 1]], 4, 0)
    features = torch.tensor([[[1.0, 3.0, 5.0, 9.0]]]).expand(1, 4, 4)
    assert pool_regions(features, regions)[0, 0].tolist() == [3, 3, 3, 9]
    pytest.importorskip("skimage", reason="superpixels need scikit-image")
    image, level = halves()
    blurred = torch.nn.functional.avg_pool2d(level[None], (1, 5), 1, (0, 2), count_include_pad=False)[0]
    settings = FeatureSettings(steps=200, superpixels=True)
    maps = FeatureRefiner(lambda image: [blurred], 0.3, settings)(image, seed()).maps
    assert maps[0, :, 8:].max() < 1e-3 < maps[0, 2, 7]


def test_principal_components_hold_what_varies_most():
    features = torch.zeros(3, 1, 4)
    features[1] = torch.tensor([3.0, -3.0, 1.0, -1.0])
    features[2] = torch.tensor([0.1, 0.1, -0.1, -0.1])
    found = principal_components(features, 2)
    torch.testing.assert_close(found[0].abs(), features[1].abs())
    torch.testing.assert_close(found[1].abs(), features[2].abs())


def test_what_is_wrong():
    with pytest.raises(RecipeError, match=r"radius must be a finite number > 1.*beta.*steps must be ≥ 0, got -1"):
        FeatureSettings(radius=1, beta=-1, steps=-1)
    with pytest.raises(RecipeError, match="levels must name at least one"):
        FeatureSettings(levels=())
    image, features = halves()
    with pytest.raises(DataError, match="features"):
        FeatureRefiner(lambda image: [features * float("nan")])(image, seed())
    assert FeatureRefiner(lambda image: [])(image, SeedMaps(np.zeros((0, 8, 16), np.float32), np.zeros(0), (32, 64)))
