"""A plan is what the run then makes, stage by stage; it writes nothing and reports what is in the way."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

import recam
from recam.data.held_out import hold_out
from recam.data.image_sizes import ImageSizes
from recam.data.images import ImageFile
from recam.data.roles import DataSettings, RunData
from recam.engine.forecast import Forecast
from recam.engine.machine import Machine
from recam.engine.stage import Stage
from recam.errors import StoreError
from recam.pipeline.makers.advcam import AdvCam
from recam.pipeline.plan import make_plan
from recam.pipeline.planning import default_output, find_twin
from recam.pipeline.preflight import find_warnings
from recam.pipeline.run_plan import DONE, NEW, RunPlan, StagePlan, write_recipe
from recam.recipe.recipe import load_recipe
from recam.recipe.toml import flatten
from recam.runfolder.store import PLAN, read_json
from recam.types import Sample
from tiny_recipe import SMALL_IRN, TINY

GIB = 2**30
MACHINE = Machine("a CPU", 2, 8 * GIB, 4 * GIB, 10 * 10**9)

EVERY = {
    "compare": ("cam", "control"),
    "refine": ("irn", "pamr"),
    "maker": "advcam",
    "train.cache_features": 2,
    "backbone.freeze_until": 1,
    "segment.upper_bound": True,
    "segment.validate_epochs": 1,
    "segment.class_balance": 0.5,
    "masks.threshold": "auto",
    "masks.oracle": False,
    **SMALL_IRN,
}
"""Settings with a stage of nearly each kind."""


def stages_of(settings, recipe="tiny"):
    own = load_recipe(recipe, TINY | settings)
    data = RunData(own.section(DataSettings).open(), own.section(DataSettings), quiet=True)
    return {stage.name: stage for stage in make_plan(own, data).stages}, data


def turns(stages, data):
    return {
        name: {each.what: each.turns for each in stage.amounts(stage.given, data)} for name, stage in stages.items()
    }


def test_amounts_of_work_by_hand():
    """Twelve training images of 64 pixels in batches of 4, four held out, all with truth."""
    stages, data = stages_of(EVERY)
    found = turns(stages, data)
    labelled = sum(bool(sample.labels) for sample in data.train)
    assert (len(data.train), len(data.val)) == (12, 4)
    fit = {"step of 4 images": 3, "image loaded": 12, "checkpoint": 1, "weights": 1}
    assert found["features"] == {"features of an image": 12}
    assert found["train/cam"] == {**fit, "image judged": 12}
    assert found["maps/cam"] == {"maps of an image": labelled}
    assert found["scores/recam+advcam"] == {"maps scored": 12}
    assert found["irn/recam+advcam/labels"] == {"confident labels of an image": 12}
    assert found["irn/recam+advcam/network"] == fit
    assert found["refined/recam+advcam+irn"] == {"image refined": labelled}
    assert found["pixels"] == {"pixels of an image": labelled}
    assert found["thresholds/recam+advcam"] == {"masks compared with pixels": 1}
    assert found["masks"] == {"mask of an image": 12}
    assert found["scores/masks"] == {"mask scored": 12}
    # Twelve images at the end to see which classes are predicted, and the four held-out ones after the only epoch.
    assert found["segment/pseudo"] == {**fit, "mask predicted": 4, "mask counted": 12}
    assert found["predictions/pseudo"] == {"mask predicted": 4, "mask scored": 4}
    assert found["pictures"]["mask predicted"] == 12 + 9 + 3


@pytest.mark.parametrize(
    ("settings", "stage", "expected"),
    [
        (
            {"cam.epochs": 5, "train.batch": 5},
            "train/cam",
            {"step of 4 images": 15, "image loaded": 60, "checkpoint": 5},
        ),
        ({"segment.steps": 4, "segment.batch": 4}, "segment/pseudo", {"step of 4 images": 4, "image loaded": 16}),
        ({"training": "probe", "compare": (), "probe.l2": (0.1, 1.0)}, "train/probe", {"probe of all images": 3}),
        ({"training": "probe", "compare": (), "probe.held_out": 0.0}, "train/probe", {"probe of all images": 1}),
    ],
)
def test_steps_and_fits_by_hand(settings, stage, expected):
    stages, data = stages_of(settings)
    assert expected.items() <= turns(stages, data)[stage].items()


def test_a_refiner_that_reads_the_threshold_is_tried_at_each():
    stages, data = stages_of(
        {"training": "probe", "compare": (), "masks.threshold": "auto", "masks.oracle": False, "refine": ("pamr",)}
    )
    labelled = sum(bool(sample.labels) for sample in data.train)
    found = turns(stages, data)["thresholds/probe"]
    assert found == {"image refined at a threshold": 9 * labelled, "masks compared with pixels": 1}


def test_held_out_images_judge_before_each_epoch_and_at_the_end():
    """Of twelve images three are held out; nine in batches of 4 are 3 steps an epoch, so 7 steps are three epochs."""
    more = {"training": "tuned", "compare": (), "train.held_out": 0.25, "tuned.steps": 7}
    stages, data = stages_of(more)
    held = len(hold_out(data.train, 0.25, 0)[1])
    kept = 12 - held
    per_epoch = -(-kept // 4)
    epochs = -(-7 // per_epoch)
    found = turns(stages, data)["train/tuned"]
    assert found["image judged"] == held * (epochs + 2)
    assert found["image loaded"] == pytest.approx(7 * kept / per_epoch)
    assert found[f"step of {-(-kept // per_epoch)} images"] == 7


def test_a_round_is_a_model_more_and_what_may_be_spared_is_planned():
    more = {
        "training": "probe",
        "compare": (),
        "masks.threshold": "auto",
        "masks.oracle": False,
        "masks.rounds": "auto",
    }
    stages, data = stages_of(more | {"masks.round": ("self_training", "pamr")})
    found = turns(stages, data)
    assert found["rounds/probe/model"] == found["segment/pseudo"]
    assert found["masks"] == {"mask of an image": 12, "mask read": 24, "masks compared with pixels": 2}
    assert found["quality"] == {"mask read": 12, "masks compared with pixels": 1}
    assert found["refined/probe+self_training"] == {"image refined": 12}


def test_stages_of_the_training_that_is_chosen_take_what_its_twin_was_planned_to():
    recipe = load_recipe("tiny", {**TINY, "candidates": ("probe", "tuned")})
    stages = (StagePlan("maps/probe", "", "k"), StagePlan("rounds/probe+crf/model", "", "k"))
    made = RunPlan(recipe, "runs/x", {}, 64, MACHINE, (), stages)
    assert find_twin("maps/tuned", made) == "maps/probe"
    assert find_twin("rounds/tuned+crf/model", made) == "rounds/probe+crf/model"
    assert find_twin("maps/recam", made) == find_twin("masks", made) == ""


def test_work_of_advcam_is_tried_by_a_part():
    own = load_recipe("tiny", {"advcam.steps": 8})
    maker, part = AdvCam("advcam", own.advcam).lighter()
    assert (maker.settings.steps, part) == (1, 1 / 8)


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    root = tmp_path_factory.mktemp("planned")
    settings = TINY | EVERY
    made = recam.plan(recipe="tiny", output=root / "run", settings=settings, write=root / "mine.toml")
    return made, root, settings


def test_all_stages_of_a_run_describe_their_work_and_can_be_tried(planned):
    made, root, _ = planned
    assert made.ok
    assert made.unknown == []
    assert {stage.name: stage.forecast.problem for stage in made.stages if stage.forecast.problem} == {}
    assert all(stage.forecast.seconds > 0 for stage in made.stages)
    assert made.most("memory") > 100 * 2**20
    assert not (root / "run").exists(), "a plan does nothing"


def test_saliency_and_probes_can_be_tried_too(tmp_path):
    from saliency_inputs import write_maps

    samples = recam.open_catalog("scenes:", **TINY["data.options"]).samples("train")
    source = write_maps(tmp_path / "maps", samples)
    settings = {"training": "eps", "compare": ("probe",), "refine": ("edam",), "saliency.source": str(source)}
    more = {"train.cache_features": 2, "backbone.freeze_until": 1, "segment.enabled": False}
    made = recam.plan(recipe="tiny", output=tmp_path / "run", settings=TINY | settings | more)
    assert {"saliency/views", "train/eps", "train/probe", "refined/eps+edam"} <= {stage.name for stage in made.stages}
    assert made.unknown == []


def test_a_stage_without_a_description_is_reported_as_such(monkeypatch, tmp_path):
    from recam.pipeline import planning

    def without(recipe, data):
        return SimpleNamespace(stages=(Stage("masks", "masks", lambda given, work: {}),))

    monkeypatch.setattr(planning, "make_plan", without)
    made = recam.plan(recipe="tiny", output=tmp_path / "run", settings=TINY)
    assert made.unknown == ["masks"]
    assert "without masks, whose work is not known" in str(made)
    assert made.as_dict()["stages"]["masks"]["seconds"] is None


def test_the_run_makes_what_was_planned_stage_by_stage(tmp_path):
    settings = TINY | {"compute.forecast": True, "compare": ()}
    before = recam.plan(recipe="tiny", output=tmp_path / "run", settings=settings, until="masks")
    assert {stage.state for stage in before.stages} == {NEW}
    summary = recam.run(recipe="tiny", output=tmp_path / "run", settings=settings, until="masks")
    assert ("check", *summary.made) == tuple(stage.name for stage in before.stages)
    kept = read_json(tmp_path / "run" / PLAN)
    assert [*kept["stages"]] == list(summary.made)
    told = json.loads((tmp_path / "run/summary.json").read_text())
    for name in summary.made:
        assert told["stages"][name]["planned_minutes"] == pytest.approx(kept["stages"][name]["seconds"] / 60)
    assert told["planned"]["minutes"] == pytest.approx(sum(each["minutes"] for each in told["stages"].values()))
    assert "planned" in (tmp_path / "run/summary.txt").read_text()

    after = recam.plan(recipe="tiny", output=tmp_path / "run", settings=settings, until="masks")
    assert {stage.state for stage in after.stages} == {DONE}
    assert "nothing to do: every stage is finished" in str(after)
    beside = recam.plan(recipe="tiny", output=tmp_path / "other", settings=settings)
    states = {stage.name: (stage.state, stage.source) for stage in beside.stages}
    assert all(states[name] == (DONE, str(tmp_path / "run")) for name in ("check", *summary.made))
    assert states["segment/pseudo"] == (NEW, "")
    # What was planned for stages that are finished stays when others are made.
    recam.run(recipe="tiny", output=tmp_path / "run", settings=settings, until="segment")
    again = read_json(tmp_path / "run" / PLAN)["stages"]
    assert again["masks"] == {**kept["stages"]["masks"], "state": DONE}
    assert again["segment/pseudo"]["seconds"] > 0


def test_a_plan_as_a_recipe_says_the_same(planned, tmp_path):
    made, root, _ = planned
    text = (root / "mine.toml").read_text()
    again = load_recipe(root / "mine.toml")
    assert again == made.recipe
    assert text.startswith("# A plan as a recipe")
    with pytest.raises(StoreError, match=r"is there already\. Name a new file"):
        recam.plan(recipe="tiny", output=root / "run", settings=TINY, write=root / "mine.toml")


def test_choices_stand_in_the_written_recipe_below_their_reasons(tmp_path):
    settings = {**TINY, "choose": ["maps.scales", "data.max_side"]}
    made = recam.plan(recipe="tiny", output=tmp_path / "run", settings=settings, until="train")
    text = write_recipe(made.recipe, made.choices)
    lines = text.splitlines()
    for choice in (each for each in made.choices if each.kept):
        name = choice.setting.partition(".")[2]
        assert f"# {choice.why}" == lines[[line.partition(" = ")[0] for line in lines].index(name) - 1]
        assert flatten(made.recipe.as_dict())[choice.setting] == choice.value
    (tmp_path / "again.toml").write_text(text)
    assert load_recipe(tmp_path / "again.toml") == made.recipe
    assert load_recipe(tmp_path / "again.toml").choose == ()


def test_what_was_chosen_stands_in_the_run_and_repeats_it(tmp_path):
    settings = {**TINY, "choose": ["maps.scales"]}
    recam.run(recipe="tiny", output=tmp_path / "a", settings=settings, until="maps")
    written = read_json(tmp_path / "a/run.json")["recipe"]
    assert written["maps"]["scales"] == [1.0, 2.0]
    assert written["choose"] == []
    again = recam.run(recipe=tmp_path / "a/recipe.toml", output=tmp_path / "b", until="maps")
    assert again.made == ()


def test_weights_out_of_reach_are_in_the_way_and_the_rest_is_planned(tmp_path, monkeypatch):
    from recam.models import weights

    monkeypatch.setattr(weights, "can_download", lambda name: False)
    made = recam.plan(
        recipe="tiny", output=tmp_path / "run", settings={**TINY, "backbone.weights": "imagenet"}, until="train"
    )
    assert not made.ok
    assert "no ImageNet weights" in made.problems[0]
    assert "in the way: no ImageNet weights" in str(made)
    assert made.seconds > 0


@pytest.mark.parametrize(
    ("location", "folder"),
    [
        ("folder:some/photos", "photos"),
        ("folder:photos/", "photos"),
        ("scenes:", "scenes"),
        ("voc:V/VOC2012", "VOC2012"),
    ],
)
def test_a_run_lies_where_its_data_set_is_named(location, folder):
    assert str(default_output(load_recipe("tiny", {"data.location": location}))) == f"runs/{folder}"


def data_of(*labels, background=True):
    classes = SimpleNamespace(names=("cat", "dog"), background=background)
    samples = [Sample(str(n), own, ImageFile("x")) for n, own in enumerate(labels)]
    return SimpleNamespace(train=samples, catalog=SimpleNamespace(classes=classes))


ENOUGH = data_of(*[(0, 1)] * 10)
NO_BACKGROUND = data_of(*[(0,), (1,)] * 10, background=False)
SMALL, LARGE = ImageSizes((), ((300, 400),)), ImageSizes((), ((3000, 4000), (10, 10)))
WITH_GPU = replace(MACHINE, gpu="a GPU", gpu_memory=8 * GIB)


@pytest.mark.parametrize(
    ("data", "sizes", "machine", "forecast", "words"),
    [
        (ENOUGH, SMALL, MACHINE, Forecast(60, GIB, 0, 10**6), []),
        (ENOUGH, LARGE, MACHINE, Forecast(60, GIB, 0, 0), ["1 of 2 images", "4000×3000", "data.max_side"]),
        (data_of((0,), *[(1,)] * 10), SMALL, MACHINE, Forecast(60, GIB, 0, 0), ["fewer than 10 images", "cat (1)"]),
        (ENOUGH, SMALL, MACHINE, Forecast(60, 3.7 * GIB, 0, 0), ["train will take about 3.7 GiB", "4.0 GiB are free"]),
        (ENOUGH, SMALL, MACHINE, Forecast(60, GIB, 0, 9.5e9), ["about 9.5 GB", "10.0 GB are free"]),
        (ENOUGH, SMALL, MACHINE, Forecast(4 * 3600, GIB, 0, 0), ["there is no GPU: about 4 hours"]),
        (data_of(*[(0,), (1,)] * 10), SMALL, MACHINE, Forecast(60, GIB, 0, 0), []),
        (NO_BACKGROUND, SMALL, MACHINE, Forecast(60, GIB, 0, 0), ["no image has two labels", "throughout"]),
        (data_of(*[(0, 1)] * 10, background=False), SMALL, MACHINE, Forecast(60, GIB, 0, 0), []),
        (ENOUGH, SMALL, WITH_GPU, Forecast(4 * 3600, GIB, 7.9 * GIB, 0), ["7.9 GiB of the GPU's 8.0 GiB"]),
    ],
)
def test_warnings(data, sizes, machine, forecast, words):
    recipe = load_recipe("tiny")
    found = find_warnings(recipe, data, sizes, machine, {"train": forecast})
    assert len(found) == bool(words)
    assert all(word in found[0] for word in words)


def test_large_photos_are_no_cause_for_a_warning_where_they_are_reduced():
    sizes = ImageSizes((), ((3000, 4000),))
    assert find_warnings(load_recipe("tiny", {"data.max_side": 512}), ENOUGH, sizes, MACHINE, {}) == []


def test_a_plan_prints_itself():
    stage = StagePlan("maps/cam", "CAM", "k", forecast=Forecast(90, GIB, 0, 2e6))
    done = StagePlan("train/cam", "CAM", "k", DONE, "runs/other")
    recipe = load_recipe("tiny", TINY)
    made = RunPlan(recipe, "runs/x", {"classes": 3}, 64, MACHINE, (), (done, stage), ("mind this.",))
    lines = str(made).splitlines()
    assert lines[0] == "scenes: → runs/x: 3 classes; 64 pixels on the longer side"
    assert lines[1] == "machine: a CPU, 2 cores, 8 GiB of memory, no GPU"
    assert any(line.split()[:3] == ["train/cam", "finished", "in"] for line in lines)
    assert any(line.split() == ["maps/cam", "1.50", "1024", "MiB", "2.0", "MB"] for line in lines)
    assert "warning: mind this." in lines
    assert made.short.splitlines()[0].startswith("plan: 1 stages, about 1.5 min, 1.0 GiB of memory, 2 MB of disk")
