import math

import numpy as np
import pytest
import torch

from recam.errors import DataError, RecipeError
from recam.methods import bes
from recam.methods.bes import BesSettings


def test_attention_is_a_constant_of_mean_one():
    features = torch.tensor([[[[0.0, math.log(3.0)]]]], requires_grad=True)  # attention ½ and 3/2 at scale 1
    logits = bes.attention_logits(features, torch.tensor([[2.0]]), 1.0)
    assert logits.item() == pytest.approx(2 * 0.75 * math.log(3.0))
    logits.backward()
    torch.testing.assert_close(features.grad, torch.tensor([[[[0.5, 1.5]]]]))
    assert bes.attention_logits(features, torch.tensor([[2.0]]), 0.0).item() == pytest.approx(math.log(3.0))


def row(*values):
    return np.array([values], np.uint8)


def test_boundaries_are_where_shares_are_alike():
    found = bes.boundary_labels(row(0, 0, 0, 0, 3, 3, 3, 3), BesSettings(window=3, theta_diff=0.34))
    # Shares of background and class 3 in a window of three; at the border of two.
    assert found.tolist() == [[0, 0, 0, 150, 150, 50, 50, 50]]
    between = bes.boundary_labels(row(1, 1, 1, 2, 2, 2), BesSettings(window=3, theta_diff=0.34))
    assert between.tolist() == [[50, 50, 100, 100, 50, 50]]


def test_unknown_pixels_dilute_and_an_even_window_is_ignored():
    found = bes.boundary_labels(row(0, 255, 255, 255, 255), BesSettings(window=3))
    assert found.tolist() == [[200, 200, 200, 200, 200]]
    assert bes.boundary_labels(np.full((2, 2), 255, np.uint8)).tolist() == [[200, 200], [200, 200]]
    assert bes.boundary_labels(np.zeros((2, 2), np.uint8)).tolist() == [[0, 0], [0, 0]]


def test_loss_of_even_probabilities():
    labels = torch.tensor([[[0, 0, 50], [100, 150, 200]]])
    logits = torch.zeros(1, 1, 2, 3, requires_grad=True)
    loss = bes.bes_loss(logits, labels)
    half = math.log(2.0)
    assert loss.background.item() == pytest.approx(2 * half / 3)
    assert loss.foreground.item() == pytest.approx(half / 2)
    assert loss.ground.item() == pytest.approx((2 * half / 3 + half / 2) / 2)
    assert loss.boundary.item() == pytest.approx(2 * half * math.sqrt(0.5) / 3)
    loss.total.backward()
    # d(−log p)/dlogit = p − 1, times √p, over 3; ignored pixels get none.
    assert logits.grad[0, 0, 1].tolist() == pytest.approx([-0.5 * math.sqrt(0.5) / 3] * 2 + [0.0])
    assert logits.grad[0, 0, 0, 0].item() == pytest.approx(0.5 / 3 / 2)


def test_what_is_refused():
    with pytest.raises(RecipeError, match=r"window=4: must be odd.*theta_scale=2: must be in \[0, 0.5\]"):
        BesSettings(window=4, theta_scale=2)
    with pytest.raises(DataError, match="do not fit logits"):
        bes.bes_loss(torch.zeros(1, 1, 2, 2), torch.zeros(1, 4, 4))
    with pytest.raises(DataError, match=r"\(H, W\) uint8"):
        bes.boundary_labels(np.zeros((2, 2), np.int64))
