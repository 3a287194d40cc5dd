import math

import numpy as np
import pytest
import torch

from recam.errors import DataError, RecipeError
from recam.methods import psa
from recam.methods.irn_paths import Offset
from recam.methods.psa import PsaRefiner, PsaSettings
from recam.types import SeedMaps


def test_background_is_what_the_maps_leave():
    planes = psa.add_background(torch.tensor([[[0.5, 1.0]], [[0.25, 0.0]]]), 2)
    assert planes[0].tolist() == [[0.25, 0.0]]
    assert torch.equal(psa.add_background(torch.zeros(0, 1, 2), 4), torch.ones(1, 1, 2))


def test_block_means_count_what_is_missing_as_nothing():
    means = psa.block_means(torch.ones(1, 8, 12))
    assert means.tolist() == [[[1.0, 0.5]]]
    moving = psa.moving_means(torch.ones(1, 16, 16))
    assert moving[0, 4, 4] == moving[0, 12, 12] == 1
    assert moving[0, 0, 8] == 0.5, "half of its block lies outside"


def test_labels_are_what_both_backgrounds_agree_on():
    low = torch.tensor([[[0.1, 0.9, 0.9, 0.2, 0.0]], [[0.9, 0.1, 0.1, 0.8, 0.0]]])
    high = torch.tensor([[[0.0, 0.8, 0.1, 0.9, 0.0]], [[1.0, 0.2, 0.9, 0.1, 0.0]]])
    assert psa.affinity_labels(low, high).tolist() == [[1, 0, 255, 0, 255]]


def test_affinity_and_loss_of_a_single_first_pixel():
    # Radius 2 on a 2 × 3 map: the first pixel is (0, 1); its pairs are right, below left, below, below right.
    features = torch.tensor([[[[9.0, 1.0, 1.5], [3.0, 1.0, 2.0]]]])
    a = [math.exp(-0.5), math.exp(-2.0), 1.0, math.exp(-1.0)]
    radius = 1.9
    torch.testing.assert_close(psa.pair_affinities(features, radius)[0, :, 0], torch.tensor(a))
    labels = torch.tensor([[[255, 1, 1], [2, 1, 255]]])
    loss = psa.psa_loss(features, labels, radius)
    assert (loss.n_background.item(), loss.n_foreground.item(), loss.n_negative.item()) == (0, 2, 1)
    assert loss.foreground.item() == pytest.approx((0.5 + 0) / 2, abs=1e-4)
    assert loss.negative.item() == pytest.approx(-math.log(1 - a[1]), abs=1e-4)
    assert loss.total.item() == pytest.approx(0.25 / 4 - math.log(1 - a[1]) / 2, abs=1e-4)


def test_pairs_near_borders_are_left_out_where_wanted():
    features = torch.zeros(1, 3, 4)
    every, published = (psa.walk_pairs(features, 2, all_pairs) for all_pairs in (True, False))
    assert every[Offset(0, 1)].sum() == 9
    # First pixels lie in rows 0…1, columns 1…2.
    assert published[Offset(0, 1)].tolist() == [[0, 1, 1], [0, 1, 1], [0, 0, 0]]
    assert published[Offset(1, 0)].tolist() == [[0, 1, 1, 0], [0, 1, 1, 0]]


def test_a_step_takes_the_mean_weighted_by_affinity():
    features = torch.tensor([[[0.0, 0.0, math.log(2.0)]]])
    walked = psa.psa_walk(torch.tensor([[[1.0, 0.0, 0.0]]]), features, PsaSettings(radius=1.5, beta=2, steps=1))
    torch.testing.assert_close(walked, torch.tensor([[[0.5, 1 / 2.25, 0.0]]]))


def test_refiner_fills_what_looks_alike_and_weighs_it_against_the_background():
    def features_of(image):
        return torch.from_numpy(image[::8, ::8, :1].transpose(2, 0, 1).copy()).float()

    image = np.zeros((32, 48, 3), np.uint8)
    image[:, 24:] = 200
    maps = np.zeros((1, 8, 12), np.float32)
    maps[0, :, 1:5] = 0.9
    made = PsaRefiner(features_of)(image, SeedMaps(maps, np.array([4]), (32, 48)))
    assert made.maps.shape == (1, 8, 12)
    assert (made.maps[0, :, :5] > 0.5).all()
    assert (made.maps[0, :, 7:] < 0.5).all()


def test_what_is_refused():
    with pytest.raises(RecipeError, match=r"radius=1: must be > 1.*low_alpha=5 must not exceed high_alpha=4"):
        PsaSettings(radius=1, low_alpha=5, high_alpha=4)
    with pytest.raises(DataError, match="do not fit features"):
        psa.psa_loss(torch.ones(1, 2, 9, 9), torch.ones(1, 8, 9))
    with pytest.raises(DataError, match="holds no pairs at radius 5"):
        psa.psa_loss(torch.ones(1, 2, 9, 8), torch.ones(1, 9, 8, dtype=torch.int64))
    with pytest.raises(DataError, match="do not fit features"):
        psa.psa_walk(torch.ones(1, 2, 2), torch.ones(1, 3, 3))
