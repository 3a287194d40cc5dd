"""Every registered training, map maker, refiner and segmenter through one battery, on the day it is entered.

The batteries over data sets and mask formats are in test_data_contracts.py, that over families of backbones in
models/test_backbones.py, that over losses of the segmentation model in test_loss_contracts.py.
"""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clip_inputs import write_clip
from recam.data.catalog import open_catalog
from recam.data.images import write_grey
from recam.data.roles import DataSettings, RunData
from recam.data.saliency import SaliencyFolder
from recam.engine.compute import ComputeSettings, make_accelerator
from recam.engine.work import Work
from recam.models.backbones import BackboneSettings
from recam.models.saved import load_classifier, save_classifier
from recam.models.segmenters import make_segmenter, segmenters
from recam.pipeline.maker import MakerContext, MakerPlace, Views, make_maker, makers
from recam.pipeline.map_set import MapFolder, MapSet
from recam.pipeline.refiner import Place, RefineContext, refiner_steps
from recam.pipeline.training import make_training, trainings
from recam.recipe.recipe import load_recipe
from recam.runfolder.manifest import RECORD
from recam.runfolder.maps import save_seed
from recam.runfolder.store import WEIGHTS, StageFolder
from recam.settings import Settings, as_json, sections
from recam.types import Sample, SeedMaps

SIZE = (24, 32)


def images(size=64, batch=2):
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module", params=sorted(segmenters))
def segmenter(request):
    torch.manual_seed(0)
    return make_segmenter(request.param, "tu-tf_efficientnet_lite0", 3, "none")


@pytest.mark.parametrize("size", [(33, 70), (64, 64)])
def test_segmenter_takes_any_size(segmenter, size):
    with torch.no_grad():
        assert segmenter.eval()(torch.randn(2, 3, *size)).shape == (2, 4, *size)


def test_segmenter_learns(segmenter):
    segmenter.train()
    segmenter(images(48)).square().mean().backward()
    without = [name for name, p in segmenter.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []
    assert any(p.grad.abs().sum() > 0 for p in segmenter.parameters() if p.grad is not None)


# Trainings, map makers and refiners: on the recipe that every run starts from, of a network as small as it goes.

SMALL = {
    "data.location": "scenes:",
    "data.options": {"seed": 6, "size": 64, "train": 12, "val": 4},
    "backbone.name": "test_resnet",
    "backbone.weights": "none",
    "backbone.freeze_until": 0,
    "backbone.output_stride": 16,
    "irn.labels_by": "pamr",
    "dsrg.refined_by": "pamr",
    "psa.labels_by": "pamr",
    "bes.labels_by": "pamr",
    "bes.crop": 64,
    "bes.steps": 4,
    "bes.epochs": 1,
    "psa.crop": 96,
    "psa.steps": 4,
    "psa.epochs": 1,
    "irn.crop": 96,
    "irn.steps": 4,
    "irn.epochs": 1,
    "compute.workers": 0,
    "advcam.steps": 2,
    "score_cam.top_channels": 4,
    "lpcam.clusters": 3,
    "lpcam.features": 50,
    "rib.steps": 2,
    "rib.others": 2,
    "rib.crop": 64,
    "attention.name": "test_vit",
    "attention.weights": "none",
    "feature_affinity.steps": 4,
    "pamr.iterations": 2,
    "pamr.dilations": [1, 2],
}
N_CLASSES = 3


@pytest.fixture(scope="module")
def recipe():
    return load_recipe("tiny", SMALL)


@pytest.fixture(scope="module", params=sorted(trainings))
def training(request, recipe):
    return make_training(recipe, request.param)


@pytest.fixture(scope="module")
def network(training, recipe):
    torch.manual_seed(0)
    return training.network(recipe.section(BackboneSettings).make(), N_CLASSES)


@pytest.fixture(scope="module", params=sorted(name for name, kind in trainings.items() if kind.train is None))
def stepping(request, recipe):
    """A training by steps and its network; one without makes its stage itself."""
    torch.manual_seed(0)
    training = make_training(recipe, request.param)
    return training, training.network(recipe.section(BackboneSettings).make(), N_CLASSES)


def read_quarters(sample):
    """Four regions of an image (64, 64)."""
    half = torch.arange(2).repeat_interleave(32)
    return half * 2 + half[:, None]


def read_half(sample):
    """Planes of a sample as a batch of images (64, 64) has them."""
    return torch.zeros(N_CLASSES, 16, 16).index_fill(0, torch.tensor(sample.labels, dtype=torch.long), 0.5)


def make_batch(training):
    labels = torch.tensor([[1.0, 0, 1], [0, 1, 0], [0, 0, 0]])
    saliency = torch.rand(3, 1, 64, 64, generator=torch.Generator().manual_seed(2))
    batch = {"images": images(batch=3), "labels": labels}
    samples = [Sample(str(number), tuple(row.nonzero().flatten().tolist()), None) for number, row in enumerate(labels)]
    for name, extra in training.extras({}, N_CLASSES).items():
        read = {"image": read_quarters, "planes": read_half}.get(extra.lies_on, extra.read)
        batch[name] = torch.stack([read(sample) for sample in samples])
    return batch | ({"saliency": saliency} if training.is_on_saliency else {})


def test_training_says_what_it_is(training, recipe):
    kind = trainings[training.name]
    assert training.title
    assert training.epochs >= 1 or training.steps or training.train, "a training without steps makes its stage itself"
    assert training.weightings
    assert kind.Settings in (Settings, *sections.values()), "its settings are a section of recipes"
    assert (training.base and training.base.name) == (kind.start(recipe) or None)
    assert [each for each in training.problems(N_CLASSES) if "pip install" not in each] == []


def test_training_takes_a_step(stepping):
    training, network = stepping
    network.train()
    network.zero_grad()
    losses = training.losses(network, make_batch(training))
    assert all(value.ndim == 0 and value.isfinite() for value in losses.values())
    losses["loss"].backward()
    missing = [name for name, p in network.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing, "several processes wait for the gradient of whatever says that it trains"
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)
    assert any(p.grad.abs().sum() > 0 for p in network.parameters() if p.grad is not None)
    grouped = [p for group in training.groups(network) for p in group["params"]]
    assert len({id(p) for p in grouped}) == len(grouped)
    assert {id(p) for p in network.parameters() if p.requires_grad} == {id(p) for p in grouped}
    assert all(group["lr"] > 0 for group in training.groups(network))


def test_training_learns_from_a_batch_without_labels(stepping):
    training, network = stepping
    batch = make_batch(training)
    batch["labels"] = torch.zeros_like(batch["labels"])
    assert training.losses(network, batch)["loss"].isfinite()


def test_training_makes_maps_for_each_weighting(training, network):
    network.eval()
    with torch.no_grad():
        made = training.maps(network, images(), [0, 2], training.weightings)
        assert list(made) == list(training.weightings)
        assert {tuple(maps.shape) for maps in made.values()} == {(2, 2, 4, 4)}
        assert all(maps.isfinite().all() for maps in made.values())
        for weighting in training.weightings:
            assert training.weight(network, weighting).shape == (N_CLASSES, network.backbone.channels)
            alone = training.maps(network, images(), [2], [weighting])[weighting]
            torch.testing.assert_close(alone, made[weighting][:, 1:])
    assert training.choose_weighting("mul") in training.weightings


def test_training_is_its_key_and_its_network_its_file(training, network, recipe, tmp_path):
    again = make_training(load_recipe(recipe.as_dict()), training.name)
    assert again == training
    key = as_json(training, for_key=True)
    assert key == json.loads(json.dumps(as_json(again, for_key=True), allow_nan=False))
    own = recipe.section(BackboneSettings)
    save_classifier(tmp_path / "a.safetensors", network, own, ["a", "b", "c"])
    loaded = load_classifier(tmp_path / "a.safetensors")
    assert loaded.head_options == training.all_heads
    network.eval()
    with torch.no_grad():
        ours, theirs = (training.maps(each, images(), [0, 1], training.weightings) for each in (network, loaded))
    for weighting, maps in ours.items():
        torch.testing.assert_close(theirs[weighting], maps)


def seed(n=2, size=(40, 56)):
    rng = np.random.default_rng(3)
    maps = rng.random((n, -(-size[0] // 4), -(-size[1] // 4)), dtype=np.float32)
    ignore = np.zeros(size, bool)
    ignore[:5, :7] = True
    return SeedMaps(maps, np.array([2, 0])[:n], size, ignore)


def check_maps(made, given):
    """Maps in [0, 1] of the same classes in the same order, of the image's size or a quarter of it."""
    assert made.class_indices.tolist() == given.class_indices.tolist()
    assert made.size == given.size
    assert made.maps.dtype == np.float32
    assert made.maps.shape[0] == len(given.maps)
    assert made.maps.shape[1:] in (given.size, (-(-given.size[0] // 4), -(-given.size[1] // 4)))
    assert np.isfinite(made.maps).all()
    assert not made.maps.size or (made.maps.min() >= 0 and made.maps.max() <= 1)


def photo(size=(40, 56)):
    return np.random.default_rng(4).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.fixture(scope="module", params=sorted(makers))
def maker(request, recipe, tmp_path_factory):
    """A map maker and what makes its maps, its preparations made with a fresh network of the recipe's training."""
    if request.param == "ts_cam":  # it reads attention
        recipe = load_recipe(recipe, {"backbone.name": "test_vit"})
    if request.param == "clip_es":
        recipe = load_recipe(recipe, {"clip_es.source": str(write_clip(tmp_path_factory.mktemp("clip"))[0])})
    made, training = make_maker(recipe, request.param, ["a", "b", "c"]), make_training(recipe, recipe.training)
    assert made.problems(recipe) == []
    root = tmp_path_factory.mktemp("maker")
    data = RunData(open_catalog("scenes:", **SMALL["data.options"]), recipe.section(DataSettings), quiet=True)
    torch.manual_seed(0)
    own, classes = replace(recipe.section(BackboneSettings), freeze_until=0), data.catalog.classes.names
    network = training.network(own.make(), len(classes)).eval()
    folders = {f"train/{training.name}": StageFolder("train", root / "train", "key")}
    save_classifier(root / "train" / WEIGHTS, network, own, classes)
    views = made.views(Views((1.0,), False, None, training.weightings[0]))
    for stage in made.preparations(MakerPlace(training, views, f"{training.name}+{made.name}", 0)):
        prepare(stage, folders, root, data, recipe)
    if not made.trains_network:
        network.requires_grad_(False)
    return made, made.make_with(MakerContext(training, network, views, data.train, folders))


def prepare(stage, folders, root, data, recipe):
    """Make a stage that a method wants before it, of folders that are there."""
    folder = folders[stage.name] = StageFolder(stage.name, root / stage.name, "key")
    folder.path.mkdir(parents=True)
    needed = {name: folders[name] for name in stage.needs}
    compute = recipe.section(ComputeSettings)
    work = Work(data, folder, needed, make_accelerator(compute), compute)
    results = json.loads(json.dumps(stage.make(stage.given, work), allow_nan=False))
    (folder.path / RECORD).write_text(json.dumps({"results": results}), encoding="utf-8")
    json.dumps(as_json(stage.given, for_key=True), allow_nan=False)
    assert stage.label.get("title")


@pytest.mark.parametrize("n", [2, 1, 0])
def test_map_maker(maker, n):
    made, maps_of = maker
    assert made.title
    assert makers[made.name].Settings in (Settings, *sections.values())
    json.dumps(as_json(made, for_key=True), allow_nan=False)
    first = maps_of(photo(), [2, 0][:n])
    check_maps(first, seed(n))
    np.testing.assert_array_equal(first.maps, maps_of(photo(), [2, 0][:n]).maps, err_msg="the second time differs")


def seed_folders(root, data, before):
    """A folder of random maps of each training image, where a set of maps lies."""
    folders = {before.folder.stage: StageFolder(before.folder.stage, root / before.folder.stage, "key")}
    for number, sample in enumerate(data.train):
        maps = np.random.default_rng(number).random((len(sample.labels), 16, 16), dtype=np.float32)
        seeds = SeedMaps(maps, np.array(sample.labels, np.int64), (64, 64))
        save_seed(root / before.folder.stage / before.folder.inner / f"{sample.id}.npz", seeds, 8)
    return folders


def write_free_masks(folder, samples, size):
    """The left half of each image, as a mask without a class."""
    height, width = size
    half = height * width // 2
    entry = {"segmentation": {"size": [height, width], "counts": [0, half, height * width - half]}}
    for sample in samples:
        (folder / f"{sample.id}.json").write_text(json.dumps([entry]), encoding="utf-8")


@pytest.fixture(scope="module", params=sorted(refiner_steps))
def step(request, recipe, tmp_path_factory):
    """A refiner at its place behind CAM's maps, and the place."""
    data = RunData(open_catalog("scenes:", **SMALL["data.options"]), recipe.section(DataSettings), quiet=True)
    if request.param == "sam_votes":
        source = tmp_path_factory.mktemp("masks")
        write_free_masks(source, data.seeded, (64, 64))
        recipe = load_recipe(recipe, {"sam_votes.source": str(source)})
    if request.param == "crf":
        pytest.importorskip("pydensecrf", reason="the dense CRF needs pydensecrf2: pip install 'recam[crf]'")
    before = MapSet(MapFolder("maps/cam", "w"), "cam", "cam", "CAM", 0.3)
    place = Place(recipe, before, None, None, data=data)
    return refiner_steps[request.param].plan(request.param, place), place


@pytest.fixture(scope="module")
def refine(step, recipe, tmp_path_factory):
    """The refiner of a sample, its preparations made of random maps and a fresh classifier; and the sample."""
    made, place = step
    root = tmp_path_factory.mktemp("prepared")
    data = RunData(open_catalog("scenes:", **SMALL["data.options"]), recipe.section(DataSettings), quiet=True)
    origin = place.before.origin
    folders = seed_folders(root, data, place.before)
    folders[f"train/{origin}"] = StageFolder(f"train/{origin}", root / f"train/{origin}", "key")
    torch.manual_seed(0)
    own, classes = recipe.section(BackboneSettings), data.catalog.classes.names
    network = make_training(recipe, origin).network(own.make(), len(classes))
    save_classifier(root / f"train/{origin}" / WEIGHTS, network, own, classes)
    for stage in made.preparations(place):
        prepare(stage, folders, root, data, recipe)
    sample = data.train[0]
    write_grey(root / f"{sample.id}.png", np.linspace(0, 1, 40 * 56, dtype=np.float32).reshape(40, 56))
    saliency = SaliencyFolder(root) if made.uses_saliency else None
    if made.name == "sam_votes":  # what it has looked through is of the scenes' size
        write_free_masks(Path(place.recipe.sam_votes.source), [sample], (40, 56))
    return made.make_for_each(RefineContext(folders, torch.device("cpu"), 0.3, saliency)), sample


def test_refiner_says_what_it_is(step):
    made, place = step
    assert made.title
    assert refiner_steps[made.name].Settings in (Settings, *sections.values())
    assert made.problems(place) == []
    assert 0 <= made.threshold(place) <= 1
    json.dumps(as_json(made, for_key=True), allow_nan=False)
    for stage in made.preparations(place):
        json.dumps(as_json(stage.given, for_key=True), allow_nan=False)
        assert stage.group == "refine"
        assert stage.label.get("title")


@pytest.mark.parametrize("n", [2, 1, 0])
def test_refiner_keeps_classes_and_range(step, refine, n):
    refiner_of, sample = refine
    given = seed(n)
    copy = given.maps.copy()
    made = refiner_of(sample)(photo(), given)
    check_maps(made, given)
    np.testing.assert_array_equal(given.maps, copy, err_msg="what it was given has changed")
    if step[0].keeps_ignored or not n:
        assert made.ignore is not None, "ignored pixels are lost"
        assert made.ignore[given.ignore].all()


def test_refiner_travels_to_worker_processes(step, refine):
    if step[0].in_processes:
        refiner_of, sample = refine
        again = pickle.loads(pickle.dumps(refiner_of))
        np.testing.assert_array_equal(again(sample)(photo(), seed()).maps, refiner_of(sample)(photo(), seed()).maps)
