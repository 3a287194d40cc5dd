"""CONTA's stages between its trainings: confounders by hand, and what a classifier is filled with."""

from pathlib import Path

import numpy as np
import pytest
import torch

from recam.data.roles import DataSettings, RunData
from recam.engine.compute import ComputeSettings, make_accelerator
from recam.engine.work import Work
from recam.models.backbones import BackboneSettings
from recam.models.saved import save_segmenter
from recam.pipeline.stages.segment_settings import SegmentSettings
from recam.pipeline.training import make_training
from recam.pipeline.trainings import conta
from recam.recipe.recipe import load_recipe
from recam.runfolder.store import WEIGHTS, StageFolder
from recam.tensors import load_tensors
from tiny_recipe import TINY

RECIPE = load_recipe("tiny", TINY | {"training": "conta", "conta.side": 2})
NORMAL = (0.1, 0.2, 0.3), (0.5, 0.5, 0.5)
"""Mean and deviation of the segmentation model's images."""


@pytest.fixture
def data():
    own = RECIPE.section(DataSettings)
    return RunData(own.open(), own, quiet=True)


@pytest.fixture
def model(data, tmp_path):
    torch.manual_seed(0)
    own, classes = RECIPE.section(SegmentSettings), data.catalog.classes.names
    network = own.make(len(classes), "none")
    save_segmenter(Path(tmp_path / "model" / WEIGHTS), network, own, classes, *NORMAL)
    return StageFolder("conta/conta/model", tmp_path / "model", "key")


@pytest.fixture
def confounders(data, model, tmp_path, monkeypatch):
    """Of a model that finds the first label of each image in its left half, and some other class in the right one."""

    shown = {sample.image.read().tobytes(): sample for sample in data.train}

    def predict(segmenter, image, settings):
        sample = shown[image.tobytes()]
        mask = np.zeros(image.shape[:2], np.uint8)
        mask[:, : mask.shape[1] // 2] = sample.labels[0] + 1
        mask[:, mask.shape[1] // 2 :] = (sample.labels[0] + 1) % len(data.catalog.classes) + 1
        return mask

    monkeypatch.setattr(conta, "predict_mask", predict)
    compute = RECIPE.section(ComputeSettings)
    folder = StageFolder("conta/conta/confounders", tmp_path / "confounders", "key")
    work = Work(data, folder, {model.name: model}, make_accelerator(compute), compute)
    results = conta.write_confounders(conta.ConfoundersGiven(model.name, 2, None), work)
    return folder, results


def test_confounders_are_means_over_images_with_the_label(confounders, data):
    folder, results = confounders
    found = load_tensors(folder.path / conta.FILE)[0]["confounders"]
    for label, name in enumerate(data.catalog.classes.names):
        own = [sample for sample in data.train if label in sample.labels]
        first = sum(sample.labels[0] == label for sample in own)
        right = sum((sample.labels[0] + 1) % len(data.catalog.classes) == label for sample in own)
        left, beyond = (part / max(len(own), 1) for part in (first, right))
        assert found[label].tolist() == pytest.approx([left, beyond, left, beyond], abs=1e-5)
        assert results["area"][name] == pytest.approx((left + beyond) / 2, abs=1e-5)


def test_a_classifier_is_filled_with_them_and_with_the_model(confounders, model):
    folder, _ = confounders
    training = make_training(RECIPE, "conta")
    network = training.network(RECIPE.section(BackboneSettings).make(), 10)
    training.fill(network, {model.name: model, folder.name: folder})
    head = network.heads["context"]
    assert head.confounders.equal(load_tensors(folder.path / conta.FILE)[0]["confounders"])
    weights = load_tensors(model.weights)[0]
    assert all(value.equal(weights[name]) for name, value in head.segmenter.state_dict().items())
    own = network.backbone
    pixel = torch.tensor([0.9, 0.4, 0.7])
    read = (pixel - torch.tensor(own.mean)) / torch.tensor(own.std)
    wanted = (pixel - torch.tensor(NORMAL[0])) / torch.tensor(NORMAL[1])
    torch.testing.assert_close(read * head.scale[:, 0, 0] + head.shift[:, 0, 0], wanted)
