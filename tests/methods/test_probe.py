"""The linear probe: the minimum of its loss, whatever the scale of the features, and a bias that takes their means."""

import math

import pytest
import torch

from recam.errors import DataError
from recam.methods.probe import fit_probe, probe_loss

GENERATOR = torch.Generator().manual_seed(5)
LABELS = torch.rand(60, 3, generator=GENERATOR).round()
FEATURES = (
    torch.randn(60, 8, generator=GENERATOR, dtype=torch.float64) + torch.nn.functional.pad(LABELS, (0, 5)).double()
)


def test_gradients_vanish_at_the_minimum():
    l2 = 0.05
    probe = fit_probe(FEATURES, LABELS, l2)
    std = FEATURES.std(0, correction=0) + 1e-6
    standard = (FEATURES - FEATURES.mean(0)) / std
    weight = probe.weight * std  # (K, D) of standardised features
    error = (probe.logits(FEATURES).sigmoid() - LABELS) / len(LABELS)  # (N, K)
    assert (error.T @ standard + l2 * weight).abs().max() < 1e-4
    assert error.sum(0).abs().max() < 1e-4


def test_scale_and_shift_of_features_change_nothing():
    scale, shift = torch.linspace(0.1, 50, 8, dtype=torch.float64), torch.linspace(-3, 9, 8, dtype=torch.float64)
    first, moved = fit_probe(FEATURES, LABELS, 0.1), fit_probe(FEATURES * scale + shift, LABELS, 0.1)
    torch.testing.assert_close(moved.logits(FEATURES * scale + shift), first.logits(FEATURES), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(moved.weight * scale, first.weight, rtol=1e-3, atol=1e-3)


def test_a_large_penalty_leaves_the_base_rate():
    probe = fit_probe(FEATURES, LABELS, 1e6)
    share = LABELS.double().mean(0)
    torch.testing.assert_close(probe.logits(FEATURES).sigmoid().mean(0), share, rtol=1e-3, atol=1e-3)
    entropy = -(share * share.log() + (1 - share) * (1 - share).log()).sum()
    assert probe_loss(probe, FEATURES, LABELS) == pytest.approx(float(entropy), rel=1e-3)


def test_a_class_that_every_image_shows_is_finite():
    probe = fit_probe(FEATURES, torch.ones(60, 1), 0.1)
    assert math.isfinite(float(probe.bias))


def test_damaged_features_are_refused():
    with pytest.raises(DataError, match="NaN or inf"):
        fit_probe(torch.full((4, 2), float("nan")), torch.ones(4, 1), 0.1)
