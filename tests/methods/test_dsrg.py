"""DSRG by hand: growing along chains, its thresholds, the two losses and the gradient through the CRF."""

import math

import pytest
import torch

from recam.errors import DataError
from recam.methods import dsrg
from recam.methods.dsrg import DsrgSettings


def planes(*rows, channels):
    """Masks of one image, 255 for none → (1, C, h, w)."""
    return dsrg.one_hot_seeds(torch.tensor([rows]), channels)


def sure_of(*rows, channels, value=0.9):
    """Probabilities (1, C, h, w): `value` for the class that is named, the rest for all others alike."""
    hot = planes(*rows, channels=channels).float()
    return hot * value + (1 - hot) * (1 - value) / (channels - 1)


def grown(seeds, probability, labels=(1, 1, 1), foreground=0.85, background=0.99):
    return dsrg.grow_seeds(probability, seeds, torch.tensor([labels]), foreground, background)


def test_seeds_grow_along_all_eight_neighbours_and_no_further():
    probability = sure_of([1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0], channels=3)
    seeds = planes([1, 255, 255, 255], *[[255] * 4] * 3, channels=3)
    found = grown(seeds, probability)
    assert found[0, 1].tolist() == [[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert not found[0, (0, 2)].any(), "0.9 is not enough for the background"
    apart = sure_of([1, 0, 0, 1], [1, 0, 0, 1], channels=3)
    assert grown(planes([1, 255, 255, 255], [255] * 4, channels=3), apart)[0, 1].sum() == 2


def test_a_seed_connects_whatever_the_network_says_and_stays():
    seeds = planes([1, 2, 255, 255], channels=3)
    # The network takes all for class 1; the seed of class 2 connects what is beyond it, and stays what it is.
    assert grown(seeds, sure_of([1, 1, 1, 1], channels=3))[0].tolist() == [[[0] * 4], [[1, 0, 1, 1]], [[0, 1, 0, 0]]]
    # Unsure everywhere: nothing grows.
    assert grown(seeds, torch.full((1, 3, 1, 4), 1 / 3)).equal(seeds)


def test_thresholds_are_strict_and_the_background_must_exceed_both():
    seeds = planes([0, 255], channels=2)
    for value, wanted in ((0.75, 1), (0.76, 2)):
        assert grown(seeds, sure_of([0, 0], channels=2, value=value), (1, 1), 0.75, 0.5)[0, 0].sum() == wanted
    assert grown(seeds, sure_of([0, 0], channels=2, value=0.9), (1, 1), 0.5, 0.95)[0, 0].sum() == 1


def test_classes_that_the_image_does_not_have_do_not_compete():
    seeds = planes([1, 255], channels=3)
    probability = torch.tensor([0.05, 0.45, 0.5]).view(1, 3, 1, 1).expand(1, 3, 1, 2)
    assert grown(seeds, probability, (1, 1, 0), 0.4)[0, 1].sum() == 2
    assert grown(seeds, probability, (1, 1, 1), 0.4)[0, 1].sum() == 1


def test_two_seeds_at_a_position_leave_it_to_both():
    seeds = torch.zeros(1, 3, 1, 3)
    seeds[0, 1, 0, 0] = seeds[0, 1, 0, 1] = seeds[0, 2, 0, 1] = 1
    found = grown(seeds, sure_of([1, 1, 1], channels=3))
    assert found[0, 1].tolist() == [[1, 1, 1]]
    assert found[0, 2].tolist() == [[0, 1, 0]]


def test_sizes_that_do_not_fit_are_named():
    with pytest.raises(DataError, match=r"probabilities \(1, 2, 1, 2\), seeds \(1, 3, 1, 2\)"):
        grown(planes([1, 255], channels=3), sure_of([0, 0], channels=2))


def test_the_seed_loss_weighs_background_and_classes_alike():
    probability = torch.tensor([[0.5, 0.25, 0.25], [0.8, 0.1, 0.1]])[..., None, None].expand(2, 3, 1, 4)
    seeds = torch.cat([planes([0, 0, 0, 1], channels=3), planes([0, 255, 255, 255], channels=3)])
    # The second image has no class: 0, in a mean of two.
    wanted = (math.log(2) + math.log(1.25)) / 2 + math.log(4) / 2
    assert dsrg.seed_loss(probability, seeds).item() == pytest.approx(wanted)


def test_the_boundary_loss_clips_the_ratio():
    probability = torch.tensor([0.5, 0.9]).view(1, 2, 1, 1)
    refined = torch.tensor([0.25, 0.75]).view(1, 2, 1, 1)
    wanted = 0.25 * math.log(0.5) + 0.75 * math.log(0.75 / 0.9)
    assert dsrg.boundary_loss(probability, refined.log()).item() == pytest.approx(wanted)
    small = torch.tensor([0.001, 0.999]).view(1, 2, 1, 1).requires_grad_()
    loss = dsrg.boundary_loss(small, torch.tensor([0.5, 0.5]).log().view(1, 2, 1, 1))
    assert loss.item() == pytest.approx(0.5 * math.log(20) + 0.5 * math.log(0.5 / 0.999))
    loss.backward()
    assert small.grad.flatten().tolist() == pytest.approx([0, -0.5 / 0.999])


def test_the_gradient_through_the_crf_is_one_minus_q():
    probability = torch.tensor([0.3, 0.7]).view(1, 2, 1, 1).requires_grad_()
    log_q = dsrg.refined_with_gradient(probability, torch.tensor([0.6, 0.4]).log().view(1, 2, 1, 1))
    assert log_q.exp().flatten().tolist() == pytest.approx([0.6, 0.4])
    log_q.sum().backward()
    assert probability.grad.flatten().tolist() == pytest.approx([0.4, 0.6])


def test_settings_reach_the_whole_loss():
    logits = (0.1 * torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))).requires_grad_()
    seeds = torch.cat([planes([1, 255, 255, 255], *[[255] * 4] * 2, [0, 0, 255, 255], channels=3)] * 2)
    labels, sure = torch.tensor([[1, 1, 0]] * 2), sure_of(*[[1] * 4] * 4, channels=3)

    def loss(inside=None, **settings):
        return dsrg.dsrg_loss(
            logits, seeds, labels, lambda _: sure.expand(2, -1, -1, -1), DsrgSettings(**settings), inside
        )

    plain = loss()
    assert plain.total.item() == pytest.approx(plain.seed.item() + plain.boundary.item())
    # All but the two seeds of the background.
    assert plain.grown[0].sum((1, 2)).tolist() == [2, 14, 0]
    assert loss(grow_on="network").grown.equal(seeds)
    assert loss(boundary_weight=0.0).total.item() == pytest.approx(plain.seed.item())
    inside = torch.zeros(2, 4, 4, dtype=torch.bool)
    inside[:, :2] = True
    assert loss(inside).grown[0].sum((1, 2)).tolist() == [2, 8, 0]
    found = [torch.autograd.grad(loss(crf_gradient=each).total, logits)[0] for each in (True, False)]
    assert not found[0].equal(found[1])


def test_the_crf_joins_what_has_one_colour():
    pytest.importorskip("pydensecrf", reason="the dense CRF needs pydensecrf2: pip install 'recam[crf]'")
    images = torch.zeros(1, 3, 6, 8)
    images[..., 4:] = 250
    probability = torch.full((1, 2, 6, 8), 0.5)
    probability[0, :, 3, :4] = torch.tensor([[0.9], [0.1]])
    probability[0, :, 3, 4:] = torch.tensor([[0.1], [0.9]])
    for refine_of in (dsrg.crf_of(images), dsrg.crf_of(images, log_energies=True), dsrg.pamr_of(images)):
        refined = refine_of(probability)
        assert refined.sum(1).allclose(torch.ones(1, 6, 8))
        assert (refined[0, 0, 2:5, :4] > 0.5).all()
        assert (refined[0, 1, 2:5, 4:] > 0.5).all()
