import pytest
import torch

from recam.errors import RecipeError
from recam.training.optim import make_poly_schedule, make_sgd, poly_decay


def test_decay_by_hand():
    assert poly_decay(0, 4) == 1
    assert poly_decay(1, 4, power=1) == 0.75
    assert poly_decay(2, 4) == pytest.approx(0.5**0.9)


def test_decay_stays_where_it_ended():
    assert poly_decay(3, 4) == poly_decay(4, 4) == poly_decay(100, 4) == pytest.approx(0.25**0.9)
    assert poly_decay(0, 1) == 1
    with pytest.raises(RecipeError, match="over 0 steps"):
        poly_decay(0, 0)


def groups():
    return [{"params": [torch.nn.Parameter(torch.ones(2))], "lr": 0.1}, {"params": [torch.nn.Parameter(torch.ones(1))], "lr": 1.0}]


def test_each_group_decays_from_its_own_rate():
    optimizer = make_sgd(groups())
    schedule = make_poly_schedule(optimizer, max_steps=2, power=1)
    rates = []
    for _ in range(4):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    assert rates == [[0.1, 1.0], [0.05, 0.5], [0.05, 0.5], [0.05, 0.5]]


def test_weight_decay_is_not_momentum():
    optimizer = make_sgd(groups(), weight_decay=0.5)
    assert [(group["momentum"], group["weight_decay"]) for group in optimizer.param_groups] == [(0.0, 0.5)] * 2
    parameter = optimizer.param_groups[0]["params"][0]
    parameter.grad = torch.tensor([1.0, 0.0])
    optimizer.step()
    # p − lr · (gradient + decay · p)
    torch.testing.assert_close(parameter.detach(), torch.tensor([1 - 0.1 * 1.5, 1 - 0.1 * 0.5]))


def test_momentum_by_hand():
    optimizer = make_sgd(groups(), momentum=0.9, weight_decay=0.0)
    parameter = optimizer.param_groups[1]["params"][0]
    for _ in range(2):
        parameter.grad = torch.ones(1)
        optimizer.step()
    torch.testing.assert_close(parameter.detach(), torch.tensor([1 - 1.0 - 1.9]))


def test_a_group_without_rate_is_refused():
    with pytest.raises(RecipeError, match=r"parameter groups \[1\] name no learning rate"):
        make_sgd([groups()[0], {"params": [torch.nn.Parameter(torch.ones(1))]}])


def test_a_restored_schedule_goes_on():
    optimizer = make_sgd(groups())
    schedule = make_poly_schedule(optimizer, max_steps=10)
    for _ in range(3):
        optimizer.step()
        schedule.step()
    restored_optimizer = make_sgd(groups())
    restored = make_poly_schedule(restored_optimizer, max_steps=10)
    restored.load_state_dict(schedule.state_dict())
    restored_optimizer.load_state_dict(optimizer.state_dict())
    for step, made in ((optimizer, schedule), (restored_optimizer, restored)):
        step.step()
        made.step()
    assert restored.get_last_lr() == schedule.get_last_lr() == pytest.approx([0.1 * 0.6**0.9, 0.6**0.9])
