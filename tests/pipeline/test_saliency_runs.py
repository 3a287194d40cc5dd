"""Saliency in a run: EDAM and EPS from a folder or a network, told in all results, and refused at the start where it
cannot work."""

import json
import re
import shutil

import numpy as np
import PIL.Image
import pytest
import torch

import recam
from killed_run import kill_when, start_run
from recam.data.images import read_grey, read_mask, write_grey
from recam.data.roles import DataSettings, RunData
from recam.data.saliency import SaliencyFolder
from recam.engine.stage import key_stages
from recam.errors import DataError, RecipeError
from recam.methods.cam import read_full
from recam.methods.edam import edam_mask
from recam.models.saved import load_classifier
from recam.pipeline.plan import make_plan
from recam.recipe.recipe import load_recipe
from recam.report.reading import read_runs
from recam.report.words import headline
from recam.runfolder.maps import read_seed
from recam.runfolder.store import read_json
from recam.tensors import load_tensors
from recam.training.augment import Augment
from recam.training.cached_features import CachedFeatures
from saliency_inputs import needs_u2netp, write_maps, write_network

EPS = {"recam__starts_from": "eps", "compare": ("eps",)}
CONTROLLED = EPS | {"compare": ("eps", "control")}
BOTH = "image labels + saliency"


@pytest.fixture(scope="module")
def scenes(tiny_settings):
    options = tiny_settings["data.options"]
    return recam.open_catalog("scenes:", **options).samples("train")


@pytest.fixture(scope="module")
def maps(scenes, tmp_path_factory):
    """Saliency maps of the tiny run's scenes."""
    return write_maps(tmp_path_factory.mktemp("saliency"), scenes)


@pytest.fixture(scope="module")
def with_edam(tiny_run, maps, tmp_path_factory, rerun):
    """The tiny run, followed by a segmentation model from EDAM's masks."""
    root = shutil.copytree(tiny_run, tmp_path_factory.mktemp("edam") / "run", symlinks=True)
    return root, rerun(root, "segment", refine=["edam"], saliency__source=str(maps), segment__upper_bound=True)


@pytest.fixture(scope="module")
def with_eps(maps, tmp_path_factory, rerun):
    """A tiny run with EPS's loss, up to the masks."""
    root = tmp_path_factory.mktemp("eps") / "run"
    return root, rerun(root, until="masks", saliency__source=str(maps), **CONTROLLED)


def history(root, stage):
    return read_json(root / stage / "stage.json")["results"]["history"]


def weights(root, stage):
    return load_tensors(root / stage / "weights.safetensors")[0]


def test_edam_in_a_run_is_edam(with_edam, maps):
    root, summary = with_edam
    assert not {"train/cam", "train/recam", "maps/cam", "maps/recam"} & set(summary.made)
    files = sorted((root / "masks").glob("*.png"))
    assert len(files) == 12
    open_pixels = 0
    for path in files:
        seed = read_seed(root / "maps/recam/w_prime" / f"{path.stem}.npz")
        expected = edam_mask(read_full(seed), seed.class_indices, read_grey(maps / path.name))
        np.testing.assert_array_equal(read_mask(path), expected)
        open_pixels += int((expected == 0).sum())
    assert open_pixels


def test_all_that_is_made_of_saliency_says_so(with_edam):
    root, summary = with_edam
    for stage in (
        "refined/recam+edam",
        "scores/recam+edam",
        "masks",
        "scores/masks",
        "segment/pseudo",
        "predictions/pseudo",
    ):
        assert read_json(root / stage / "stage.json")["supervision"] == ["image labels", "saliency"], stage
    told = json.loads((root / "summary.json").read_text())["supervision"]
    assert told["masks"] == told["segmentation"]["pseudo"] == told["maps"]["recam w_prime + edam"] == BOTH
    assert told["segmentation"]["truth"] == "true masks"
    assert summary.as_dict()["supervision"] == told
    lines = (root / "summary.txt").read_text().splitlines()
    assert [line for line in lines if line.startswith("recam w_prime + edam *")]
    assert [line for line in lines if line.startswith("recam w_prime  ")], "the seeds themselves took none"
    assert f"* supervision: {BOTH}" in lines
    for start in ("pseudo masks from recam w_prime + edam", "segmentation model, trained on pseudo masks"):
        assert next(line for line in lines if line.startswith(start)).endswith(f"; supervision: {BOTH}")


def test_the_report_says_so_too(with_edam, tiny_run):
    told = headline(read_runs([with_edam[0]]))
    assert told.more[-1] == f"* Supervision: {BOTH}."
    titles = {outcome.key: outcome.title for outcome in read_runs([with_edam[0]])[0].outcomes}
    assert titles["recam w_prime + edam"] == "ReCAM w′ + EDAM *"
    assert titles["scores/masks"] == "pseudo masks *"
    assert titles["recam w_prime"] == "ReCAM w′", "the seeds themselves took none"
    sides = read_runs([tiny_run, with_edam[0]])
    assert headline(sides).more[-1] == f"* Supervision in {sides[1].name}: {BOTH}."
    assert not [sentence for sentence in headline(sides[:1]).more if "upervision" in sentence]


def test_a_run_without_saliency_says_nothing_of_it(tiny_run):
    assert "saliency" not in (tiny_run / "summary.txt").read_text()
    told = json.loads((tiny_run / "summary.json").read_text())["supervision"]
    assert told["masks"] == told["segmentation"]["pseudo"] == "image labels"
    assert told["segmentation"]["truth"] is None


def test_the_same_again_does_nothing_and_a_changed_map_redoes_what_took_it(with_edam, maps, tmp_path, rerun):
    root = shutil.copytree(with_edam[0], tmp_path / "run", symlinks=True)
    own = shutil.copytree(maps, tmp_path / "maps")
    settings = {"refine": ["edam"], "saliency__source": str(own)}
    assert rerun(root, "segment", segment__upper_bound=True, **settings).made == ()
    first = next(own.glob("*.png"))
    first.touch()
    assert rerun(root, "segment", segment__upper_bound=True, **settings).made == ()
    write_grey(first, 1 - read_grey(first))
    made = rerun(root, until="masks", **settings).made
    assert {"saliency/maps", "refined/recam+edam", "masks"} <= set(made)
    assert "classify" not in made
    assert "saliency/maps" not in rerun(root, until="masks", **settings, edam__saliency_threshold=0.5).made


def test_eps_trains_a_background_channel_in_all_three_trainings(with_eps):
    root, summary = with_eps
    for stage in ("train/eps", "train/control", "train/recam"):
        assert weights(root, stage)["heads.background.weight"].shape[:2] == (1, 96)
        assert history(root, stage)[0]["saliency"] > 0
    assert not torch.equal(
        weights(root, "train/eps")["heads.background.weight"], weights(root, "train/recam")["heads.background.weight"]
    )
    told = summary.as_dict()["supervision"]
    assert set(told["maps"].values()) == {BOTH}
    assert told["masks"] == BOTH
    assert f"* supervision: {BOTH}" in str(summary)


def test_eps_loss_is_what_the_method_computes(with_eps, tiny_run):
    # The same draws, so what differs in the first epoch's loss is the term itself and what was learned from it.
    with_term, without = history(with_eps[0], "train/eps")[0], history(tiny_run, "train/cam")[0]
    assert with_term["loss"] - with_term["saliency"] == pytest.approx(without["loss"], rel=0.05)
    assert set(history(with_eps[0], "train/recam")[0]) >= {"loss", "bce", "sce", "saliency"}
    part = history(with_eps[0], "train/recam")[0]
    assert part["loss"] == pytest.approx(part["bce"] + part["sce"] + part["saliency"], rel=1e-4)


def test_a_refiner_added_later_trains_nothing_anew(with_eps, maps, tmp_path, rerun):
    root = shutil.copytree(with_eps[0], tmp_path / "run", symlinks=True)
    made = rerun(root, until="masks", saliency__source=str(maps), refine=["edam"], **CONTROLLED).made
    assert not {"train/eps", "train/control", "train/recam", "maps/recam"} & set(made)
    assert {"refined/recam+edam", "masks"} <= set(made)


def test_the_weight_of_the_loss_and_its_source_count_where_it_is_used(with_eps, tiny_run, maps, tmp_path, rerun):
    root = shutil.copytree(tiny_run, tmp_path / "run", symlinks=True)
    unused = {"eps__weight": 0.5, "saliency__source": str(maps), "refine": ["edam"]}
    assert "train/cam" not in rerun(root, until="masks", **unused).made
    root = shutil.copytree(with_eps[0], tmp_path / "eps", symlinks=True)
    assert "train/eps" in rerun(root, until="train", saliency__source=str(maps), eps__weight=0.5, **EPS).made


def test_a_killed_training_with_eps_ends_like_one_that_was_not(with_eps, tiny_settings, maps, tmp_path):
    root = tmp_path / "run"
    settings = tiny_settings | {
        "training": "eps",
        "compare": ("eps",),
        "saliency.source": str(maps),
        "compute.save_minutes": 1e-6,
    }
    kill_when(start_run(root, settings, "train"), lambda: list(root.glob("train/eps/training.safetensors")))
    recam.run(recipe="tiny", output=root, settings=settings, until="train")
    ours, theirs = weights(root, "train/eps"), weights(with_eps[0], "train/eps")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_eps_on_cached_features_sees_the_same_views_and_keeps_the_features(scenes, maps, tmp_path, rerun):
    cached = {"train__cache_features": 2, "backbone__freeze_until": 4}
    root = tmp_path / "run"
    assert rerun(root, "train", training="cam", **cached).made == ("features", "train/cam")
    made = rerun(root, "train", training="eps", compare=(), saliency__source=str(maps), **cached).made
    assert made == ("saliency/training", "saliency/views", "train/eps")
    assert history(root, "train/eps")[0]["saliency"] > 0

    dataset = CachedFeatures(root / "features", scenes, 10, saliency=root / "saliency/views")
    augment, read = Augment(64, (0.0,) * 3, (1.0,) * 3, long_side=(64, 96)), SaliencyFolder(maps)
    for index in (0, 5):
        batch = dataset[1, index]
        view = (1 + index) % 2
        whole = augment.move_grey(read(scenes[index]), np.random.default_rng([0, view, index]))
        assert batch["saliency"].shape == (1, 16, 16)
        torch.testing.assert_close(batch["saliency"][0], whole[::4, ::4], atol=1 / 510 + 1e-6, rtol=0)
    assert max(float(dataset[0, index]["saliency"].max()) for index in range(12)) > 0.5


def test_maps_by_a_network_are_made_once(with_edam, tmp_path, rerun):
    pytest.importorskip("onnx", reason="a network to test with: pip install 'recam[onnx]'")
    root = shutil.copytree(with_edam[0], tmp_path / "run", symlinks=True)
    settings = {
        "refine": ["edam"],
        "saliency__source": str(write_network(tmp_path / "colours.onnx")),
        "saliency__input_size": 32,
    }
    assert {"saliency/maps", "refined/recam+edam", "masks"} <= set(rerun(root, until="masks", **settings).made)
    files = sorted((root / "saliency/maps").glob("*.png"))
    assert len(files) == 12
    with PIL.Image.open(files[0]) as picture:
        assert (picture.mode, picture.size) == ("L", (64, 64))
    assert rerun(root, until="masks", **settings).made == ()
    before = files[0].read_bytes()
    files[0].unlink()
    assert rerun(root, until="masks", **settings).made == ("saliency/maps",)
    assert files[0].read_bytes() == before
    assert {"saliency/maps", "refined/recam+edam"} <= set(
        rerun(root, until="masks", **settings, saliency__values="logit").made
    )
    # Without a training that waits for them, maps are made where they are used.
    assert "saliency/maps" not in rerun(tmp_path / "short", until="maps", **settings).made


def test_what_u2netp_was_learned_from_is_stated(tiny_settings):
    """As extra supervision, of its maps and of all that is made with them."""
    needs_u2netp()
    recipe = load_recipe("tiny", tiny_settings | {"refine": ("edam",), "saliency.source": "u2netp"})
    data = RunData(recipe.section(DataSettings).open(), recipe.section(DataSettings), quiet=True)
    planned = key_stages(make_plan(recipe, data).stages, data)
    learned = ("image labels", "saliency", "masks of DUTS (U²-Netp)")
    assert planned["saliency/maps"].supervision == learned[1:]
    assert planned["refined/recam+edam"].supervision == planned["segment/pseudo"].supervision == learned
    assert planned["maps/recam"].supervision == learned[:1]


def test_only_networks_with_a_background_give_logit_maps_of_it(tiny_run, with_eps):
    classifier = load_classifier(with_eps[0] / "train/recam/weights.safetensors")
    assert list(classifier.heads) == ["background", "fc2"]
    assert classifier.logit_maps(torch.rand(2, 96, 3, 4)).shape == (2, 11, 3, 4)
    with pytest.raises(RecipeError, match="has no background channel"):
        load_classifier(tiny_run / "train/cam/weights.safetensors").logit_maps(torch.rand(1, 96, 2, 2))


def refused(tmp_path, tiny_settings, kind=RecipeError, **settings):
    changed = {name.replace("__", "."): value for name, value in settings.items()}
    with pytest.raises(kind) as caught:
        recam.run(recipe="tiny", output=tmp_path / "run", settings=tiny_settings | changed)
    assert not (tmp_path / "run/.stages/train").exists()
    return str(caught.value)


def test_without_source_and_with_one_that_nothing_uses(tmp_path, tiny_settings, maps):
    told = refused(tmp_path, tiny_settings, refine=["edam", "edam"], **EPS)
    assert (
        "the training 'eps' and the training 'recam' and the refiner 'edam' need saliency maps."
        " Set saliency.source to a folder of maps" in told
    )
    assert "the chain edam → edam has 'edam' twice" in told  # all at once
    assert "the training 'eps' needs saliency maps" in refused(tmp_path, tiny_settings, training="eps", compare=())
    assert "saliency.source is set and nothing uses it" in refused(tmp_path, tiny_settings, saliency__source=str(maps))


def test_maps_that_are_missing(tmp_path, tiny_settings, maps, scenes):
    some = shutil.copytree(maps, tmp_path / "some")
    for sample in scenes[2:4]:
        (some / f"{sample.id}.png").unlink()
    told = refused(tmp_path, tiny_settings, saliency__source=str(some), refine=["edam"])
    assert f"2 of 12 images have no saliency map in {some} (first: {scenes[2].id}.png, {scenes[3].id}.png)" in told
    assert "is no folder of saliency maps: there is nothing of that name" in refused(
        tmp_path, tiny_settings, saliency__source=str(tmp_path / "gone"), **EPS
    )


def test_maps_that_do_not_fit_are_all_told(tmp_path, tiny_settings, maps, scenes):
    bad = shutil.copytree(maps, tmp_path / "bad")
    small, colour, cut = (bad / f"{sample.id}.png" for sample in scenes[:3])
    PIL.Image.new("L", (30, 20)).save(small)
    PIL.Image.new("RGB", (64, 64)).save(colour)
    cut.write_bytes(cut.read_bytes()[:60])
    told = refused(tmp_path, tiny_settings, DataError, saliency__source=str(bad), **EPS)
    assert "3 problems:" in told
    assert f"[saliency-size] {small}: the map is 30×20 pixels, its image 64×64. Make it at the image's size." in told
    assert (
        f"[unreadable-saliency] {colour}: has the colour mode RGB, not grey. Save it as a grey PNG of 8 or 16 bits."
        in told
    )
    assert re.search(rf"\[unreadable-saliency\] {re.escape(str(cut))}: is truncated or damaged", told)


def test_a_network_that_cannot_be_used_and_thresholds_that_make_no_sense(tmp_path, tiny_settings):
    (tmp_path / "text.onnx").write_text("no network")
    told = refused(tmp_path, tiny_settings, refine=["edam"], saliency__source=str(tmp_path / "text.onnx"))
    assert "text.onnx cannot be read as an ONNX network" in told
    told = refused(tmp_path, tiny_settings, refine=["edam"], edam__ignore_below=0.9, edam__confident_above=0.1)
    assert "edam: EDAM: ignore_below 0.9 is above confident_above 0.1" in told
