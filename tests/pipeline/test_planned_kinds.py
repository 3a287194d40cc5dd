"""Plans of data of other kinds: no background, bands of their own, more than 8 bits."""

import numpy as np
import pytest

import recam
from recam.data.catalog import open_catalog
from recam.data.images import write_png
from recam.data.roles import DataSettings, RunData
from recam.engine import forecast
from recam.engine.bench import Bench
from recam.engine.compute import ComputeSettings, make_accelerator
from recam.pipeline.map_set import ThresholdSource
from recam.pipeline.plan import make_plan, stages_until
from recam.recipe.recipe import load_recipe
from tiny_recipe import SMALL_IRN, TINY

NONE = {**TINY, "data.background": "none", "compare": ()}
FOUND = {"masks.threshold": "auto", "masks.oracle": False}
EVERY = {
    **FOUND,
    "refine": ("irn", "pamr"),
    "masks.rounds": "auto",
    "masks.round": ("self_training", "pamr"),
    "train.cache_features": 2,
    "backbone.freeze_until": 1,
    "segment.class_balance": 0.5,
    **SMALL_IRN,
}
"""Settings with a stage of nearly each kind."""


def stages_of(settings):
    own = load_recipe("tiny", settings)
    data = RunData(own.section(DataSettings).open(), own.section(DataSettings), quiet=True)
    return {stage.name: stage for stage in make_plan(own, data).stages}


def untried(made):
    return {stage.name: stage.forecast.problem for stage in made.stages if stage.forecast.problem}


@pytest.fixture(autouse=True)
def _tried_once(monkeypatch):
    """What turns take does not matter here, but that they can be taken."""
    monkeypatch.setattr(forecast, "EACH", 0.0)


def test_all_stages_without_a_background_can_be_tried(tmp_path):
    settings = NONE | EVERY | {"candidates": ("probe", "recam"), "refine": ("pamr",), "data.no_data": 0}
    made = recam.plan(recipe="tiny", output=tmp_path / "run", settings=settings)
    names = {stage.name for stage in made.stages}
    assert {"agreements/probe", "agreements/recam", "quality"} <= names
    assert not any(name.startswith("thresholds/") for name in names)
    assert (made.ok, made.unknown, untried(made)) == (True, [], {})
    (choice,) = (each for each in made.choices if each.setting == "masks.threshold")
    assert (choice.value, choice.kept) == ("none", False)
    assert "no threshold is in force" in str(made)


@pytest.fixture
def bands(tmp_path):
    """Eight scenes of four bands of 12 bits in 16."""
    tifffile = pytest.importorskip("tifffile", reason="an extra is not installed: recam[tiff]")
    catalog = open_catalog("scenes:", seed=6, size=64, train=8, val=2)
    (tmp_path / "images").mkdir()
    rows = ["image,labels"]
    for number, sample in enumerate(catalog.samples("train")):
        image = sample.image.read()
        values = (np.concatenate([image, image[..., :1]], 2) * 12.0 + 300).astype(np.uint16)
        path = tmp_path / "images" / f"{number}.tif"
        tifffile.imwrite(path, values, photometric="minisblack", planarconfig="contig")
        rows.append(f"{number},{';'.join(catalog.classes.names[label] for label in sample.labels)}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    return f"folder:{tmp_path}"


def test_all_stages_of_four_bands_can_be_tried(bands, tmp_path):
    settings = {name: value for name, value in TINY.items() if name not in ("data.location", "data.options")} | EVERY
    made = recam.plan(bands, "tiny", tmp_path / "run", settings | {"data.bands": (4, 3, 2, 1), "compare": ()})
    assert made.long_side == 64
    assert "irn/recam/network" in {stage.name for stage in made.stages}
    assert (made.ok, made.unknown, untried(made)) == (True, [], {})


def test_bands_that_nobody_has_chosen_are_in_the_way(bands, tmp_path):
    made = recam.plan(bands, "tiny", tmp_path / "run", {"compute.workers": 0}, until="train")
    assert not made.ok
    assert "8 of 8 images that were tried cannot be read" in made.problems[0]
    assert "Choose those that are read with data.bands" in made.problems[0]


@pytest.mark.parametrize(("way", "problems"), [("stop", 1), ("skip", 0)])
def test_damaged_images_are_in_the_way_unless_they_are_skipped(tmp_path, way, problems):
    rng = np.random.default_rng(0)
    for number in range(3):
        write_png(tmp_path / "images" / f"{number}.png", rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
    damaged = tmp_path / "images" / "0.png"
    damaged.write_bytes(damaged.read_bytes()[:200])
    (tmp_path / "labels.csv").write_text("image,labels\n0,horse\n1,cow\n2,horse;cow\n")
    settings = {"backbone.name": "test_resnet", "compute.workers": 0, "data.on_problems": way}
    made = recam.plan(f"folder:{tmp_path}", "tiny", tmp_path / "run", settings, until="train")
    assert len(made.problems) == problems
    assert all("1 of 3 images that were tried cannot be read" in problem for problem in made.problems)


@pytest.mark.parametrize(("given", "foreground"), [("auto", 0.35), ((0.2, 0.4), 0.4)])
def test_irn_has_no_confident_background_where_there_is_none(given, foreground):
    settings = {"refine": ("irn",), "irn.confident": given, "irn.background_threshold": "auto", **SMALL_IRN, **FOUND}
    stages = stages_of(NONE | settings)
    labels = stages["irn/recam/labels"].given
    assert (labels.confident, labels.threshold) == ((None, foreground), None)
    assert stages["masks"].given.threshold == ThresholdSource()
    assert not any(name.startswith("thresholds/") for name in stages)
    with_background = stages_of(NONE | settings | {"data.background": "rest"})["irn/recam/labels"].given
    assert with_background.confident == (None if given == "auto" else given)


def test_until_takes_what_is_needed_of_later_groups():
    """A training in rounds learns from maps and masks of the rounds before."""
    own = load_recipe("tiny", TINY | {"training": "conta"})
    data = RunData(own.section(DataSettings).open(), own.section(DataSettings), quiet=True)
    names = {stage.name for stage in stages_until(make_plan(own, data).stages, "train")}
    assert {"maps/cam", "conta/conta/masks", "conta/conta/model", "train/conta"} <= names
    assert not names & {"maps/conta", "masks", "segment/pseudo", "scores/cam"}


def test_quality_is_judged_where_no_threshold_is_found():
    assert "quality" in stages_of(NONE | FOUND)
    assert "quality" not in stages_of(NONE | {"masks.threshold": 0.2, "masks.oracle": False})


def test_a_mask_to_try_on_has_no_background_where_there_is_none(tmp_path):
    for background, values in (("rest", {0, 1}), ("none", {1, 3})):
        own = load_recipe("tiny", NONE | {"data.background": background})
        data = RunData(own.section(DataSettings).open(), own.section(DataSettings), quiet=True)
        compute = own.section(ComputeSettings)
        bench = Bench(own, data, data.train, make_accelerator(compute), compute, tmp_path / background)
        sample = recam.types.Sample("x", (0, 2), data.train[0].image)
        assert set(np.unique(bench.mask(sample))) == values
