import pytest
import torch

from recam.errors import DataError, RecipeError
from recam.methods.irn_paths import Offset
from recam.methods.region_cam import (
    RegionCamSettings,
    feature_affinities,
    is_even,
    propagate,
    region_cam,
    semantic_information,
)


def test_information_is_the_sum_of_positive_gradients_over_channels():
    features = torch.ones(1, 2, 1, 2, requires_grad=True)
    weight = torch.tensor([[[3.0, -1.0]], [[2.0, -4.0]]])  # (D, h, w)
    logits = torch.stack([(features[0] * weight).sum(), -(features[0] * weight).sum()])[None]
    (sims,) = semantic_information([features], logits, [1, 0])
    assert sims.tolist() == [[[0.0, 5.0]], [[5.0, 0.0]]]


def test_affinities_are_cosines_and_never_negative():
    features = torch.tensor([[[1.0, 1.0], [-1.0, 0.0]], [[0.0, 1.0], [0.0, 2.0]]])  # (2, 2, 2)
    found = feature_affinities(features, 2)
    half = 0.5**0.5
    torch.testing.assert_close(found[Offset(0, 1)], torch.tensor([[half], [0.0]]))
    torch.testing.assert_close(found[Offset(1, 0)], torch.tensor([[0.0, half]]))
    torch.testing.assert_close(found[Offset(1, 1)], torch.tensor([[0.0]]))
    assert Offset(1, 0) not in feature_affinities(features[:, :1], 2)


def test_maps_spread_where_features_are_alike_and_stop_where_they_change():
    features = torch.zeros(1, 2, 1, 6)
    features[0, 0, 0, :3] = features[0, 1, 0, 3:] = 1
    sims = torch.tensor([[[9.0, 0, 0, 0, 0, 0]]])
    maps = propagate([sims], [features], RegionCamSettings(first_stage=1, steps=200))
    torch.testing.assert_close(maps, torch.tensor([[[1.0, 1, 1, 0, 0, 0]]]), rtol=0, atol=0.01)


def test_a_coarse_stage_reaches_the_finer_grid_and_an_even_one_is_left_out():
    fine, coarse = torch.tensor([[[0.0, 0.0, 0.0, 1.0]]]), torch.tensor([[[1.0, 0.0]]])
    levels = [torch.ones(1, 1, 1, 4), torch.ones(1, 1, 1, 2), torch.ones(1, 1, 1, 1)]
    still = RegionCamSettings(first_stage=1, steps=0)
    made = propagate([fine, coarse, torch.ones(1, 1, 1)], levels, still)
    torch.testing.assert_close(made, torch.tensor([[[1.0, 0.75, 0.25, 1.0]]]), rtol=0, atol=1e-3)
    assert is_even(torch.ones(2, 3, 3))
    assert not is_even(fine)
    alone = propagate([torch.ones(1, 1, 2)], levels[1:2], still)
    torch.testing.assert_close(alone, torch.ones(1, 1, 2), rtol=0, atol=1e-3)


def test_a_whole_image_and_what_is_refused():
    def levels_of(image):
        first = (2 * image).relu()
        second = first[..., ::2, ::2]
        return [first, second], second.square().mean((2, 3))

    image = torch.zeros(1, 3, 8, 8)
    image[:, 1, 2:5, 2:5] = 1
    maps = region_cam(levels_of, image, [1, 0], (4, 4), RegionCamSettings(first_stage=1, steps=4))
    assert maps.shape == (2, 4, 4)
    assert maps[0].argmax() == 5  # (1, 1) of the 4 × 4 grid
    assert not maps[1].any(), "no gradient, no map"
    with pytest.raises(DataError, match="first_stage = 3, but the network has 2 stages"):
        region_cam(levels_of, image, [0], (4, 4), RegionCamSettings(first_stage=3))
    with pytest.raises(DataError, match="no graph"):
        semantic_information([torch.ones(1, 1, 1, 1)], torch.ones(1, 2, requires_grad=True), [0])
    with pytest.raises(RecipeError, match=r"radius must be > 1.*steps must be ≥ 0"):
        RegionCamSettings(radius=1, steps=-1)
