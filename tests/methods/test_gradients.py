"""What BCE and SCE ask of logits: eqs. 12–23 of the paper against automatic differentiation, the cases of §4.2, and the
means that a training records, by hand."""

import math

import pytest
import torch

from recam.errors import DataError
from recam.methods.cam import bce_loss
from recam.methods.gradients import bce_gradient, mean_gradients, sce_gradient, target_and_confusing
from recam.methods.recam import sce_loss

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, -4.0]], dtype=torch.float64)
LABELS = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


@pytest.mark.parametrize(("loss", "gradient"), [(bce_loss, bce_gradient), (sce_loss, sce_gradient)])
def test_closed_forms_are_the_gradients_of_the_losses_that_trainings_minimise(loss, gradient):
    """Eqs. 12, 19 and 23; a mean over N images divides each by N."""
    logits = LOGITS.clone().requires_grad_()
    loss(logits, LABELS).backward()
    torch.testing.assert_close(logits.grad * len(logits), gradient(LOGITS, LABELS))


def test_gradients_by_hand():
    torch.testing.assert_close(
        bce_gradient(LOGITS, LABELS)[0],
        torch.tensor([(sigmoid(2.0) - 1) / 3, sigmoid(-1.0) / 3, sigmoid(0.5) / 3], dtype=torch.float64),
    )  # eqs. 17 and 18
    total = math.exp(2) + math.exp(-1) + math.exp(0.5)
    expected = [math.exp(2) / total - 1, math.exp(-1) / total, math.exp(0.5) / total]  # eqs. 21 and 22
    torch.testing.assert_close(sce_gradient(LOGITS, LABELS)[0], torch.tensor(expected, dtype=torch.float64))


def test_the_derivative_of_the_sigmoid():
    """Eq. 16."""
    z = torch.tensor([-3.0, 0.0, 1.5], dtype=torch.float64, requires_grad=True)
    (found,) = torch.autograd.grad(z.sigmoid().sum(), z)
    torch.testing.assert_close(found, z.sigmoid() * (1 - z.sigmoid()))


@pytest.mark.parametrize(("z_p", "z_q"), [(0.3, -0.7), (-2.0, 1.0), (10.0, 10.0)])
def test_two_classes_as_the_paper_writes_them(z_p, z_q):
    """Eq. 13, ① to ④."""
    logits, labels = torch.tensor([[z_p, z_q]], dtype=torch.float64), torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    expected = [[-1 / (2 + 2 * math.exp(z_p)), 1 / (2 + 2 * math.exp(-z_q))]]
    torch.testing.assert_close(bce_gradient(logits, labels), torch.tensor(expected, dtype=torch.float64))
    share = 1 / (1 + math.exp(z_p - z_q))
    torch.testing.assert_close(sce_gradient(logits, labels), torch.tensor([[-share, share]], dtype=torch.float64))


@pytest.mark.parametrize(
    ("z_p", "z_q", "bce", "sce"),
    [
        (-12.0, 12.0, (0.5, 0.5), (1.0, 1.0)),  # a) the wrong class is far above
        (12.0, -12.0, (0.0, 0.0), (0.0, 0.0)),  # b) converged
        (12.0, 12.0, (0.0, 0.5), (0.5, 0.5)),  # c1) both high: BCE lowers the wrong one alone
        (-12.0, -12.0, (0.5, 0.0), (0.5, 0.5)),  # c2) both low: BCE raises the right one alone
    ],
)
def test_cases_of_the_paper(z_p, z_q, bce, sce):
    logits, labels = torch.tensor([[z_p, z_q]]), torch.tensor([[1.0, 0.0]])
    assert bce_gradient(logits, labels).abs()[0].tolist() == pytest.approx(bce, abs=1e-4)
    assert sce_gradient(logits, labels).abs()[0].tolist() == pytest.approx(sce, abs=1e-4)


def test_the_most_confusing_class_is_the_highest_of_the_others():
    target, confusing = target_and_confusing(LOGITS, LABELS)
    assert target.tolist() == [0, 2]
    assert confusing.tolist() == [2, 1]
    with pytest.raises(DataError, match="with one label, of two classes"):
        target_and_confusing(LOGITS, torch.ones(2, 3))
    with pytest.raises(DataError, match="with one label, of two classes"):
        target_and_confusing(torch.ones(1, 1), torch.ones(1, 1))


def test_means_over_the_images_with_one_label():
    """The third image has two labels and does not count."""
    logits = torch.cat([LOGITS, torch.tensor([[9.0, 9.0, 9.0]])])
    labels = torch.cat([LABELS, torch.tensor([[1.0, 1.0, 0.0]])])
    found = mean_gradients(logits, labels)
    assert found["bce_target"] == pytest.approx(((sigmoid(2.0) - 1) / 3 + (sigmoid(-4.0) - 1) / 3) / 2)
    assert found["bce_confusing"] == pytest.approx((sigmoid(0.5) + sigmoid(3.0)) / 6)
    share = math.exp(0.5) / (math.exp(2) + math.exp(-1) + math.exp(0.5))
    other = math.exp(3) / (1 + math.exp(3) + math.exp(-4))
    assert found["sce_confusing"] == pytest.approx((share + other) / 2)
    assert found["sce_target"] < 0
    assert mean_gradients(logits[2:], labels[2:]) == {}
