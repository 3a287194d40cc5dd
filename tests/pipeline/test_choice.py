"""Which training a run goes on with, and whether a round of self-training pays: both without a mask."""

from types import SimpleNamespace

import numpy as np
import pytest

import recam
from recam.data.images import read_mask
from recam.data.roles import DataSettings, RunData
from recam.engine.stage import key_stages
from recam.errors import RecipeError
from recam.pipeline.choice import Tried, candidates_of, choose, stages_for, try_candidates
from recam.pipeline.plan import make_plan
from recam.pipeline.stages import masks
from recam.recipe.recipe import load_recipe
from recam.review.index import Index
from recam.review.layers import ReviewedRun
from recam.runfolder.store import read_json
from tiny_recipe import TINY

AUTO = {
    **TINY,
    "candidates": ["probe", "tuned", "recam"],
    "compare": [],
    "refine": ["pamr"],
    "tuned.steps": 2,
    "cam.steps": 2,
    "recam.steps": 2,
    "train.held_out": 0.3,
    "probe.held_out": 0.3,
    "probe.unlearned": "report",
    "masks.threshold": "auto",
    "masks.oracle": False,
    "masks.rounds": "auto",
    "masks.round": ["self_training", "pamr"],
    "compute.report": False,
}


@pytest.fixture(scope="module")
def chosen(tmp_path_factory):
    """A run to its end."""
    root = tmp_path_factory.mktemp("choice") / "run"
    return root, recam.run(recipe="tiny", output=root, settings=AUTO)


def tried(name, score, agreement, chance=0.2):
    return Tried(name, {"map": score, "chance": chance}, agreement)


def test_quality_is_what_was_learned_times_agreement():
    assert tried("a", 0.6, 0.5).quality == pytest.approx((0.6 - 0.2) / (1 - 0.2) * 0.5)
    assert tried("worse than chance", 0.1, 0.9).quality == 0
    assert tried("not judged", None, 0.9).quality == 0


def test_masks_that_agree_with_images_are_not_taken_where_labels_were_not_learned():
    learned, lost = tried("probe", 0.9, 0.37), tried("recam", 0.25, 0.6)
    assert choose([lost, learned]) is learned


def test_of_equals_the_first_is_taken():
    first, again = tried("probe", 0.8, 0.4), tried("tuned", 0.8, 0.4)
    assert choose([first, again]) is first


def test_a_candidate_that_cannot_win_any_more_is_not_trained_on():
    """Agreement is 1 at most, so a classifier that has learned less than the best quality so far is out."""
    recipe = load_recipe("tiny", AUTO)
    labels = {"train/probe": 0.9, "train/cam": 0.45}
    made = []

    def results(stage):
        if stage.startswith("thresholds/"):
            return {"agreement": 0.5}
        return {"labels": {"map": labels[stage], "chance": 0.2}}

    stages = {"probe": ["train/probe", "thresholds/probe"], "recam": ["train/cam", "train/recam", "thresholds/recam"]}
    plan = SimpleNamespace(thresholds={"probe": "thresholds/probe", "recam": "thresholds/recam"})
    found = try_candidates(("probe", "recam"), plan, recipe, stages, made.extend, results)
    assert [each.name for each in found] == ["probe"]  # (0.45 − 0.2) / 0.8 = 0.31 < 0.875 × 0.5
    assert "train/recam" not in made


def test_what_is_chosen_stands_in_the_run_and_is_the_best_of_what_was_tried(chosen):
    root, _ = chosen
    recipe = read_json(root / "run.json")["recipe"]
    found = []
    for name in recipe["candidates"]:
        labels = read_json(root / f"train/{name}/stage.json")["results"]["labels"]
        assert labels["of"] == "held-out images"
        agreement = read_json(root / f"thresholds/{name}/stage.json")["results"]["agreement"]
        found.append(Tried(name, labels, agreement))
    assert recipe["training"] == choose(found).name
    assert (root / f"maps/{recipe['training']}").is_dir()


def test_losers_have_maps_of_the_images_that_judge_alone(chosen):
    root, _ = chosen
    winner = read_json(root / "run.json")["recipe"]["training"]
    for loser in set(AUTO["candidates"]) - {winner}:
        assert not (root / f"maps/{loser}").exists()
    assert {path.name for path in (root / "trials").iterdir()} == set(
        read_json(root / "run.json")["recipe"]["candidates"]
    )


def test_the_same_again_has_nothing_to_do(chosen):
    root, first = chosen
    again = recam.run(recipe="tiny", output=root, settings=AUTO)
    assert again.made == ()
    planned = read_json(root / "run.json")["stages"]  # without what was left out
    assert set(first.made) & set(planned) <= set(again.skipped)


def test_masks_are_those_of_the_round_unless_it_has_come_undone(chosen):
    root, _ = chosen
    results = read_json(root / "masks/stage.json")["results"]
    (before, old), (after, new) = results["agreements"].items()
    kept = new >= 0.9 * old and results["labels_shown"][after] >= 0.9 * results["labels_shown"][before]
    assert results["maps"] == (after if kept else before)
    earlier, _ = sorted(
        (path.parent for path in root.glob("rounds/*/masks/stage.json")), key=lambda path: len(str(path))
    )
    made = {path.name: read_mask(path) for path in (root / "masks").glob("*.png")}
    same = all(np.array_equal(mask, read_mask(earlier / name)) for name, mask in made.items())
    assert same == (results["maps"] == read_json(earlier / "stage.json")["results"]["maps"])


@pytest.mark.parametrize(
    ("agreement", "shown", "kept"),
    [
        (0.53, 1.0, "old"),
        (0.55, 1.0, "new"),
        (0.7, 1.0, "new"),
        (0.7, 0.73, "new"),
        (0.7, 0.71, "old"),
        (0.53, 0.73, "old"),
    ],
)
def test_a_round_may_agree_and_show_a_tenth_less(monkeypatch, agreement, shown, kept):
    """0.54 is nine tenths of the agreement of the masks before it, 0.6, and 0.72 of the labels that they show, 0.8."""
    found = {"old": SimpleNamespace(agreement=0.6, shown=0.8), "new": SimpleNamespace(agreement=agreement, shown=shown)}
    monkeypatch.setattr(masks, "judge_masks", lambda work, folder: found[folder.name])
    inputs = {name: SimpleNamespace(name=name, record={"results": {"maps": name}}) for name in found}
    work = SimpleNamespace(
        inputs=inputs,
        data=SimpleNamespace(seeded=[]),
        folder=SimpleNamespace(name="masks"),
        each=lambda samples, task: None,
        accelerator=SimpleNamespace(wait_for_everyone=lambda: None, is_main_process=False),
    )
    assert masks.take_best(masks.ChosenGiven(("old", "new"), masks.KEPT), work)["maps"] == kept


def test_the_model_is_not_trained_twice_on_the_same_masks(chosen):
    root, _ = chosen
    masks = read_json(root / "masks/stage.json")["results"]
    (earlier,) = (path.parent for path in root.glob("rounds/*/model/stage.json"))
    kept = masks["maps"] == read_json(earlier.parent / "masks/stage.json")["results"]["maps"]
    weights = [(folder / "weights.safetensors").read_bytes() for folder in (earlier, root / "segment/pseudo")]
    assert (weights[0] == weights[1]) == kept


def test_a_round_has_a_balance_of_its_own():
    """Its model is balanced, the final one is not: so neither is taken for the other."""
    for balance, spared in ((None, True), (0.0, True), (0.5, False)):
        own = {"candidates": [], "training": "probe", "segment.class_balance": 0.0}
        own |= {} if balance is None else {"self_training.class_balance": balance}
        recipe = load_recipe("tiny", AUTO | own)
        settings = recipe.section(DataSettings)
        stages = {stage.name: stage.given for stage in make_plan(recipe, RunData(settings.open(), settings)).stages}
        assert stages["rounds/probe+pamr/model"].settings.class_balance == (balance or 0.0)
        assert stages["segment/pseudo"].settings.class_balance == 0.0
        assert (stages["segment/pseudo"].earlier is not None) == spared


def test_a_prediction_of_new_images_comes_from_the_chosen_run(chosen):
    root, _ = chosen
    image = recam.open_catalog("scenes:", **TINY["data.options"]).samples("val")[0].image.read()
    assert recam.Predictor(root)(image).mask.shape == image.shape[:2]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"masks.threshold": 0.3}, "masks.threshold = 'auto'"),
        ({"masks.oracle": True}, "masks.oracle"),
        ({"candidates": ["probe", "tund"]}, "tuned"),
    ],
)
def test_candidates_that_cannot_be_compared_are_refused_before_anything_is_made(settings, says, tmp_path):
    with pytest.raises(RecipeError, match=says):
        recam.run(recipe="tiny", output=tmp_path / "run", settings={**AUTO, **settings})
    assert not (tmp_path / "run/train").exists()


def test_a_round_needs_refiners():
    with pytest.raises(RecipeError, match=r"masks\.round"):
        load_recipe("tiny", {"masks.rounds": 1})


def test_stages_of_a_candidate_end_at_its_threshold():
    recipe = load_recipe("tiny", AUTO)
    data = RunData(recipe.section(DataSettings).open(), recipe.section(DataSettings))
    assert candidates_of(recipe, data) == ("probe", "tuned", "recam")
    plan = make_plan(recipe, data)
    planned = key_stages(plan.stages, data)
    assert stages_for(plan, planned, "tuned")[-1] == "thresholds/tuned"
    assert set(stages_for(plan, planned, "probe")) == {"train/probe", "trials/probe", "pixels", "thresholds/probe"}


def test_quality_is_told_of_the_run_and_of_each_image_the_worst_first(chosen):
    root, _ = chosen
    results = read_json(root / "quality/stage.json")["results"]
    images = read_json(root / "quality/images.json")
    assert list(images.values()) == sorted(images.values())
    assert set(results["worst"]) <= set(images)
    kept = read_json(root / "masks/stage.json")["results"]
    assert results["agreement"] == kept["agreements"][kept["maps"]]
    assert results["quality"] == pytest.approx(results["learned"] * results["agreement"])
    assert (
        f"{results['quality']:.3f} ({results['learned']:.3f} of the labels learned"
        in (root / "summary.txt").read_text()
    )


def test_the_review_page_knows_the_worst_masks(chosen):
    root, _ = chosen
    images = read_json(root / "quality/images.json")
    run = ReviewedRun(root)
    rows = {item.id: row for item, row in zip(run.items, Index(run).build(quiet=True).rows, strict=True)}
    assert {name: row.agreement for name, row in rows.items() if row.agreement is not None} == images
