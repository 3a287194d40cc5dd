"""A run that finds for itself what follows the data: the classifier's penalty by held-out labels, the threshold by the
maps and images, and no mask is read for either."""

import pytest

import recam
from recam.data.images import read_mask
from recam.errors import DataError
from recam.evaluation.label_scores import LabelScores
from recam.pipeline.refiners.irn_labels import confident_around
from recam.pipeline.trainings import probe
from recam.runfolder.store import read_json
from tiny_recipe import SMALL_IRN, TINY

AUTO = {
    **TINY,
    "training": "probe",
    "compare": [],
    "refine": ["pamr"],
    "probe.unlearned": "report",
    "probe.scales": [1.0],
    "masks.threshold": "auto",
    "masks.oracle": False,
}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """A run up to its masks."""
    root = tmp_path_factory.mktemp("auto") / "run"
    recam.run(recipe="tiny", output=root, settings=AUTO, until="masks")
    return root


def test_the_threshold_is_found_after_the_refiner_that_reads_it(found):
    results = read_json(found / "thresholds/probe/stage.json")["results"]
    assert results["threshold"] in results["thresholds"]
    assert (
        max(results["curve"])
        == results["agreement"]
        == results["curve"][results["thresholds"].index(results["threshold"])]
    )
    assert 0 < results["otsu"] < 1
    refined = read_json(found / "refined/probe+pamr/stage.json")["results"]
    assert (refined["threshold_before"], refined["threshold_from"]) == (results["threshold"], "auto")
    assert len(list((found / "masks").glob("*.png"))) == 12


def test_the_summary_has_the_threshold_and_the_labels(found):
    threshold = read_json(found / "thresholds/probe/stage.json")["results"]["threshold"]
    table = (found / "summary.txt").read_text()
    assert f"threshold of probe CAM: {threshold:.2f}, found without masks" in table
    assert "image labels by probe CAM: mAP " in table


def test_the_masks_are_counted_by_class(found):
    results, samples = read_json(found / "masks/stage.json")["results"], {}
    catalog = recam.open_catalog("scenes:", **TINY["data.options"])
    for index, name in enumerate(catalog.classes.names):
        own = [sample for sample in catalog.samples("train") if index in sample.labels]
        shares = [(read_mask(found / f"masks/{sample.id}.png") == index + 1).mean() for sample in own]
        there = [share for share in shares if share]
        samples[name] = {"labelled": len(own), "shown": len(there)}
        assert results["classes"][name]["area"] == pytest.approx(sum(there) / max(len(there), 1), abs=1e-6)
    assert {name: {**each, "area": 0} for name, each in results["classes"].items()} == {
        name: {**each, "area": 0} for name, each in samples.items()
    }


def test_held_out_labels_judge_the_classifier(found):
    results = read_json(found / "train/probe/stage.json")["results"]
    assert results["l2"] in (0.01, 0.03, 0.1, 0.3, 1.0)
    labels = results["labels"]
    assert 0 < labels["images"] < 12
    assert set(labels["classes"]) == set(recam.open_catalog("scenes:", **TINY["data.options"]).classes.names)


def test_the_same_again_has_nothing_to_do_and_a_threshold_of_ones_own_finds_none(found):
    again = recam.run(recipe="tiny", output=found, settings=AUTO, until="masks")
    assert again.made == ()
    own = {**AUTO, "masks.threshold": 0.3}
    made = recam.run(recipe="tiny", output=found, settings=own, until="masks").made
    assert "train/probe" not in made
    assert not any(name.startswith("thresholds/") for name in made)


def test_without_a_refiner_the_smaller_of_both_is_taken(found):
    plain = {**AUTO, "refine": []}
    recam.run(recipe="tiny", output=found.parent / "plain", settings=plain, until="masks")
    results = read_json(found.parent / "plain/thresholds/probe/stage.json")["results"]
    masks = read_json(found.parent / "plain/masks/stage.json")["results"]
    best = results["thresholds"][results["curve"].index(max(results["curve"]))]
    assert results["threshold"] <= results["otsu"]
    assert results["threshold"] == pytest.approx(min(best, results["otsu"]))
    assert (masks["threshold"], masks["threshold_from"]) == (results["threshold"], "auto")
    assert recam.Predictor(found.parent / "plain").identity["threshold"] == results["threshold"]


def test_irn_learns_from_labels_around_the_threshold_that_is_found(found):
    """Its confident labels follow the maps' own threshold, and the walked maps find theirs."""
    given = {"refine": ["irn"], "irn.confident": "auto", "irn.background_threshold": "auto", **SMALL_IRN}
    root = found.parent / "irn"
    recam.run(recipe="tiny", output=root, settings={**AUTO, **given}, until="masks")
    threshold = read_json(root / "thresholds/probe/stage.json")["results"]["threshold"]
    assert read_json(root / "irn/probe/labels/stage.json")["results"]["confident"] == list(confident_around(threshold))
    walked = read_json(root / "thresholds/probe+irn/stage.json")["results"]["threshold"]
    masks = read_json(root / "masks/stage.json")["results"]
    assert (masks["threshold"], masks["threshold_from"]) == (walked, "auto")


@pytest.mark.parametrize(
    ("threshold", "background", "foreground"),
    [
        (0.21, 0.10, 0.35),  # as published
        (0.5, 0.4180 / 1.4180, 2.0257 / 3.0257),  # odds of 1, times (1/9) / (21/79) and (35/65) / (21/79)
    ],
)
def test_confident_labels_keep_the_published_distance_in_odds(threshold, background, foreground):
    assert confident_around(threshold) == pytest.approx((background, foreground), abs=1e-4)


def test_confident_labels_of_maps_without_a_threshold_leave_room_for_both():
    for threshold in (0.0, 1.0):
        background, foreground = confident_around(threshold)
        assert 0 < background < foreground < 1


def test_a_classifier_that_has_learned_nothing_stops_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(probe, "ENOUGH", 1)
    monkeypatch.setattr("recam.evaluation.label_scores.BY_CHANCE", -1.0)
    settings = {**AUTO, "probe.unlearned": "stop"}
    with pytest.raises(DataError, match=r"has learned nothing: held-out labels: mAP .* \(chance .*probe\.unlearned"):
        recam.run(recipe="tiny", output=tmp_path / "run", settings=settings, until="maps")


def test_a_classifier_that_nobody_judged_is_reported(tmp_path, capsys):
    recam.run(recipe="tiny", output=tmp_path / "run", settings={**AUTO, "probe.held_out": 0.0}, until="train")
    assert "train/probe: the classifier is not judged: probe.held_out is 0" in capsys.readouterr().err
    results = read_json(tmp_path / "run/train/probe/stage.json")["results"]
    assert "labels" not in results
    assert results["l2"] == 0.1  # the one in the middle


def test_classes_hardly_learned_are_named(capsys):
    """A class that nearly every image shows is judged by what could be gained over chance."""

    class Work:
        class accelerator:
            is_main_process = True

        class folder:
            name = "train/probe"

    scores = LabelScores(("often", "rare"), (0.99, 0.12), (1.0, 0.0), (0.9, 0.1), 50, 0.005)
    probe.report_labels(scores, "stop", Work)
    told = " ".join(capsys.readouterr().err.split())
    assert "mAP 55.5 (chance 50.0, 50 images); hardly learned: rare." in told


def test_what_has_learned_nothing_is_reported_where_it_arises_and_in_the_summary(tmp_path, capsys):
    """Random weights and one epoch: no label is learned, and a threshold of 1 leaves every mask empty."""
    settings = {
        **TINY,
        "data.options": {"seed": 6, "size": 64, "train": 24, "val": 4},
        "training": "cam",
        "compare": [],
    }
    own = {**settings, "masks.threshold": 1.0, "masks.oracle": False}
    summary = recam.run(recipe="tiny", output=tmp_path / "run", settings=own, until="masks")
    told = " ".join(capsys.readouterr().err.split())
    assert "train/cam: the classifier has learned nothing: mAP" in told
    assert "masks: 24 of 24 images with a label have an empty mask." in told
    assert "on training images: IT HAS LEARNED NOTHING" in summary.table
    assert "24 with a label but an empty mask" in summary.table
    results = read_json(tmp_path / "run/train/cam/stage.json")["results"]
    assert results["labels"]["is_learned"] is False
    assert read_json(tmp_path / "run/masks/stage.json")["results"]["empty"] == 24


def test_classes_that_the_model_never_predicts_are_reported(found, capsys):
    """The masks of random weights show classes; a model that has taken a few steps of no size predicts background."""
    settings = {**AUTO, "segment.epochs": 1, "segment.lr": 1e-9, "segment.decoder_lr": 1e-9}
    recam.run(recipe="tiny", output=found, settings=settings, until="segment")
    missing = read_json(found / "segment/pseudo/stage.json")["results"]["missing"]
    told = " ".join(capsys.readouterr().err.split())
    assert missing
    assert (
        f"the model predicts {len(missing)} of its classes nowhere in 12 images that it has learned from: {missing[0]}"
        in told
    )
