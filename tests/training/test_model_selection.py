"""Averages, the best weights and patience, by hand."""

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from recam.training.model_selection import Validation, copy_state, judge, make_average


def test_the_average_by_hand():
    model = nn.BatchNorm1d(1)
    average = make_average(model, decay=0.2)
    expected = None
    # Updates 1 and 2 after the first blend by 2/11 and, as 3/12 is above the decay, by 0.2.
    for value, decay in ((8.0, None), (3.0, 2 / 11), (5.0, 0.2)):
        nn.init.constant_(model.weight, value)
        model.running_mean.fill_(value)
        model.num_batches_tracked += 3
        average.update_parameters(model)
        expected = value if decay is None else decay * expected + (1 - decay) * value
        assert average.module.weight.item() == pytest.approx(expected)
        assert average.module.running_mean.item() == pytest.approx(expected)
    assert average.module.num_batches_tracked == 9
    assert model.weight.item() == 5


def history(*scores):
    return [
        {"epoch": epoch, "loss": 1.0} | ({} if score is None else {"miou": score})
        for epoch, score in enumerate(scores, start=1)
    ]


def test_the_best_is_the_first_of_equals():
    validation = Validation(lambda model: 0.0, "miou")
    assert validation.best(history(None, None)) is None
    assert validation.best(history(0.1, None, 0.3, 0.3, 0.2))["epoch"] == 3


@pytest.mark.parametrize(
    ("scores", "patience", "over"),
    [
        ((0.3, 0.2), 1, True),
        ((0.3, 0.2), 2, False),
        ((0.3, None, 0.2, 0.3), 2, True),
        ((0.1, 0.2), 1, False),
        ((0.3, 0.1, 0.1), 0, False),
    ],
)
def test_patience_counts_validations_without_a_new_best(scores, patience, over):
    assert Validation(lambda model: 0.0, "miou", patience=patience).is_over(history(*scores)) is over
    assert not Validation(lambda model: 0.0, "miou", patience=1).is_over([])


def test_weights_are_judged_in_evaluation_mode_without_a_graph():
    seen = []

    def score(model):
        seen.append((model.training, torch.is_grad_enabled()))
        return 0.5

    assert judge(Validation(score), nn.Dropout().train(), Accelerator(cpu=True)) == {"score": 0.5}
    assert seen == [(False, False)]
    both = Validation(lambda model: {"score": 0.5, "beside": 2.0})
    assert judge(both, nn.Identity(), Accelerator(cpu=True)) == {"score": 0.5, "beside": 2.0}


def test_a_copied_state_does_not_change():
    model = nn.Linear(1, 1)
    state = copy_state(model)
    before = model.weight.item()
    nn.init.constant_(model.weight, 7.0)
    assert state["weight"].item() == before
