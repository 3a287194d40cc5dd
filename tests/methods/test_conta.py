"""CONTA by hand: masks as squares, the attention, the context as a channel, and the head that makes it of images."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from recam.errors import DataError
from recam.methods import conta
from recam.models.backbones import BackboneSettings
from recam.models.segmenters import SegmenterSettings
from recam.settings import as_json


def linear(weight, bias):
    layer = nn.Linear(len(weight[0]), len(weight))
    layer.weight.data, layer.bias.data = torch.tensor(weight), torch.tensor(bias)
    return layer


def test_a_mask_becomes_shares_of_squares():
    mask = np.array([[0, 1, 2, 2], [0, 1, 2, 255]], np.uint8)
    assert conta.reduce_mask(mask, 2, 2).shape == (2, 4)
    one = conta.reduce_mask(mask, 3, 1)
    assert one[:, 0].tolist() == pytest.approx([2 / 8, 3 / 8, 0])
    # Two rows and two columns of squares, each of 1 × 2 pixels.
    assert conta.reduce_mask(mask, 2, 2)[1].tolist() == [0, 1, 0, 0.5]


def test_attention_and_context_by_hand():
    masks, confounders = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    # W₁ X = (2, 0) + (0, 1); W₂ c = (ln 3, 0) and 0: the products over √2 differ by √2 · ln 3.
    query, key = linear([[2.0, 0.0], [0.0, 0.0]], [0.0, 1.0]), linear([[math.log(3), 0.0], [0.0, 0.0]], [0.0, 0.0])
    attention = conta.attend(masks, confounders, query, key)
    first = 3 ** math.sqrt(2) / (3 ** math.sqrt(2) + 1)
    assert attention[0].tolist() == pytest.approx([first, 1 - first])
    assert conta.context_of(attention, confounders)[0].tolist() == pytest.approx([first / 2, (1 - first) / 2])
    weighed = conta.context_of(attention, confounders, torch.tensor([0.1, 0.9]))
    assert weighed[0].tolist() == pytest.approx([0.1 * first, 0.9 * (1 - first)])


def test_all_pairs_of_masks_and_contexts():
    joint, logits = conta.joint_logits(
        torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [4.0]]), linear([[10.0, 1.0]], [0.5])
    )
    assert joint.tolist() == [[1, 3], [1, 4], [2, 3], [2, 4]]
    assert logits[:, 0].tolist() == [13.5, 14.5, 23.5, 24.5]


def test_positions_that_do_not_fit_are_named():
    with pytest.raises(DataError, match=r"masks \(1, 4\) and confounders \(2, 9\)"):
        conta.attend(torch.zeros(1, 4), torch.zeros(2, 9), nn.Linear(4, 2), nn.Linear(9, 2))


class LeftHalf(nn.Module):
    """Predicts class 1 in the left half of each image where that is bright, background elsewhere."""

    def forward(self, images):
        logits = torch.zeros(len(images), 3, *images.shape[2:])
        logits[:, 2] = images[:, 0] - 0.5
        logits[..., images.shape[3] // 2 :] = torch.tensor([1.0, 0, 0])[:, None, None]
        return logits


@pytest.fixture
def head():
    torch.manual_seed(0)
    backbone = BackboneSettings(name="test_resnet", weights="none", freeze_until=0).make()
    segmenter = as_json(SegmenterSettings(encoder="tu-test_resnet", decoder_channels=8))
    made = conta.ContextHead(backbone, 2, segmenter=segmenter, side=2, width=3)
    made.segmenter = LeftHalf()
    return made


def test_the_head_reads_masks_of_images_as_the_other_network_wants_them(head):
    images = torch.ones(1, 3, 8, 8)
    images[..., 4:, :] = 0
    assert head.masks(images)[0].tolist() == [1, 0, 0, 0]
    # Normalised by (0.5, 0.25), 1 is 0.75, and as the other network has it, by (0.5, 0.5), 0.5: not bright enough.
    head.normalise((0.5,) * 3, (0.25,) * 3, (0.5,) * 3, (0.5,) * 3)
    assert head.masks(images)[0].tolist() == [0, 0, 0, 0]
    assert head.masks(images * 2)[0].tolist() == [1, 0, 0, 0]


def test_the_context_is_one_more_channel(head):
    head.confounders.copy_(torch.tensor([[1.0, 0, 0, 0], [0, 0, 0, 0]]))
    images, maps = torch.ones(1, 3, 8, 8), torch.zeros(1, 2, 2, 2)
    context = head(images, (2, 2))
    attention = conta.attend(head.masks(images), head.confounders, head.query, head.key)
    assert context[0, 0].tolist() == [[pytest.approx(attention[0, 0].item() / 2), 0], [0, 0]]
    added = head.add(maps, images)
    assert added[0, :, 0, 0].tolist() == pytest.approx((head.weight * context[0, 0, 0, 0]).tolist())
    assert head.add(maps[:, :1], images, [1])[0, 0].equal(added[0, 1])
    added.sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in (head.query.weight, head.key.weight, head.weight))


def test_the_segmentation_network_neither_learns_nor_trains():
    backbone = BackboneSettings(name="test_resnet", weights="none", freeze_until=0).make()
    segmenter = as_json(SegmenterSettings(encoder="tu-test_resnet", decoder_channels=8))
    made = conta.ContextHead(backbone, 2, segmenter=segmenter, side=2, width=3).train()
    assert not any(module.training for module in made.segmenter.modules())
    assert not any(p.requires_grad for p in made.segmenter.parameters())
    made(torch.rand(2, 3, 32, 32), (2, 2)).sum().backward()
    assert {name for name, p in made.named_parameters() if p.grad is not None} <= {
        "query.weight", "query.bias", "key.weight", "key.bias"
    }  # fmt: skip
