import math

import numpy as np
import pytest
import torch

from recam.errors import DataError
from recam.methods import sgan


def test_salient_positions_are_never_outermost():
    saliency = torch.tensor([[0.9, 0.9, 0.9, 0.9], [0.9, 0.07, 0.06, 0.9], [0.9, 0.9, 0.9, 0.9]])[None, None]
    assert sgan.salient_positions(saliency)[0, 0].tolist() == [[0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    assert sgan.salient_positions(saliency[..., :1, :2]).sum() == 0


def test_attention_by_hand():
    """Two salient positions and two that are not; the second of the salient ones asks with the other sign."""
    query, key = torch.tensor([[[1.0, -1, 5, 5]]]), torch.tensor([[[1.0, 3, 7, 7]]])
    attention = sgan.guided_attention(query, key, torch.tensor([[1.0, 1, 0, 0]]))[0]
    expected = torch.tensor([[0.25, 0.75, 0, 0], [1.0, 0, 0, 0], [0, 0, 0.5, 0.5], [0, 0, 0.5, 0.5]])
    torch.testing.assert_close(attention, expected, atol=2e-5, rtol=0)
    wide = sgan.guided_attention(query.repeat(1, 4, 1), key.repeat(1, 4, 1), torch.tensor([[1.0, 1, 0, 0]]))[0]
    torch.testing.assert_close(wide, attention, atol=2e-5, rtol=0)  # what is scaled cancels


def test_attention_begins_as_nothing():
    torch.manual_seed(0)
    head = sgan.SaliencyGuidedAttention(type("Features", (), {"channels": 4}), 3, 8)
    features = torch.randn(2, 4, 5, 5)
    torch.testing.assert_close(head.attend(features, torch.ones(2, 1, 5, 5)), features)


def claims(*rows):
    return torch.tensor(rows, dtype=torch.bool)[None, :, None]  # (1, n, 1, positions)


def test_the_smaller_claim_wins_or_none():
    classes = claims([1, 1, 1, 0, 0, 0], [0, 1, 0, 0, 1, 0])
    background = claims([0, 0, 1, 1, 1, 1])
    # Areas: background 4, class 0 three, class 1 two.
    assert sgan.seed_map(classes, background).tolist() == [[[1, 2, 1, 0, 2, 0]]]
    assert sgan.seed_map(classes, background, "ignore").tolist() == [[[1, 255, 255, 0, 255, 0]]]
    assert sgan.seed_map(classes, background, yielding=[1]).tolist() == [[[1, 2, 1, 0, 0, 0]]]
    assert sgan.seed_map(classes & False, background & claims([1] * 5 + [0])).tolist() == [[[255, 255, 0, 0, 0, 255]]]


def test_losses_by_hand():
    maps, labels = torch.zeros(1, 2, 1, 3), torch.tensor([[1.0, 0]])
    targets = sgan.seed_targets(torch.tensor([[[0, 2, 255]]]))
    assert targets.tolist() == [[[255, 1, 255]]]
    segmentation = torch.tensor([[5.0, 1, 5], [5.0, 0, 5]])[None, :, None]
    loss = sgan.sgan_loss(maps, segmentation, labels, targets)
    seed = math.log1p(math.exp(1))  # −log softmax of class 1 at logits (1, 0)
    assert loss.classification.item() == pytest.approx(math.log(2))
    assert loss.seed.item() == pytest.approx(seed)
    assert loss.total.item() == pytest.approx(math.log(2) + 0.15 * seed)
    assert sgan.sgan_loss(maps, segmentation, labels, targets * 0 + 255).seed.item() == 0


def test_masks_by_hand():
    cams = np.array([[[1.0, 0.4, 0.1, 0.0]], [[0.0, 0.5, 0.1, 0.4]]], np.float32)
    pale = np.array([[0.9, 0.9, 0.9, 0.0]], np.float32)
    # Class 3 alone; both claim two pixels, so the first; nobody; the background alone claims one, class 8 two.
    assert sgan.saliency_mask(cams, [2, 7], pale).tolist() == [[3, 3, 255, 0]]
    ignoring = sgan.SganMaskSettings(conflict="ignore")
    assert sgan.saliency_mask(cams, [2, 7], pale, ignoring).tolist() == [[3, 255, 255, 255]]
    assert sgan.saliency_mask(cams[:0], [], pale).tolist() == [[255, 255, 255, 0]]


def test_what_does_not_fit_is_refused():
    with pytest.raises(DataError, match=r"targets \(1, 2, 2\) are not those of \(1, 3, 4, 4\) logits"):
        sgan.sgan_loss(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4), torch.ones(1, 3), torch.zeros(1, 2, 2).long())
    with pytest.raises(DataError, match="divide an 8-bit picture"):
        sgan.saliency_mask(np.zeros((1, 2, 2), np.float32), [0], np.zeros((2, 2), np.uint8))
