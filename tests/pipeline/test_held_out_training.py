"""Trainings that are judged by held-out labels: what they keep of their weights."""

from types import SimpleNamespace

import pytest
import torch

import recam
from recam.models.backbones import BackboneSettings
from recam.models.classifier import Classifier
from recam.models.saved import save_classifier
from recam.pipeline.stages.train import HELD_OUT, LabelJudge, _keep_learned
from recam.runfolder.store import WEIGHTS, StageFolder, read_json
from recam.training.loop import Trained
from tiny_recipe import TINY

SMALL = BackboneSettings(name="mobilenetv3_small_050", weights="none", output_stride=32, dilate=False, freeze_until=0)


def network(value):
    made = Classifier(SMALL.make(), 2)
    torch.nn.init.constant_(made.fc1.weight, value)
    return made


@pytest.fixture
def start(tmp_path):
    folder = StageFolder("train/start", tmp_path, "key")
    save_classifier(tmp_path / WEIGHTS, network(1.0), SMALL, ("cat", "dog"))
    return folder


@pytest.mark.parametrize(
    ("scores", "kept", "value"),
    [
        ([0.5, 0.7], "last", 3.0),
        ([0.5, 0.69], "last", 3.0),  # within the slack of 0.7
        ([0.75, 0.6], "best", 2.0),
        ([0.6, 0.5], "start", 1.0),
    ],
)
def test_weights_that_held_out_labels_speak_against_are_given_up(scores, kept, value, start, capsys):
    last = network(3.0)
    best = {f"network.{name}": each.clone() for name, each in network(2.0).state_dict().items()}
    history = [{"epoch": number + 1, HELD_OUT: score} for number, score in enumerate(scores)]
    work = SimpleNamespace(
        accelerator=SimpleNamespace(is_main_process=True), folder=StageFolder("train/x", None, "key")
    )
    judge = SimpleNamespace(work=work)
    assert _keep_learned(judge, last, start, 0.7, Trained(history, best)) == kept
    assert last.fc1.weight.unique().tolist() == [value]
    assert ("fell from 70.0" in capsys.readouterr().err) == (kept != "last")


def test_held_out_images_are_judged_each_epoch_and_never_learned_from(tmp_path):
    settings = {**TINY, "train.held_out": 0.3, "cam.epochs": 2, "compare": [], "compute.report": False}
    recam.run(recipe="tiny", output=tmp_path / "run", settings=settings, until="train")
    results = read_json(tmp_path / "run/train/cam/stage.json")["results"]
    assert [0 <= each[HELD_OUT] <= 1 for each in results["history"]] == [True, True]
    assert results["labels"]["of"] == "held-out images"
    assert results["images"] + results["labels"]["images"] == 12
    assert read_json(tmp_path / "run/train/recam/stage.json")["results"]["kept"] in ("last", "best", "start")


def test_weights_that_were_judged_on_another_device_can_be_trained(monkeypatch):
    """A GPU's tensors are new ones; here each move makes new ones."""

    def moves(network, *where):
        for weight in network.parameters():
            weight.data = weight.data.clone()
        return network

    item = {"images": torch.rand(3, 32, 32), "labels": torch.tensor([1.0, 0.0])}
    dataset = type("Two", (list,), {"__getitem__": lambda self, position: item})([0, 1])
    classes = SimpleNamespace(names=("cat", "dog"))
    work = SimpleNamespace(
        accelerator=SimpleNamespace(device=torch.device("cpu")),
        data=SimpleNamespace(catalog=SimpleNamespace(classes=classes)),
    )
    judged = network(1.0)
    monkeypatch.setattr(Classifier, "to", moves)
    assert LabelJudge(dataset, work).score(judged).images == 2
    judged.train().encode({"images": item["images"][None]}).sum().backward()
    assert not any(weight.is_inference() for weight in judged.parameters())
