import math

import numpy as np
import pytest
import torch

from recam.errors import DataError
from recam.methods import icd


def planes(*rows):
    return torch.tensor(rows)[None, :, None]  # (1, C, 1, positions)


def test_directions_turn_towards_the_principal_one():
    """Features that vary most along (1, 1): steps down the loss turn any start there, and keep its length about."""
    torch.manual_seed(0)
    long = torch.randn(400) * 3
    features = torch.stack([long + 0.1 * torch.randn(400), long + 0.1 * torch.randn(400)])[
        None, :, None
    ]  # (1, 2, 1, 400)
    direction = torch.tensor([[1.0, 0.1]], requires_grad=True)
    for _ in range(200):
        icd.direction_loss(features, direction, torch.ones(1, 1), scale=0.01).backward()
        direction.data -= direction.grad
        direction.grad = None
    turned = icd.unit_rows(direction.detach())[0]
    assert turned.prod().item() == pytest.approx(0.5, abs=0.01)


def test_images_of_several_classes_move_no_direction():
    direction = torch.eye(2).requires_grad_()
    loss = icd.direction_loss(torch.rand(1, 2, 3, 3), direction, torch.ones(1, 2))
    loss.backward()
    assert loss.item() == 0
    assert direction.grad.abs().sum() == 0


def test_the_side_with_the_larger_map_decides_on_the_sign():
    scores = planes([2.0, 1, -1, -3], [1.0, 1, -1, -1])
    maps = planes([1.0, 1, 4, 2], [5.0, -9, 1, 0])
    means, present = icd.response_means(scores, maps, torch.tensor([[1.0, 1]]))
    assert means.tolist() == [[1, 3], [2.5, 0.5]]
    assert present.tolist() == [True, True]
    assert icd.signs(means).tolist() == [-1, 1]
    assert icd.response_means(scores, maps, torch.tensor([[1.0, 0]]))[1].tolist() == [True, False]


def test_membership_of_a_position_between_two_regions():
    regions = torch.tensor([[[0, 0, 0, 1]]])
    members = icd.region_membership(regions, (1, 3))  # at columns 0, 1.5 and 3
    torch.testing.assert_close(members, torch.tensor([[[1.0, 1, 0], [0, 0, 1]]]))
    between = icd.region_membership(torch.tensor([[[0, 1]]]), (1, 3))
    torch.testing.assert_close(between, torch.tensor([[[1, 0.5, 0], [0, 0.5, 1]]]))


def test_regions_take_their_class_by_vote_and_mean():
    regions = torch.tensor([[[0, 0, 0, 1, 1]]])
    scores = planes([3.0, 1, -2, -1, -3], [1.0, -1, -1, 1, -5])
    refined = icd.refine_by_regions(scores, regions, torch.tensor([[1.0, 1]]))
    # Region 0: class 0, mean of (3, 1, 0); class 1 that of (0, −1, −1). Region 1: background, means of what is below 0.
    expected = planes([4 / 3] * 3 + [-2.0] * 2, [-2 / 3] * 3 + [-2.5] * 2)
    torch.testing.assert_close(refined, expected)


def test_the_top_down_loss_counts_confident_positions_of_present_classes():
    scores = planes([10.0, 1, -4, -0.5], [9.0, 9, 9, 9])
    loss = icd.topdown_loss(torch.zeros(1, 2, 1, 4), scores, torch.tensor([[1.0, 0]]))
    assert loss.item() == pytest.approx(2 * math.log(2) / 4)


def test_warm_up():
    assert icd.warmup_weight(0.5).item() == pytest.approx(math.exp(-5))
    assert icd.warmup_weight(3.0).item() == 1


def test_seed_mask_by_hand():
    # Pixels: class 0 alone, both (CAM says class 1), none with all negative, none with one at 0, both without a CAM.
    scores = np.array([[[4.0, 2, -1, -1, 1]], [[-1.0, 2, -1, 0, 1]]])
    cams = np.array([[[1.0, 1, 1, 1, 0]], [[0.0, 3, 1, 1, 0]]])
    assert icd.seed_mask(scores, cams, [4, 6]).tolist() == [[5, 7, 0, 255, 255]]


def test_saliency_is_the_background_unless_all_of_the_image_is():
    scores, cams = np.array([[[4.0, 2, -1, -1]]]), np.ones((1, 1, 4))
    pale = np.array([[0.0, 1, 0, 1]], np.float32)
    assert icd.seed_mask(scores, cams, [0], pale).tolist() == [[255, 1, 0, 255]]
    assert icd.seed_mask(scores, cams, [0], pale * 0).tolist() == [[1, 1, 0, 0]]


def test_maps_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match="do not fit"):
        icd.seed_mask(np.zeros((1, 2, 2)), np.zeros((2, 2, 2)), [0])
