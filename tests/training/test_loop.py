"""The training loop: interrupted anywhere, the same weights; a loss that is no number stops it; progress and history
tell the truth."""

from dataclasses import dataclass, replace

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from recam.tensors import load_tensors
from recam.training.loop import AfterEpoch, Schedule, TrainingError, fit, step_seed
from recam.training.model_selection import Validation
from recam.training.optim import make_sgd, poly_decay

SCHEDULE = Schedule(epochs=3, batch=2, workers=0, save_minutes=1e-9)


@dataclass(frozen=True)
class Points:
    """Eight positions in a plane, moved a little by epoch, with their sum as the target."""

    bad_at: tuple[int, int] | None = None

    def __len__(self):
        return 8

    def __getitem__(self, position):
        epoch, index = position
        x = torch.tensor([index / 8, 0.1 * (epoch % 3)])
        return {"x": x * (float("nan") if position == self.bad_at else 1), "y": x.sum()}


class Objective(nn.Module):
    """Draws random numbers (dropout), keeps statistics (BatchNorm), and can be interrupted after some steps."""

    def __init__(self, stop_after=None):
        super().__init__()
        torch.manual_seed(3)
        self.net = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1))
        self.steps, self.stop_after = 0, stop_after

    def forward(self, batch):
        if self.steps == self.stop_after:
            raise KeyboardInterrupt
        self.steps += 1
        error = (self.net(batch["x"])[:, 0] - batch["y"]).square().mean()
        return {"loss": 2 * error, "error": error}


def train(path, objective=None, dataset=Points(), schedule=SCHEDULE, validation=None, rate=0.05, after_epoch=None):
    objective = objective or Objective()
    optimizer = make_sgd([{"params": objective.parameters(), "lr": rate}], momentum=0.9)
    rates = []

    def set_step(step, total):
        optimizer.param_groups[0]["lr"] = rate * poly_decay(step, total)
        rates.append((step, total))

    accelerator = Accelerator(cpu=True)
    trained = fit(
        "points", objective, dataset, optimizer, set_step, schedule, 5, path, accelerator, validation, after_epoch
    )
    return objective, trained, rates


def same_weights(one, other):
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


# 8 points in batches of 2 make 4 steps an epoch: 12 in all.
@pytest.mark.parametrize("interrupted", [(1,), (4,), (6,), (11,), (2, 3, 1)])
def test_an_interrupted_training_ends_with_the_same_weights(tmp_path, interrupted):
    whole, expected, _ = train(tmp_path / "whole.safetensors")
    path = tmp_path / "cut.safetensors"
    for steps in interrupted:
        with pytest.raises(KeyboardInterrupt):
            train(path, Objective(stop_after=steps))
    resumed, trained, rates = train(path)
    assert same_weights(resumed, whole)
    assert rates == [(step, 12) for step in range(sum(interrupted), 12)]
    for one, other in zip(trained.history, expected.history, strict=True):
        assert {k: v for k, v in one.items() if k != "images_per_second"} == {
            k: v for k, v in other.items() if k != "images_per_second"
        }


def test_what_a_step_draws_follows_from_seed_step_and_process(tmp_path):
    whole, _, _ = train(tmp_path / "whole.safetensors")
    path = tmp_path / "cut.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train(path, Objective(stop_after=5))
    objective = Objective()
    torch.manual_seed(99)  # the global generator is in another state than where it was cut
    resumed, _, _ = train(path, objective)
    assert same_weights(resumed, whole)
    seeds = {step_seed(seed, step, process) for seed in (0, 1) for step in range(50) for process in (0, 1)}
    assert len(seeds) == 200


def test_a_finished_training_is_not_begun_again(tmp_path):
    whole, expected, _ = train(tmp_path / "c.safetensors")
    again, trained, rates = train(tmp_path / "c.safetensors", Objective(stop_after=0))
    assert rates == []
    assert same_weights(again, whole)
    assert trained.history == expected.history


def test_history_holds_means_by_epoch(tmp_path):
    _, trained, _ = train(tmp_path / "c.safetensors")
    assert [record["epoch"] for record in trained.history] == [1, 2, 3]
    for record in trained.history:
        assert record["loss"] == pytest.approx(2 * record["error"])
        assert record["images_per_second"] > 0


def test_it_learns(tmp_path):
    _, trained, _ = train(tmp_path / "c.safetensors", schedule=Schedule(epochs=60, batch=8, workers=0))
    assert trained.history[-1]["loss"] < trained.history[0]["loss"] / 4


def test_it_is_saved_each_epoch_and_after_some_minutes(tmp_path):
    def step_saved(save_minutes, stop_after):
        path = tmp_path / f"{save_minutes}-{stop_after}"
        with pytest.raises(KeyboardInterrupt):
            train(path, Objective(stop_after), schedule=Schedule(3, 2, 0, save_minutes))
        return load_tensors(path)[1]["step"] if path.is_file() else 0

    assert [step_saved(60, steps) for steps in (3, 4, 7, 8)] == [0, 4, 4, 8]
    assert [step_saved(1e-9, steps) for steps in (3, 7)] == [3, 7]


def test_a_loss_that_is_no_number_stops_with_the_step_and_keeps_the_last_checkpoint(tmp_path):
    path = tmp_path / "c.safetensors"
    with pytest.raises(TrainingError, match=r"points: the loss is nan at step \d+ of 12\. Lower the learning rate"):
        train(path, dataset=Points(bad_at=(1, 0)))
    tensors, meta = load_tensors(path)
    assert 4 <= meta["step"] < 8
    assert all(value.isfinite().all() for value in tensors.values() if value.is_floating_point())


def test_it_trains_in_training_mode(tmp_path):
    objective = Objective().eval()
    before = objective.net[1].running_mean.clone()
    train(tmp_path / "c.safetensors", objective)
    assert not torch.equal(objective.net[1].running_mean, before)


def gently(path, objective=None, **more):
    """At a rate that four and more epochs survive."""
    return train(path, objective, rate=1e-3, **more)


def judged(scores):
    """A validation that hands out `scores` by the number of steps its weights have seen, and the weights that it was
    shown."""
    shown = {}

    def score(objective):
        step = int(objective.net[1].num_batches_tracked)
        shown[step] = {name: value.clone() for name, value in objective.state_dict().items()}
        return scores[step // 4 - 1]

    return score, shown


KEEPING = replace(SCHEDULE, epochs=4, average=0.8)


@pytest.mark.parametrize("interrupted", [(1,), (4,), (9,), (3, 5, 2)])
def test_average_and_best_outlive_an_interruption(tmp_path, interrupted):
    score, shown = judged((0.1, 0.7, 0.3, 0.5))
    whole, expected, _ = gently(tmp_path / "whole.safetensors", schedule=KEEPING, validation=Validation(score, "miou"))
    path = tmp_path / "cut.safetensors"
    for steps in interrupted:
        with pytest.raises(KeyboardInterrupt):
            gently(path, Objective(stop_after=steps), schedule=KEEPING, validation=Validation(score, "miou"))
    resumed, trained, _ = gently(path, schedule=KEEPING, validation=Validation(score, "miou"))
    assert same_weights(resumed, whole)
    assert [record["miou"] for record in trained.history] == [0.1, 0.7, 0.3, 0.5]
    for name, value in expected.best.items():
        assert value.equal(trained.best[name]), name
        assert value.equal(shown[8][name]), name
    # What is kept is the average, and not what the last step left.
    plain, _, _ = gently(tmp_path / "plain.safetensors", schedule=replace(KEEPING, average=0.0))
    assert not same_weights(plain, whole)
    # Once more: finished, and all of it there.
    again, found, _ = gently(path, Objective(stop_after=0), schedule=KEEPING, validation=Validation(score, "miou"))
    assert same_weights(again, whole)
    assert found.best.keys() == expected.best.keys()


def test_validation_does_not_change_what_is_learned(tmp_path):
    score, _ = judged((0.1, 0.2, 0.3))
    judged_weights, _, _ = gently(tmp_path / "judged.safetensors", validation=Validation(score))
    plain, _, _ = gently(tmp_path / "plain.safetensors")
    assert same_weights(judged_weights, plain)


def test_it_stops_when_patience_runs_out_and_stays_stopped(tmp_path):
    score, _ = judged((0.5, 0.4, 0.3, 0.9))
    validation = Validation(score, "miou", patience=2)
    schedule = replace(SCHEDULE, epochs=9)
    stopped, trained, rates = gently(tmp_path / "c.safetensors", schedule=schedule, validation=validation)
    assert len(trained.history) == 3
    assert trained.stopped
    assert rates[-1] == (11, 36)
    assert trained.images == 24
    again, found, rates = gently(
        tmp_path / "c.safetensors", Objective(stop_after=0), schedule=schedule, validation=validation
    )
    assert (rates, found.stopped, len(found.history)) == ([], True, 3)
    assert same_weights(again, stopped)


def test_only_some_epochs_are_judged_and_the_last_always(tmp_path):
    score, _ = judged((0.1, 0.2, 0.3, 0.4, 0.5))
    _, trained, _ = gently(
        tmp_path / "c.safetensors", schedule=replace(SCHEDULE, epochs=5), validation=Validation(score, "miou", every=2)
    )
    assert [record.get("miou") for record in trained.history] == [None, 0.2, None, 0.4, 0.5]


@pytest.mark.parametrize("interrupted", [None, 2, 5])
def test_steps_instead_of_epochs(tmp_path, interrupted):
    schedule = replace(SCHEDULE, epochs=1, steps=6)
    if interrupted:
        with pytest.raises(KeyboardInterrupt):
            gently(tmp_path / "c.safetensors", Objective(stop_after=interrupted), schedule=schedule)
    objective, trained, rates = gently(tmp_path / "c.safetensors", schedule=schedule)
    assert rates == [(step, 6) for step in range(interrupted or 0, 6)]
    assert objective.net[1].num_batches_tracked == 6
    assert [record["epoch"] for record in trained.history] == [1, 2]
    assert trained.history[1]["loss"] == pytest.approx(
        2 * trained.history[1]["error"]
    )  # means over two steps, not four
    assert trained.images == 12
    # The same first steps as a longer training has.
    longer, _, _ = gently(tmp_path / "longer.safetensors", schedule=replace(schedule, steps=7))
    assert not same_weights(objective, longer)


def test_what_comes_after_an_epoch_comes_before_its_checkpoint_and_again_where_it_was_interrupted(tmp_path):
    done, path = [], tmp_path / "t.safetensors"

    def do(objective, epoch):
        done.append((epoch, objective.training, path.is_file() and load_tensors(path)[1]["step"]))
        if len(done) == 2:
            raise KeyboardInterrupt

    often = AfterEpoch("a look", do)
    with pytest.raises(KeyboardInterrupt):
        train(path, after_epoch=often)
    objective, *_ = train(path, after_epoch=often)
    # Checkpoints of steps 3, 7 and 11 are there, not of those that end an epoch.
    assert done == [(1, False, 3), (2, False, 7), (2, False, 7), (3, False, 11)]
    assert same_weights(objective, train(tmp_path / "plain.safetensors")[0])
