import pytest
import torch

from recam.errors import RecipeError
from recam.training.optim import make_adamw, make_sgd, poly_decay, poly_rates, split_parameters


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
    return [
        {"params": [torch.nn.Parameter(torch.ones(2))], "lr": 0.1},
        {"params": [torch.nn.Parameter(torch.ones(1))], "lr": 1.0},
    ]


def rates_of(optimizer, set_step, steps, max_steps):
    found = []
    for step in steps:
        set_step(step, max_steps)
        found.append([group["lr"] for group in optimizer.param_groups])
    return found


def test_each_group_decays_from_its_own_rate():
    optimizer = make_sgd(groups())
    rates = rates_of(optimizer, poly_rates(optimizer, power=1), range(4), max_steps=2)
    assert rates == [[0.1, 1.0], [0.05, 0.5], [0.05, 0.5], [0.05, 0.5]]


def test_rates_rise_first():
    optimizer = make_sgd(groups())
    rates = rates_of(optimizer, poly_rates(optimizer, power=1, warmup=2), range(3), max_steps=4)
    assert [rate for _, rate in rates] == [1.0 * 1 / 2, 0.75, 0.5]


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


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2))
        self.head = torch.nn.Conv2d(2, 3, 1)
        self.relative_position_bias_table = torch.nn.Parameter(torch.zeros(4, 4))


def told(network, **options):
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    found = split_parameters(network, network.encoder, 0.5, 5.0, **options)
    return [(group["lr"], group.get("weight_decay"), [names[id(p)] for p in group["params"]]) for group in found]


def test_groups_of_encoder_and_rest():
    encoder = ["encoder.0.weight", "encoder.0.bias", "encoder.1.weight", "encoder.1.bias"]
    table = "relative_position_bias_table"
    assert told(Network()) == [(0.5, None, encoder), (5.0, None, [table, "head.weight", "head.bias"])]


def test_biases_of_the_rest_learn_faster():
    groups = told(Network(), rest_bias_factor=2.0)
    assert [(rate, len(names)) for rate, _, names in groups] == [(0.5, 4), (5.0, 2), (10.0, 1)]
    assert groups[2][2] == ["head.bias"]


def test_biases_norms_and_positions_are_spared_decay():
    assert told(Network(), decay_biases=False) == [
        (0.5, None, ["encoder.0.weight"]),
        (0.5, 0.0, ["encoder.0.bias", "encoder.1.weight", "encoder.1.bias"]),
        (5.0, 0.0, ["relative_position_bias_table", "head.bias"]),
        (5.0, None, ["head.weight"]),
    ]


def test_frozen_parameters_are_left_out():
    network = Network()
    network.encoder.requires_grad_(False)
    assert [rate for rate, _, _ in told(network)] == [5.0]
    network.requires_grad_(False)
    with pytest.raises(RecipeError, match="nothing is left to train"):
        told(network)


def test_adamw_by_hand():
    weight, bias = torch.nn.Parameter(torch.ones(1)), torch.nn.Parameter(torch.ones(1))
    optimizer = make_adamw(
        [{"params": [weight], "lr": 0.1}, {"params": [bias], "lr": 0.2, "weight_decay": 0.0}], weight_decay=0.5
    )
    assert type(optimizer) is torch.optim.AdamW
    for parameter in (weight, bias):
        parameter.grad = torch.full((1,), 4.0)
    optimizer.step()
    # The first step is lr · sign(gradient); decay shrinks the weight by lr · decay beside it, whatever the gradient.
    assert weight.item() == pytest.approx(1 - 0.1 * 0.5 - 0.1, abs=1e-6)
    assert bias.item() == pytest.approx(1 - 0.2, abs=1e-6)
    with pytest.raises(RecipeError, match=r"parameter groups \[0\] name no learning rate"):
        make_adamw([{"params": [weight]}])
