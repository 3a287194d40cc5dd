"""OAA in a run: maps accumulate after each epoch, are learned by a second network, and are class maps themselves."""

import pytest
import torch

import recam
from recam.data.roles import DataSettings, RunData
from recam.engine.compute import ComputeSettings, make_accelerator
from recam.engine.work import Work
from recam.errors import RecipeError
from recam.models.backbones import BackboneSettings
from recam.pipeline.stored_maps import StoredMaps
from recam.pipeline.training import make_training
from recam.recipe.recipe import load_recipe
from recam.runfolder.maps import read_seed
from recam.runfolder.store import StageFolder, read_json
from recam.tensors import load_tensors

SMALL = {"backbone.name": "test_resnet", "backbone.weights": "none", "backbone.freeze_until": 0}


@pytest.fixture
def started(tiny_settings, tmp_path):
    """A classifier of OAA with its network, three epochs, and a stage's work in an empty folder."""
    recipe = load_recipe("tiny", tiny_settings | SMALL | {"oaa_classifier.epochs": 3})
    own, compute = recipe.section(DataSettings), recipe.section(ComputeSettings)
    data = RunData(own.open(), own, quiet=True)
    training = make_training(recipe, "oaa_classifier")
    torch.manual_seed(0)
    network = training.network(recipe.section(BackboneSettings).make(), len(data.catalog.classes)).eval()
    work = Work(data, StageFolder("train/oaa_classifier", tmp_path, "key"), {}, make_accelerator(compute), compute)
    return training, network, work


def stored(work):
    folder = work.folder.path / "accumulated"
    return {sample.id: load_tensors(folder / f"{sample.id}.safetensors") for sample in samples(work)}


def samples(work):
    return [sample for sample in work.data.train if sample.labels]


@torch.no_grad()
def test_maps_accumulate_by_epoch_and_once_each(started):
    training, network, work = started
    training.after_epoch(network, 1, None, work)
    assert not list(work.folder.path.iterdir()), "maps of the first epoch are not kept"
    training.after_epoch(network, 2, None, work)
    first = stored(work)
    assert {meta["epoch"] for _, meta in first.values()} == {2}
    network.fc1.weight.mul_(-1)
    training.after_epoch(network, 2, None, work)  # as after an interruption
    assert all(torch.equal(first[name][0]["maps"], tensors["maps"]) for name, (tensors, _) in stored(work).items())
    training.after_epoch(network, 3, None, work)
    grown = 0
    for name, (tensors, _) in stored(work).items():
        assert tensors["known"].all(), "in the last epoch every class of the image gets a map"
        assert (tensors["maps"] >= first[name][0]["maps"]).all()
        grown += int((tensors["maps"] > first[name][0]["maps"]).sum())
    assert grown
    sample = samples(work)[0]
    assert tensors["maps"].amax((1, 2)).tolist() == [255] * len(tensors["maps"])
    seeds = work.folder.path / "seeds"
    seed, planes = read_seed(seeds / f"{sample.id}.npz"), StoredMaps(seeds, 10)(sample)
    assert tuple(seed.class_indices) == sample.labels
    assert planes.planes.shape == (len(sample.labels), 64, 64)
    assert 0.5 < planes.planes.max() <= seed.maps.max() <= 1
    assert list(planes.indices) == list(sample.labels)


def test_what_an_earlier_training_left_does_not_count(started):
    training, network, work = started
    training.after_epoch(network, 3, None, work)
    later = stored(work)
    training.after_epoch(network, 2, None, work)
    assert {meta["epoch"] for _, meta in stored(work).values()} == {2}
    assert stored(work).keys() == later.keys()


def test_a_run_learns_what_has_accumulated_which_is_class_maps_itself(tmp_path, tiny_settings):
    settings = tiny_settings | SMALL | {"training": "oaa", "compare": (), "data.score": "train"}
    summary = recam.run(recipe="tiny", output=tmp_path / "run", settings=settings, until="maps")
    assert summary.made == ("train/oaa_classifier", "train/oaa", "maps/oaa", "scores/oaa")
    history = read_json(tmp_path / "run/train/oaa/stage.json")["results"]["history"]
    assert history[0]["loss"] > 0
    seeds = tmp_path / "run/train/oaa_classifier/seeds"
    external = tiny_settings | SMALL | {"compare": (), "data.score": "train", "maps.source": str(seeds)}
    again = recam.run(recipe="tiny", output=tmp_path / "seeds", settings=external, until="maps")
    assert "scores/external" in again.made


def test_epochs_must_be_left(tiny_settings):
    with pytest.raises(RecipeError, match="skip_epochs 2 leaves none of the 2 epochs whose maps accumulate"):
        load_recipe("tiny", tiny_settings | {"oaa_classifier.skip_epochs": 2})
