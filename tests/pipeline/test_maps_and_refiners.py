"""Map makers and refiners in a run: made, scored, compared with other runs, resumed; and refused where they make no
sense."""

import json
import shutil
import time
from contextlib import suppress

import numpy as np
import psutil
import pytest

import recam
from forked import PATIENCE, command
from recam.data.images import read_mask, write_mask, write_png
from recam.errors import DataError, RecipeError, WeightsError
from recam.methods.refine import EVEN
from recam.pipeline.refiner import RefinerStep, refiner_steps
from recam.recipe.recipe import load_recipe
from recam.recipe.toml import setting_text
from recam.runfolder.maps import read_seed, save_seed
from recam.types import SeedMaps
from tiny_recipe import SMALL_IRN, TINY

SMALL = {
    **SMALL_IRN,
    "advcam.steps": 2,
    "pamr.dilations": [1, 2],
}


@pytest.fixture(scope="module")
def chained(tiny_run, tmp_path_factory, rerun):
    """The tiny run, followed by IRN, with runs of other chains beside it: their folders and summaries by name."""
    root = tmp_path_factory.mktemp("chained")
    shutil.copytree(tiny_run, root / "irn", symlinks=True)
    chains = {
        "irn": {"refine": ["irn"]},
        "advcam": {"maker": "advcam", "refine": ["irn"]},
        "cam": {"training": "cam", "refine": ["irn"]},
        "pamr": {"refine": ["pamr"]},
    }
    return {
        name: (root / name, rerun(root / name, until="masks", **_dunder(SMALL), **chain))
        for name, chain in chains.items()
    }


def _dunder(settings):
    return {name.replace(".", "__"): value for name, value in settings.items()}


def _copy(chained, name, folder):
    return shutil.copytree(chained[name][0], folder, symlinks=True)


def test_masks_come_from_the_chain_and_every_link_is_scored(chained):
    expected = {
        "irn": ("recam w_prime + irn", ["cam", "recam w_prime", "recam w_prime + irn"]),
        "advcam": (
            "recam w_prime + advcam + irn",
            ["cam", "recam w_prime + advcam", "recam w_prime + advcam + irn"],
        ),
        "cam": ("cam + irn", ["cam", "cam + irn"]),
        "pamr": ("recam w_prime + pamr", ["cam", "recam w_prime", "recam w_prime + pamr"]),
    }
    for name, (masks, scored) in expected.items():
        root, summary = chained[name]
        assert summary.records["masks"]["results"]["maps"] == masks
        assert list(summary.as_dict()["maps"]) == scored
        assert masks in str(summary)
        label = summary.records[f"refined/{masks.replace(' w_prime', '').replace(' + ', '+')}"]["label"]
        assert (label["kind"], label["refiner"]) == ("refined maps", masks.split(" + ")[-1].upper())
        seed = read_seed(next((root / "refined").rglob("*/train*.npz")))
        assert 0 <= seed.maps.min() <= seed.maps.max() <= 1


def test_what_runs_beside_have_made_is_not_made_again(chained, rerun):
    made = {name: set(summary.made) for name, (_, summary) in chained.items()}
    assert made["irn"] == {
        "irn/recam/labels", "irn/recam/network", "refined/recam+irn", "scores/recam+irn", "masks", "scores/masks",
    }  # fmt: skip
    assert "maps/recam+advcam" in made["advcam"]
    for name in ("advcam", "cam", "pamr"):
        assert not {"train/cam", "train/recam", "maps/cam", "maps/recam", "scores/cam"} & made[name]
    again = rerun(chained["irn"][0], until="masks", refine=["irn"], **_dunder(SMALL))
    assert again.made == ()


def test_a_deleted_map_is_made_again_to_the_same(chained, tmp_path, rerun):
    root = _copy(chained, "irn", tmp_path / "run")
    victim = next(path for path in (root / "refined/recam+irn").rglob("*.npz"))
    before = read_seed(victim).maps
    victim.unlink()
    assert rerun(root, until="masks", refine=["irn"], **_dunder(SMALL)).made == ("refined/recam+irn",)
    np.testing.assert_array_equal(read_seed(victim).maps, before)


def test_labels_by_pamr_hold_ignored_pixels_and_the_image_classes_only(chained):
    root, values = chained["irn"][0], set()
    for path in (root / "irn/recam/labels").glob("*.png"):
        seed = read_seed(root / "maps/recam/w_prime" / path.with_suffix(".npz").name)
        found = set(np.unique(read_mask(path)).tolist())
        assert found <= {0, 255} | {index + 1 for index in seed.class_indices.tolist()}
        values |= found
    assert 255 in values


def test_crf_with_several_processes(chained, tmp_path, rerun):
    pytest.importorskip("pydensecrf", reason="the dense CRF needs pydensecrf2: pip install 'recam[crf]'")
    root = _copy(chained, "pamr", tmp_path / "several" / "run")
    summary = rerun(root, until="masks", refine=["crf"], compute__workers=2)
    results = summary.records["refined/recam+crf"]["results"]
    assert results["images"] == 12
    assert results["threshold_from"] == "oracle"
    alone = _copy(chained, "pamr", tmp_path / "one" / "run")
    assert "refined/recam+crf" in rerun(alone, until="masks", refine=["crf"], compute__workers=1).made
    masks = list((root / "masks").glob("*.png"))
    assert len(masks) == 12
    for path in masks:
        assert path.read_bytes() == (alone / "masks" / path.name).read_bytes()


class Halved(RefinerStep):
    """A refiner of a user's own, for the next test."""

    title = "halved"

    def make(self, context):
        return lambda image, seed: SeedMaps(seed.maps / 2, seed.class_indices, seed.size)


def test_a_refiner_of_ones_own_is_one_registry_line(chained, tmp_path, rerun, monkeypatch):
    monkeypatch.setitem(refiner_steps._entries, "halved", Halved)
    root = _copy(chained, "pamr", tmp_path / "run")
    summary = rerun(root, until="masks", refine=["halved"], masks__oracle=False)
    samples = recam.open_catalog(TINY["data.location"], **TINY["data.options"]).samples("train")
    empty = [each for each in samples if each.labels and not classes_in(read_mask(root / f"masks/{each.id}.png"))]
    assert summary.records["masks"]["results"] | {"images": 0, "classes": {}} == {
        "images": 0,
        "classes": {},
        "maps": "recam w_prime + halved",
        "threshold": EVEN,
        "threshold_from": "recipe",
        "empty": len(empty),
    }


def classes_in(mask):
    return set(np.unique(mask).tolist()) - {0, 255}


def test_chains_that_make_no_sense_are_refused_all_at_once(tmp_path, tiny_settings):
    wrong = {"refine": ["irn", "advcam", "crff", "pamr", "pamr"], "training": "recamm", "compare": ["control", "cm"]}
    with pytest.raises(RecipeError) as caught:
        recam.run(recipe="tiny", output=tmp_path / "run", settings=tiny_settings | SMALL | wrong)
    told = str(caught.value)
    for words in (
        "'advcam' makes maps from the image and refines none: set maker = 'advcam'.",
        "irn → advcam → crff → pamr → pamr has 'pamr' twice",
        "unknown refiner 'crff'. Did you mean 'crf'?",
        "unknown training 'recamm'. Did you mean 'recam'",
        "unknown training 'cm'. Did you mean 'cam'",
    ):
        assert words in told, words
    assert not (tmp_path / "run" / ".stages" / "train").exists()


def test_terms_of_the_crf_are_checked():
    with pytest.raises(RecipeError, match=r"there is no 'bilateral_rgb' on labels\. Did you mean 'bilateral_srgb'"):
        load_recipe({}, {"crf.terms": {"bilateral_rgb": 3}}).crf.method()
    terms = load_recipe({}, {"crf.terms": {"iterations": 3, "gt_prob": 0.6}}).crf.method()
    assert (terms.iterations, terms.gt_prob) == (3, 0.6)


@pytest.fixture
def voc(tmp_path):
    """A dozen scenes as a VOC folder with the lists all, some and others."""
    root = tmp_path / "voc"
    samples = recam.open_catalog("scenes:", classes=["cow", "person"], seed=6, size=64, train=12, val=0).samples(
        "train"
    )
    samples = sorted(samples, key=lambda sample: not sample.labels)  # so that each half shows something
    for sample in samples:
        write_png(root / "JPEGImages" / f"{sample.id}.jpg", sample.image.read())
        write_mask(
            root / "SegmentationClass" / f"{sample.id}.png",
            np.array([0, 10, 15, *[255] * 253], np.uint8)[sample.mask.read()],
        )
        objects = "".join(f"<object><name>{('cow', 'person')[label]}</name></object>" for label in sample.labels)
        (root / "Annotations").mkdir(exist_ok=True)
        (root / "Annotations" / f"{sample.id}.xml").write_text(f"<annotation>{objects}</annotation>")
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for name, chosen in {"all": samples, "some": samples[::2], "others": samples[1::2]}.items():
        (lists / f"{name}.txt").write_text("\n".join(sample.id for sample in chosen))
    data = {
        "location": f"voc:{root}",
        "classes": ["cow", "person"],
        "options": {},
        "train": "all",
        "score": "some",
        "val": "",
    }
    return {f"data__{name}": value for name, value in data.items()} | _dunder(SMALL)


def test_other_scored_images_move_the_threshold(voc, tmp_path, rerun):
    first = rerun(tmp_path / "run", until="masks", **voc, refine=["pamr"])
    assert first.records["scores/recam+pamr"]["results"]["images"] == 6
    again = rerun(tmp_path / "run", until="masks", **voc | {"data__score": "others"}, refine=["pamr"])
    # Maps are made for the same images as before; what goes by the threshold, as PAMR does, is made again.
    expected = {"scores/cam", "scores/recam", "refined/recam+pamr", "scores/recam+pamr", "masks", "scores/masks"}
    assert set(again.made) == expected
    oracle = again.records["scores/recam"]["results"]["maps"]["recam w_prime"]["oracle"]["threshold"]
    assert again.records["refined/recam+pamr"]["results"]["threshold_before"] == oracle
    assert rerun(tmp_path / "run", until="masks", **voc, refine=["pamr"]).made == ()


def test_without_truth_nothing_is_trained_that_is_only_there_to_be_scored(voc, tmp_path, rerun):
    settings = voc | {"data__score": "", "refine": ["irn"], "compare": ["cam", "control"]}
    made = rerun(tmp_path / "run", until="masks", **settings).made
    assert {"irn/recam/labels", "irn/recam/network", "refined/recam+irn", "masks"} <= set(made)
    assert not [stage for stage in made if stage.startswith("scores/") or "control" in stage]


def test_the_recipes_threshold_of_refined_maps_is_scored_when_it_changes(chained, tmp_path, rerun):
    root = _copy(chained, "irn", tmp_path / "run")
    changed = rerun(root, until="masks", irn__background_threshold=0.4, refine=["irn"], **_dunder(SMALL))
    assert changed.made == (), "the oracle's is in force"
    assert changed.as_dict()["maps"]["recam w_prime + irn"]["recipe"]["threshold"] == 0.4
    changed = rerun(
        root, until="masks", irn__background_threshold=0.4, masks__oracle=False, refine=["irn"], **_dunder(SMALL)
    )
    assert changed.made == ("masks", "scores/masks")
    assert changed.records["masks"]["results"]["threshold"] == 0.4


def test_settings_that_could_not_work_are_refused_before_any_training(tmp_path, tiny_settings):
    for wrong, told in (
        ({"pamr.dilations": [0]}, "dilations"),
        ({"pamr.dilations": []}, "dilations"),
        ({"irn.beta": float("inf")}, "finite"),
        (
            {"refine": ["irn"], "irn.radius": 14},
            r"irn\.crop = 96 holds no pairs within irn\.radius = 14: .* at least 108",
        ),
    ):
        with pytest.raises(RecipeError, match=told):
            recam.run(recipe="tiny", output=tmp_path / "run", settings=tiny_settings | SMALL | wrong)
    with pytest.raises(RecipeError, match=r"iterations must be a whole number, got 2\.7"):
        load_recipe({}, {"crf.terms": {"iterations": 2.7}}).crf.method()
    assert not (tmp_path / "run/.stages/train").exists()


def test_external_maps_are_not_labelled_for_a_network_whose_weights_are_out_of_reach(tiny_run, tmp_path, rerun):
    external = {"maps__source": str(tiny_run / "maps/recam/w_prime"), "refine": ["irn"], **_dunder(SMALL)}
    with pytest.raises(WeightsError, match="nowhere"):
        rerun(tmp_path / "run", until="masks", backbone__weights="nowhere.pth", **external)
    assert not (tmp_path / "run/.stages/irn").exists()


def test_workers_of_a_killed_run_end_and_hold_nothing(tiny_run, tiny_settings, tmp_path, rerun):
    root = shutil.copytree(tiny_run, tmp_path / "run", symlinks=True)
    changed = {"refine": ["irn"], "compute.workers": 2, **SMALL}
    words = [word for item in (tiny_settings | changed).items() for word in ("--set", setting_text(*item))]
    run = command("run", "--recipe", "tiny", *words, "--until", "masks", "-o", root)
    workers, deadline = [], time.monotonic() + PATIENCE
    while len(workers) < 2 or not list((root / "irn/recam/labels").glob("*.png")):
        assert run.process.is_alive(), "ended before it was to be killed"
        assert time.monotonic() < deadline
        with suppress(psutil.Error):
            workers = psutil.Process(run.process.pid).children()
        time.sleep(0.005)
    run.kill()
    summary = rerun(root, until="masks", **_dunder(changed))  # at once: the lock went with its process
    assert summary.records["irn/recam/labels"]["resumed"]
    assert summary.records["irn/recam/labels"]["results"]["images"] == 12
    assert not psutil.wait_procs(workers, timeout=PATIENCE)[1]


def test_irn_refuses_a_backbone_without_five_levels(tmp_path, tiny_settings):
    settings = tiny_settings | SMALL | {"refine": ["irn"], "backbone.name": "convnext_atto"}
    with pytest.raises(RecipeError, match=r"irn: .*Choose a"):
        recam.run(recipe="tiny", output=tmp_path / "run", settings=settings)


def test_maps_made_elsewhere_are_refined_without_a_classifier(tiny_run, tmp_path, rerun):
    source = tiny_run / "maps/recam/w_prime"
    root = tmp_path / "run"
    summary = rerun(root, until="masks", maps__source=str(source), refine=["pamr"], pamr__dilations=[1, 2])
    assert not [stage for stage in summary.records if stage.startswith("train/")]
    assert list(summary.as_dict()["maps"]) == ["external", "external + pamr"]
    theirs = json.loads((tiny_run / "scores/recam/stage.json").read_text())["results"]["maps"]["recam w_prime"]
    assert summary.records["scores/external"]["results"]["maps"]["external"] == theirs
    again = rerun(root, until="masks", maps__source=str(source), refine=["pamr"], pamr__dilations=[1, 2])
    assert again.made == ()


def test_maps_of_another_data_set_are_refused_all_at_once(tiny_run, tmp_path, rerun):
    source = shutil.copytree(tiny_run / "maps/recam/w_prime", tmp_path / "maps")
    paths = sorted(source.rglob("*.npz"))
    paths[0].unlink()
    paths[1].write_bytes(b"no maps")
    seed = read_seed(paths[2])
    save_seed(paths[2], SeedMaps(seed.maps, seed.class_indices + 40, seed.size))
    seed = read_seed(paths[3])
    save_seed(paths[3], SeedMaps(seed.maps, seed.class_indices, (60, 60)))
    seed = read_seed(paths[4])
    save_seed(paths[4], SeedMaps(seed.maps[:, :10, :10], seed.class_indices, seed.size))
    with pytest.raises(DataError) as caught:
        rerun(tmp_path / "run", until="masks", maps__source=str(source))
    told = str(caught.value)
    assert told.startswith("5 problems:")
    assert (
        f"{paths[1]}: cannot be read as class maps (it is no .npz file). Write it again with"
        " recam.runfolder.maps.save_seed." in told
    )
    assert "Delete" not in told
    assert f"{paths[4]}: the maps are (10, 10), not (16, 16), a quarter, or the image's (64, 64)." in told
    for kind in ("missing-maps", "damaged-maps", "unknown-class", "other-size"):
        assert f"[{kind}]" in told
    with pytest.raises(DataError, match="names no folder"):
        rerun(tmp_path / "run", until="masks", maps__source=str(tmp_path / "nowhere"))
    with pytest.raises(RecipeError, match=r"maker = 'advcam' makes maps with a trained classifier"):
        rerun(tmp_path / "run", until="masks", maps__source=str(tiny_run / "maps/recam/w_prime"), maker="advcam")
