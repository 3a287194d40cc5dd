import math

import pytest
import torch

from recam.errors import DataError, RecipeError
from recam.methods import gain
from recam.methods.gain import GainSettings


def test_soft_mask_by_hand():
    mask = gain.soft_mask(torch.tensor([[2.0, 4, 3]])[None, None], GainSettings(omega=2))
    half = 1 / (1 + math.e)  # 2 · (0 − 0.5) = −1
    torch.testing.assert_close(mask.flatten(), torch.tensor([half, 1 - half, 0.5]))


def test_soft_mask_of_the_paper_takes_the_map_as_it_is():
    mask = gain.soft_mask(torch.full((1, 1, 2, 2), 0.75), GainSettings(omega=4, stretch=False))
    torch.testing.assert_close(mask, torch.full((1, 1, 2, 2), 1 / (1 + math.exp(-1))))


def test_a_constant_map_erases_hardly_anything():
    mask = gain.soft_mask(torch.full((1, 1, 2, 2), 7.0))
    torch.testing.assert_close(mask, torch.full((1, 1, 2, 2), 1 / (1 + math.exp(5))))


FEATURES = torch.tensor([[[[1.0, 0]], [[0.0, 2]]], [[[3.0, 3]], [[1.0, 1]]]])  # (2, D = 2, 1, 2)
WEIGHT = torch.tensor([[2.0, 0], [0.0, 4], [-2.0, 0]])
LABELS = torch.tensor([[1.0, 1, 0], [0, 0, 1]])


def test_maps_of_each_class_by_hand():
    maps, owner, targets = gain.attention_maps(FEATURES, WEIGHT, LABELS)
    assert maps.flatten(1).tolist() == [[1, 0], [0, 4], [0, 0]]
    assert owner.tolist() == [0, 0, 1]
    assert targets.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_one_map_for_all_classes_by_hand():
    maps, owner, targets = gain.attention_maps(FEATURES, WEIGHT, LABELS, "image")
    assert maps.flatten(1).tolist() == [[1, 4], [0, 0]]
    assert owner.tolist() == [0, 1]
    assert targets.equal(LABELS)


@pytest.mark.parametrize("maps_for", ["class", "image"])
def test_images_without_labels_are_not_erased(maps_for):
    labels = LABELS * torch.tensor([[0.0], [1]])
    erased = gain.erase(torch.ones(2, 3, 2, 4), FEATURES, WEIGHT, labels, GainSettings(maps_for=maps_for))
    assert erased.images.shape == (1, 3, 2, 4)
    none = gain.erase(torch.ones(2, 3, 2, 4), FEATURES, WEIGHT, LABELS * 0, GainSettings(maps_for=maps_for))
    assert none.images.shape == (0, 3, 2, 4)
    assert gain.mining_loss(torch.zeros(0, 3), none.targets).item() == 0


def test_features_learn_from_the_erased_image_and_the_maps_weights_do_not():
    features, weight = FEATURES.clone().requires_grad_(), WEIGHT.clone().requires_grad_()
    gain.erase(torch.ones(2, 3, 2, 4), features, weight, LABELS).images.sum().backward()
    assert features.grad.abs().sum() > 0
    assert weight.grad is None


def test_mining_loss_by_hand():
    logits = torch.tensor([[0.0, 9], [math.log(3), 1]])
    loss = gain.mining_loss(logits, torch.tensor([[1.0, 0], [1, 0]]))
    assert loss.item() == pytest.approx((0.5 + 0.75) / 2)
    assert gain.mining_loss(logits, torch.eye(2), "logit").item() == pytest.approx(0.5)


def test_what_does_not_fit_is_refused():
    with pytest.raises(DataError, match="3 images have features of 2"):
        gain.erase(torch.ones(3, 3, 2, 4), FEATURES, WEIGHT, LABELS)
    with pytest.raises(RecipeError, match="unknown maps_for 'classes'"):
        GainSettings(maps_for="classes")
