"""Losses and scores for trackers of others: what they receive, where they write, what becomes of one that fails."""

import sys
from types import SimpleNamespace

import pytest

import recam
from recam.engine import trackers
from recam.engine.trackers import open_trackers
from recam.errors import DependencyError, RecipeError
from recam.progress import log_values
from recam.runfolder.journal import keep_journal


class Fake:
    """As Accelerate's trackers."""

    def __init__(self, root):
        self.root, self.calls = root, []

    def start(self):
        self.calls.append("start")

    def store_init_configuration(self, values):
        self.calls.append(("settings", values))

    def log(self, values, step=None):
        if "broken" in next(iter(values)):
            raise ValueError("no such server\nat all")
        self.calls.append((values, step))

    def finish(self):
        self.calls.append("finish")


@pytest.fixture
def made(monkeypatch):
    """The trackers that were made, by name."""
    found = {}
    for name in trackers.MAKERS:
        monkeypatch.setitem(trackers.MAKERS, name, lambda root, name=name: found.setdefault(name, Fake(root)))
    monkeypatch.setattr(trackers, "find_spec", lambda package: None if package == "mlflow" else package)
    return found


def work(root, names, *trainings):
    with open_trackers(names, root, {"seed": 3}) as opened, keep_journal(root, *opened):
        for what in trainings:
            log_values(what, 5, {"loss": 0.5})


def test_trackers_receive_what_is_written_to_the_journal(made, tmp_path):
    work(tmp_path, ("tensorboard", "wandb"), "train/cam", "train/recam")
    assert made["tensorboard"].calls == [
        "start", ({"train/cam/loss": 0.5}, 5), ({"train/recam/loss": 0.5}, 5), "finish",
    ]  # fmt: skip
    assert made["wandb"].calls == [  # it drops steps that go back, and each training begins anew
        "start",
        ("settings", {"seed": 3}),
        ({"train/cam/loss": 0.5, "train/cam/step": 5}, None),
        ({"train/recam/loss": 0.5, "train/recam/step": 5}, None),
        "finish",
    ]
    assert made["wandb"].root == tmp_path
    assert (tmp_path / "metrics.jsonl").read_text().count("loss") == 2


def test_a_run_with_nothing_to_do_leaves_nothing(made, tmp_path):
    work(tmp_path, ("tensorboard",))
    assert made == {}
    assert list(tmp_path.iterdir()) == []


def test_a_tracker_that_fails_is_left_out_and_the_others_go_on(made, tmp_path, capsys):
    work(tmp_path, ("tensorboard", "wandb"), "broken", "train/cam")
    assert made["tensorboard"].calls == ["start"]
    said = capsys.readouterr().err
    assert said.count("tensorboard gets no more values (no such server); they are in metrics.jsonl.") == 1
    assert (tmp_path / "metrics.jsonl").read_text().count("loss") == 2


def test_packages_that_are_missing_are_named_before_anything_is_computed(made, tmp_path):
    with pytest.raises(DependencyError, match="pip install mlflow"), open_trackers(("mlflow",), tmp_path, {}):
        pass
    with pytest.raises(RecipeError, match=r"compute\.log"):
        recam.load_recipe("tiny", {"compute.log": ["tensorbord"]})


def test_wandb_stays_offline_unless_it_is_named_online(monkeypatch, tmp_path):
    asked = []
    run = SimpleNamespace(log=lambda *words, **named: None, finish=lambda: None)
    config = SimpleNamespace(update=lambda *words, **named: None)
    fake = SimpleNamespace(init=lambda **words: asked.append(words) or run, config=config)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setattr(trackers, "find_spec", lambda package: package)
    for name in ("wandb", "wandb-online"):
        work(tmp_path, (name,), "train/cam")
    assert [words["mode"] for words in asked] == ["offline", "online"]
    assert {words["dir"] for words in asked} == {str(tmp_path / "trackers")}
    assert asked[0]["id"] == asked[1]["id"]  # the same run again


def test_tensorboard_reads_what_a_run_logs(tiny_settings, tmp_path):
    pytest.importorskip("tensorboard", reason="an extra is not installed: recam[tools]")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    settings = {**tiny_settings, "compute.log": ["tensorboard"]}
    summary = recam.run(recipe="tiny", output=tmp_path / "run", settings=settings, until="train")
    events = EventAccumulator(str(tmp_path / "run" / "trackers" / "tensorboard"))
    events.Reload()
    for stage in ("train/cam", "train/recam"):
        history = summary.records[stage]["results"]["history"]
        read = events.Scalars(f"{stage}/loss")
        assert [each.value for each in read] == pytest.approx([each["loss"] for each in history])
        assert [each.step for each in read] == sorted({each.step for each in read})
