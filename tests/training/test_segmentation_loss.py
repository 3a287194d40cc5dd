"""The segmentation loss: pairs are added, ignored pixels left out, classes weighed; values by hand."""

import math

import pytest
import torch
from torch import nn

from recam.training.segmentation_loss import SegmentationObjective, balance_classes


class Fixed(nn.Module):
    """Logits that favour class 1 by ln 3, so that its probability is 3/4."""

    def forward(self, images):
        logits = torch.zeros(len(images), 2, *images.shape[-2:])
        logits[:, 1] = math.log(3)
        return logits


class Pairs(Fixed):
    def training_pairs(self, images, masks):
        logits = self(images)
        return [(logits, masks), (logits[..., ::2, ::2], masks[..., ::2, ::2])]


def batch(*rows):
    masks = torch.tensor([rows] * 2)  # (B, H, W)
    return {"images": torch.zeros(2, 3, *masks.shape[1:]), "masks": masks}


RIGHT, WRONG = -math.log(3 / 4), -math.log(1 / 4)


def test_the_mean_over_known_pixels():
    loss = SegmentationObjective(Fixed())(batch([1, 0], [1, 255]))["loss"]
    assert loss.item() == pytest.approx((2 * RIGHT + WRONG) / 3)


def test_nothing_but_ignored_pixels_is_no_loss():
    assert SegmentationObjective(Fixed())(batch([255, 255]))["loss"] == 0


def test_the_losses_of_pairs_are_added():
    loss = SegmentationObjective(Pairs())(batch([1, 0], [0, 0]))["loss"]
    assert loss.item() == pytest.approx((RIGHT + 3 * WRONG) / 4 + RIGHT)


def test_a_single_image_counts_once():
    one = {name: value[:1] for name, value in batch([1, 0], [1, 255]).items()}
    assert SegmentationObjective(Fixed())(one)["loss"].item() == pytest.approx((2 * RIGHT + WRONG) / 3)
    assert SegmentationObjective(Pairs())(one)["loss"].item() == pytest.approx((2 * RIGHT + WRONG) / 3 + RIGHT)


def test_class_weights_by_hand():
    pixels = torch.tensor([64, 32, 0, 4])
    assert balance_classes(pixels, 0.0).tolist() == pytest.approx([1, 1, 0, 1])
    # Shares 0.64, 0.32, 0.04: every class has a third of the weight.
    assert balance_classes(pixels, 1.0).tolist() == pytest.approx([1 / 3 / 0.64, 1 / 3 / 0.32, 0, 1 / 3 / 0.04])
    # Square roots 0.8, 0.566, 0.2 add up to 1.566.
    total = 0.8 + math.sqrt(0.32) + 0.2
    assert balance_classes(pixels, 0.5).tolist() == pytest.approx(
        [1 / 0.8 / total, 1 / math.sqrt(0.32) / total, 0, 1 / 0.2 / total], rel=1e-5
    )
    assert balance_classes(torch.zeros(3), 0.5).tolist() == [0, 0, 0]


def test_class_weights_reach_the_loss():
    objective = SegmentationObjective(Fixed(), torch.tensor([2.0, 0.5]))
    assert objective(batch([1, 0], [1, 255]))["loss"].item() == pytest.approx((2 * 0.5 * RIGHT + 2.0 * WRONG) / 3)
    assert list(objective.state_dict()) == []


def test_without_a_background_the_first_output_is_the_first_class():
    objective = SegmentationObjective(Fixed(), background=False)
    assert objective(batch([2, 1], [2, 255]))["loss"].item() == pytest.approx((2 * RIGHT + WRONG) / 3)
    assert objective(batch([2, 0], [255, 0]))["loss"].item() == pytest.approx(RIGHT)  # nobody named a pixel of 0
