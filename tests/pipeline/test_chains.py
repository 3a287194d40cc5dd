"""Chains of refiners in a run: made, scored, compared, resumed; and refused at the start where they make no sense."""

import json
import shutil
import subprocess
import sys
import time
from contextlib import suppress

import numpy as np
import psutil
import pytest
import torch

import recam
from killed_run import PATIENCE
from recam.data.catalog import open_catalog
from recam.data.images import read_mask, write_mask, write_png
from recam.errors import DataError, RecipeError, WeightsError
from recam.methods.refine import EVEN
from recam.pipeline.chains import Link, is_for_masks, mask_link, refined_links
from recam.pipeline.recipe import load_recipe
from recam.pipeline.refiner import RefinerStep, refiner_steps
from recam.pipeline.run_chain import load_chain
from recam.pipeline.run_models import find_models
from recam.pipeline.store import read_seed, save_seed
from recam.review.layers import RunView
from recam.review.trial import Trial
from recam.types import SeedMaps

SMALL = {
    "irn.labels_by": "pamr",
    "irn.crop": 96,
    "irn.epochs": 1,
    "irn.batch": 4,
    "irn.steps": 8,
    "advcam.steps": 2,
    "pamr.dilations": [1, 2],
}


@pytest.fixture(scope="module")
def chained(tiny_run, tmp_path_factory, rerun):
    """The tiny run, gone on with a chain for masks and one to compare."""
    root = shutil.copytree(tiny_run, tmp_path_factory.mktemp("chained") / "run")
    summary = rerun(root, until="masks", refine=["irn"], chains__compare=[["advcam", "irn"], ["pamr"]], chains__cam=True, **_dunder(SMALL))
    return root, summary


def _dunder(settings):
    return {name.replace(".", "__"): value for name, value in settings.items()}


def test_links_of_all_chains_each_once():
    recipe = load_recipe({}, {"refine": ["advcam", "irn"], "chains.compare": [["advcam"], ["crf"]], "chains.cam": True})
    assert [link.name for link in refined_links(recipe)] == [
        "recam+advcam",
        "recam+advcam+irn",
        "recam+crf",
        "cam+advcam",
        "cam+advcam+irn",
        "cam+crf",
    ]
    assert mask_link(recipe) == Link("recam", ("advcam", "irn"))
    assert is_for_masks(recipe, Link("recam", ("advcam",)))
    assert not is_for_masks(recipe, Link("recam", ("crf",)))
    assert not is_for_masks(recipe, Link("cam", ("advcam",)))


def test_masks_come_from_the_chain_and_every_chain_is_scored(chained):
    root, summary = chained
    masks = summary.records["masks"]["results"]
    assert masks["seeds"] == "recam w_prime + irn"
    names = [name for name, _ in summary._seeds()]
    for origin in ("recam w_prime", "cam"):
        for chain in ("irn", "advcam", "advcam + irn", "pamr"):
            assert f"{origin} + {chain}" in names
    assert "recam w_prime + advcam + irn" in str(summary)
    seed = read_seed(next((root / "refined/recam+irn").rglob("*.npz")))
    assert 0 <= seed.maps.min() <= seed.maps.max() <= 1


def test_the_same_again_does_nothing_and_seeds_are_never_made_anew(chained, rerun):
    root, summary = chained
    assert "classify" not in summary.made
    assert "seeds/recam" not in summary.made
    settings = {"refine": ["irn"], "chains__compare": [["advcam", "irn"], ["pamr"]], "chains__cam": True}
    assert rerun(root, until="masks", **settings, **_dunder(SMALL)).made == ()


def test_what_was_made_to_compare_goes_on_when_masks_want_it(chained, tmp_path, rerun):
    root = shutil.copytree(chained[0], tmp_path / "run")
    summary = rerun(root, until="masks", refine=["pamr"], **_dunder(SMALL))
    # The scored images are the training images here, so the maps are all there; only masks are new.
    record = json.loads((root / "refined/recam+pamr/stage.json").read_text())
    assert record["results"]["whole"]
    assert {"masks", "scores/masks"} <= set(summary.made)
    assert not {"irn/recam/network", "seeds/recam", "scores/recam+pamr"} & set(summary.made)


def test_a_deleted_map_is_made_again_to_the_same(chained, tmp_path, rerun):
    root = shutil.copytree(chained[0], tmp_path / "run")
    victim = next((root / "refined/recam+irn").rglob("*.npz"))
    before = read_seed(victim).maps
    victim.unlink()
    settings = {"refine": ["irn"], "chains__compare": [["advcam", "irn"], ["pamr"]], "chains__cam": True}
    assert rerun(root, until="masks", **settings, **_dunder(SMALL)).made == ("refined/recam+irn",)
    np.testing.assert_array_equal(read_seed(victim).maps, before)


def test_labels_by_pamr_hold_open_pixels_and_the_image_classes_only(chained):
    values = set()
    for path in (chained[0] / "irn/recam/labels").rglob("*.png"):
        seed = read_seed(chained[0] / "seeds/recam/w_prime" / path.with_suffix(".npz").name)
        found = set(np.unique(read_mask(path)).tolist())
        assert found <= {0, 255} | {index + 1 for index in seed.class_indices.tolist()}
        values |= found
    assert 255 in values


def test_crf_with_several_processes(chained, tmp_path, rerun):
    pytest.importorskip("pydensecrf", reason="the dense CRF needs pydensecrf2: pip install 'recam[crf]'")
    root = shutil.copytree(chained[0], tmp_path / "run")
    summary = rerun(root, until="masks", refine=["crf"], compute__workers=2)
    results = summary.records["refined/recam+crf"]["results"]
    assert results["images"] == 12
    assert results["threshold_from"] == "oracle"
    alone = shutil.copytree(chained[0], tmp_path / "alone")
    rerun(alone, until="masks", refine=["crf"], compute__workers=1)
    for path in (root / "masks").rglob("*.png"):
        assert path.read_bytes() == (alone / "masks" / path.name).read_bytes()


class Halved(RefinerStep):
    """A refiner of a user's own, for the next test."""

    def make(self, context):
        return lambda image, seed: SeedMaps(seed.maps / 2, seed.class_indices, seed.size)


def test_a_refiner_of_ones_own_is_one_registry_line(chained, tmp_path, rerun, monkeypatch):
    monkeypatch.setitem(refiner_steps._entries, "halved", Halved)
    root = shutil.copytree(chained[0], tmp_path / "run")
    summary = rerun(root, until="masks", refine=["halved"], masks__oracle=False)
    assert summary.records["masks"]["results"] | {"images": 0} == {
        "images": 0,
        "seeds": "recam w_prime + halved",
        "threshold": EVEN,
        "threshold_from": "recipe",
    }


def test_chains_that_make_no_sense_are_refused_all_at_once(tmp_path, tiny_settings):
    wrong = {"refine": ["irn", "advcam"], "chains.compare": [["pamr", "pamr"], ["crff"], []], "crf.terms": {}}
    with pytest.raises(RecipeError) as caught:
        recam.run(recipe="tiny", output=tmp_path / "run", settings=tiny_settings | SMALL | wrong)
    told = str(caught.value)
    for words in (
        "irn → advcam: 'advcam' makes maps from the image and would throw away what comes before it. Put it first.",
        "pamr → pamr has 'pamr' twice",
        "unknown refiner 'crff'. Did you mean 'crf'?",
        "chains.compare holds an empty chain",
    ):
        assert words in told, words
    assert not (tmp_path / "run" / "classify").exists()


def test_terms_of_the_crf_are_checked():
    with pytest.raises(RecipeError, match=r"there is no 'bilateral_rgb' on labels\. Did you mean 'bilateral_srgb'"):
        load_recipe({}, {"crf.terms": {"bilateral_rgb": 3}}).crf.method()
    terms = load_recipe({}, {"crf.terms": {"iterations": 3, "gt_prob": 0.6}}).crf.method()
    assert (terms.iterations, terms.gt_prob) == (3, 0.6)


def test_cam_needs_a_chain_to_be_refined_by(tmp_path, tiny_settings):
    settings = tiny_settings | SMALL | {"chains.cam": True}
    with pytest.raises(RecipeError, match=r"chains\.cam: there is no chain to refine CAM by"):
        recam.run(recipe="tiny", output=tmp_path / "run", settings=settings)


@pytest.fixture
def voc(tmp_path):
    """A dozen scenes as a VOC folder with the lists all, some and others."""
    root = tmp_path / "voc"
    samples = recam.open_catalog("scenes:", classes=["cow", "person"], seed=6, size=64, train=12, val=0).samples("train")
    for sample in samples:
        write_png(root / "JPEGImages" / f"{sample.id}.jpg", sample.image.read())
        write_mask(root / "SegmentationClass" / f"{sample.id}.png", np.array([0, 10, 15, *[255] * 253], np.uint8)[sample.mask.read()])
        objects = "".join(f"<object><name>{('cow', 'person')[label]}</name></object>" for label in sample.labels)
        (root / "Annotations").mkdir(exist_ok=True)
        (root / "Annotations" / f"{sample.id}.xml").write_text(f"<annotation>{objects}</annotation>")
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for name, chosen in {"all": samples, "some": samples[::2], "others": samples[1::2]}.items():
        (lists / f"{name}.txt").write_text("\n".join(sample.id for sample in chosen))
    data = {"location": f"voc:{root}", "classes": ["cow", "person"], "options": {}, "train": "all", "score": "some", "val": ""}
    return {f"data__{name}": value for name, value in data.items()} | _dunder(SMALL)


def test_other_scored_images_move_the_threshold_and_are_refined_as_well(voc, tmp_path, rerun):
    chains = {"refine": ["pamr"], "chains__compare": [["advcam"]]}
    first = rerun(tmp_path / "run", until="masks", **voc, **chains)
    assert first.records["refined/recam+advcam"]["results"]["images"] == 6
    advcam = sorted((tmp_path / "run/refined/recam+advcam").glob("*.npz"))
    written = [path.stat().st_mtime_ns for path in advcam]
    again = rerun(tmp_path / "run", until="masks", **voc | {"data__score": "others"}, **chains)
    assert "seeds/recam" not in again.made
    assert {"refined/recam+pamr", "refined/recam+advcam", "scores/recam+advcam", "masks"} <= set(again.made)
    oracle = again.records["scores/recam"]["results"]["seeds"]["recam w_prime"]["oracle"]["threshold"]
    assert again.records["refined/recam+pamr"]["results"]["threshold_before"] == oracle
    assert len(list((tmp_path / "run/refined/recam+advcam").glob("*.npz"))) == 12
    assert [path.stat().st_mtime_ns for path in advcam] == written, "what was made before is not made again"
    assert rerun(tmp_path / "run", until="masks", **voc | {"data__score": "others"}, **chains).made == ()


def test_without_truth_cam_is_not_refined_for_nothing_and_nothing_can_be_compared(voc, tmp_path, rerun):
    settings = voc | {"data__score": "", "refine": ["advcam", "irn"], "chains__cam": True}
    made = rerun(tmp_path / "run", until="masks", **settings).made
    assert {"irn/recam+advcam/labels", "irn/recam+advcam/network", "refined/recam+advcam+irn", "masks"} <= set(made)
    assert not [stage for stage in made if stage.startswith(("irn/cam", "refined/cam"))]
    with pytest.raises(RecipeError, match=r"chains\.compare: nothing is compared without true masks"):
        rerun(tmp_path / "run", until="masks", **settings, chains__compare=[["pamr"]])


def test_the_recipes_threshold_of_a_link_is_scored_anew_when_it_changes(chained, tmp_path, rerun):
    root = shutil.copytree(chained[0], tmp_path / "run")
    settings = {"refine": ["irn"], "chains__compare": [["advcam", "irn"], ["pamr"]], "chains__cam": True, **_dunder(SMALL)}
    changed = rerun(root, until="masks", irn__threshold=0.4, **settings)
    assert set(changed.made) >= {"scores/recam+irn", "scores/cam+irn", "scores/recam+advcam+irn"}
    assert not {"refined/recam+irn", "irn/recam/network", "scores/recam+pamr"} & set(changed.made)
    scored = changed.records["scores/recam+irn"]["results"]["seeds"]["recam w_prime + irn"]
    assert scored["recipe"]["threshold"] == 0.4


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
    assert not (tmp_path / "run" / "classify").exists()


def test_given_maps_are_not_labelled_for_a_network_whose_weights_are_out_of_reach(tiny_run, tmp_path, rerun):
    given = {"seeds__source": str(tiny_run / "seeds/recam/w_prime"), "refine": ["irn"], **_dunder(SMALL)}
    with pytest.raises(WeightsError, match="nowhere"):
        rerun(tmp_path / "run", until="masks", backbone__weights="nowhere.pth", **given)
    assert not (tmp_path / "run" / "irn").exists()


def test_workers_of_a_killed_run_end_and_hold_nothing(tiny_run, tiny_settings, tmp_path, rerun):
    root = shutil.copytree(tiny_run, tmp_path / "run")
    changed = {"refine": ["irn"], "compute.workers": 2, **SMALL}
    words = [word for name, value in (tiny_settings | changed).items() for word in ("--set", f"{name}={_toml(value)}")]
    # Not by `start_run`, whose processes have others start their workers for them.
    process = subprocess.Popen([sys.executable, "-m", "recam", "run", "--recipe", "tiny", *words, "--until", "masks", "-o", str(root)])
    workers, deadline = [], time.monotonic() + PATIENCE
    while len(workers) < 2 or not list((root / "irn/recam/labels").glob("*.png")):
        assert process.poll() is None, "ended before it was to be killed"
        assert time.monotonic() < deadline
        with suppress(psutil.Error):
            workers = psutil.Process(process.pid).children()
    process.kill()
    process.wait()
    summary = rerun(root, until="masks", **_dunder(changed))  # at once: the lock went with its process
    assert summary.records["irn/recam/labels"]["resumed"]
    assert summary.records["irn/recam/labels"]["results"]["images"] == 12
    assert not psutil.wait_procs(workers, timeout=PATIENCE)[1]


def _toml(value):
    inner = ", ".join(f"{name} = {_toml(each)}" for name, each in value.items()) if isinstance(value, dict) else ""
    return f"{{{inner}}}" if isinstance(value, dict) else json.dumps(value)


def test_irn_refuses_a_backbone_without_five_levels(tmp_path, tiny_settings):
    settings = tiny_settings | SMALL | {"refine": ["irn"], "backbone.name": "convnext_atto"}
    with pytest.raises(RecipeError, match=r"irn: .*Choose a"):
        recam.run(recipe="tiny", output=tmp_path / "run", settings=settings)


def test_maps_made_elsewhere_are_refined_without_a_classifier(tiny_run, tmp_path, rerun):
    source = tiny_run / "seeds/recam/w_prime"
    root = tmp_path / "run"
    summary = rerun(root, until="masks", seeds__source=str(source), refine=["pamr"], pamr__dilations=[1, 2])
    assert "classify" not in summary.records
    assert [name for name, _ in summary._seeds()] == ["given", "given + pamr"]
    theirs = json.loads((tiny_run / "scores/recam/stage.json").read_text())["results"]["seeds"]["recam w_prime"]
    assert summary.records["scores/given"]["results"]["seeds"]["given"] == theirs
    again = rerun(root, until="masks", seeds__source=str(source), refine=["pamr"], pamr__dilations=[1, 2])
    assert again.made == ()


def test_maps_of_another_data_set_are_refused_all_at_once(tiny_run, tmp_path, rerun):
    source = shutil.copytree(tiny_run / "seeds/recam/w_prime", tmp_path / "maps")
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
        rerun(tmp_path / "run", until="masks", seeds__source=str(source))
    told = str(caught.value)
    assert told.startswith("5 problems:")
    assert f"{paths[1]}: cannot be read as class maps (it is no .npz file). Write it again with recam.pipeline.store.save_seed." in told
    assert "Delete" not in told
    assert f"{paths[4]}: the maps are (10, 10), not (16, 16), a quarter, or the image's (64, 64)." in told
    for kind in ("missing-maps", "damaged-maps", "unknown-class", "other-size"):
        assert f"[{kind}]" in told
    with pytest.raises(DataError, match="names no folder"):
        rerun(tmp_path / "run", until="masks", seeds__source=str(tmp_path / "nowhere"))
    with pytest.raises(RecipeError, match="advcam: it climbs with the classifier"):
        rerun(tmp_path / "run", until="masks", seeds__source=str(tiny_run / "seeds/recam/w_prime"), refine=["advcam"])


def test_a_runs_own_chain_refines_as_the_run_did(chained, tmp_path, rerun):
    root = shutil.copytree(chained[0], tmp_path / "run")
    rerun(root, until="masks", refine=["advcam", "irn"], **_dunder(SMALL))
    models = find_models(root)
    own = load_chain(models.recipe, models.done, torch.device("cpu"))
    path = next((root / "refined/recam+advcam+irn").rglob("*.npz"))
    seed = read_seed(root / "seeds/recam/w_prime" / path.name)
    image = read_image_of(models.recipe, path.stem)
    # Between the links a run keeps 8 bits.
    np.testing.assert_allclose(own.chain(image, seed).maps, read_seed(path).maps, atol=0.03)
    assert own.threshold == models.record("masks")["threshold"]
    tried = Trial(RunView(root))(image)
    assert "refined (advcam + irn)" in tried.pictures


def read_image_of(recipe, sample_id):
    catalog = open_catalog(recipe.data.location, recipe.data.classes, **recipe.data.options)
    return next(sample for sample in catalog.samples("train") if sample.id == sample_id).image.read()


def test_a_run_without_a_chain_has_none_to_load(tiny_run):
    models = find_models(tiny_run)
    assert load_chain(models.recipe, models.done, torch.device("cpu")) is None
