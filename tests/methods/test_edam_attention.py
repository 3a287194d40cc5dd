import math

import pytest
import torch

from recam.errors import DataError, RecipeError
from recam.methods import edam_attention as attention
from recam.methods.edam_attention import EdamAttentionSettings


def test_masks_are_shares_of_the_norm_over_classes():
    masks = attention.class_masks(torch.tensor([[3.0, 0], [-4, 0]])[None, :, None])
    torch.testing.assert_close(masks.flatten(1), torch.tensor([[0.6, 0, 0.8, 0]]))


def test_positions_by_hand():
    codes = attention.position_codes(3, 4)
    assert codes[0].tolist() == [0, 1, 0, 1]
    expected = [math.sin(2), math.cos(2), math.sin(0.02), math.cos(0.02)]
    torch.testing.assert_close(codes[2], torch.tensor(expected))


def test_images_that_share_a_class_are_paired_first():
    labels = torch.tensor([[1.0, 0, 0], [0, 1, 0], [1, 0, 1], [0, 0, 1], [0, 1, 0]])
    assert attention.pair_images(labels).tolist() == [[0, 2], [1, 4], [3, 0]]


def test_what_shares_no_class_is_paired_in_order():
    assert attention.pair_images(torch.zeros(4, 2)).tolist() == [[0, 1], [2, 3]]
    assert attention.pair_images(torch.eye(1, 2)).tolist() == [[0, 0]]
    with pytest.raises(DataError):
        attention.pair_images(torch.full((2, 2), 7.0))


def test_layer_norm_divides_by_the_sample_deviation():
    normed = attention.layer_norm(torch.tensor([1.0, 2, 3]), torch.full((3,), 2.0), torch.ones(3))
    torch.testing.assert_close(normed, torch.tensor([-1.0, 1, 3]))


def make_head(n_classes=3):
    torch.manual_seed(0)
    backbone = type("Features", (), {"channels": 5})
    return attention.DiscriminativeAttention(backbone, n_classes, 8, 2).eval()


def test_each_class_has_parameters_of_its_own():
    head, features = make_head(), torch.randn(2, 5, 3, 4)
    logits = head(features, torch.tensor([[0, 1]]))
    assert logits.shape == (1, 2, 3)
    logits[..., 1].sum().backward()
    gradient = head.block.query.weight.grad.abs().sum((1, 2))
    assert gradient[1] > 0
    assert gradient[[0, 2]].tolist() == [0, 0]


def test_a_pair_is_read_together_and_apart_from_others():
    head, features = make_head(), torch.randn(4, 5, 3, 4)
    both = head(features, torch.tensor([[0, 1], [2, 3]]))
    torch.testing.assert_close(head(features[2:], torch.tensor([[0, 1]]))[0], both[1])
    assert not torch.allclose(head(features, torch.tensor([[0, 2]]))[0, 0], both[0, 0])


@pytest.mark.parametrize("wrong", [{"width": 9, "attention_heads": 3}, {"width": 128, "attention_heads": 3}])
def test_widths_that_cannot_be_divided_are_refused(wrong):
    with pytest.raises(RecipeError, match="must be even and a multiple"):
        EdamAttentionSettings(**wrong)
