"""The table for people and the JSON for machines say the same, also where something could not be found."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from recam.runfolder.summary import RunSummary, recipe_score


def at(threshold, miou):
    return {"threshold": threshold, "miou": miou}


def judged(oracle, otsu, recipe):
    """A curve that passes through the recipe's score."""
    thresholds = [0.1, recipe["threshold"], 0.5]
    return {"oracle": oracle, "otsu": otsu, "thresholds": thresholds, "curve": [0.1, recipe["miou"], 0.2]}


def label(training, name, title, threshold=0.21):
    sets = [{"name": name, "title": title, "threshold": threshold, "folder": ""}]
    return {"kind": "scores of maps", "title": title, "training": training, "sets": sets}


RECORDS = {
    "train/cam": {
        "label": {"kind": "classifier", "title": "CAM", "training": "cam", "base": None},
        "seconds": 120.0,
        "peak_memory_mb": 900.0,
        "results": {"images": 300, "history": [{"epoch": 1}, {"epoch": 2}]},
    },
    "scores/cam": {
        "label": label("cam", "cam", "CAM"),
        "seconds": 3.0,
        "peak_memory_mb": 500.0,
        "results": {
            "images": 30,
            "maps": {"cam": judged(at(0.15, 0.4812), at(0.3, 0.41), at(0.21, 0.45))},
        },
    },
    "scores/recam": {
        "label": label("recam", "recam mul", "ReCAM w ⊗ w′", 0.2),
        "seconds": 3.0,
        "peak_memory_mb": 500.0,
        "results": {
            "images": 30,
            "maps": {"recam mul": judged(at(0.21, 0.5499), None, at(0.21, 0.5499))},
        },
    },
    "masks": {
        "seconds": 3.0,
        "peak_memory_mb": 400.0,
        "resumed": True,
        "results": {"images": 30, "maps": "recam mul", "threshold": 0.21, "threshold_from": "oracle"},
    },
    "scores/masks": {"seconds": 1.0, "peak_memory_mb": 400.0, "results": {"images": 30, "scores": {"miou": 0.55}}},
    "predictions/pseudo": {
        "seconds": 1.0,
        "peak_memory_mb": 400.0,
        "results": {"images": 12, "scores": {"miou": 0.6123}},
    },
}


@pytest.fixture
def summary():
    return RunSummary(Path("runs/x"), ("masks",), ("train/cam",), RECORDS)


def test_table(summary):
    lines = str(summary).splitlines()
    assert lines[0] == "run runs/x"
    cells = {line.split("  ")[0]: line.split() for line in lines if line}
    assert cells["cam"] == ["cam", "48.12", "0.15", "41.00", "0.30", "45.00", "0.21"]
    assert cells["recam mul"] == ["recam", "mul", "54.99", "0.21", "none", "54.99", "0.21"]
    assert "pseudo masks from recam mul at 0.21 (oracle): 55.00 mIoU" in lines
    assert "segmentation model, trained on pseudo masks: 61.23 mIoU on 12 held-out images" in lines
    assert "true masks: " not in str(summary)
    assert cells["train/cam"] == ["train/cam", "2.00", "5.0", "900"]  # two epochs of 300 images in 120 s
    assert cells["masks"] == ["masks", "0.05", "400"]  # interrupted: no speed that would mean anything


def test_a_call_that_made_nothing_says_so(summary):
    assert str(replace(summary, made=())).splitlines()[0] == "run runs/x: nothing to do, every stage is up to date"
    assert "nothing to do" not in replace(summary, made=()).table


def test_what_maps_cost():
    maps = {"seconds": 60.0, "peak_memory_mb": 1.0, "results": {"images": 30}}
    records = {
        "train/cam": RECORDS["train/cam"] | {"inputs": {"inputs": {}}},
        "maps/cam": maps | {"inputs": {"inputs": {"train/cam": ""}}},
        "scores/cam": RECORDS["scores/cam"] | {"inputs": {"inputs": {"maps/cam": ""}}},
        "refined/cam+crf": maps | {"inputs": {"inputs": {"maps/cam": ""}}},
        "scores/recam": RECORDS["scores/recam"] | {"inputs": {"inputs": {"refined/cam+crf": ""}}},
    }
    summary = RunSummary(Path("runs/x"), (), (), records)
    lines = {line.split("  ")[0]: line.split() for line in summary.table.splitlines() if line}
    heading = next(line for line in summary.table.splitlines() if line.startswith("mIoU of maps"))
    assert heading.endswith("minutes  × CAM")
    assert summary.as_dict()["cost_unit"] == "CAM"
    assert lines["cam"][-2:] == ["3.00", "1.00"]
    assert lines["recam mul"][-2:] == ["4.00", "1.33"]
    assert summary.as_dict()["maps"]["cam"]["minutes"] == 3
    assert summary.as_dict()["maps"]["recam mul"]["cost_in_units"] == pytest.approx(4 / 3)


def test_json(summary):
    shown = json.loads(json.dumps(summary.as_dict(), allow_nan=False))
    assert shown["maps"]["cam"]["miou"] == 0.4812
    assert shown["maps"]["cam"]["threshold_from"] == "oracle"
    assert shown["maps"]["recam mul"]["otsu"] is None
    assert shown["masks"] == {"maps": "recam mul", "threshold": 0.21, "threshold_from": "oracle", "miou": 0.55}
    assert shown["segmentation"] == {"pseudo": 0.6123, "truth": None}
    assert shown["stages"]["train/cam"]["minutes"] == 2
    assert shown["stages"]["train/cam"]["images_per_second"] == 5
    assert shown["stages"]["masks"]["images_per_second"] is None


def test_an_empty_run(summary):
    empty = replace(summary, records={})
    assert empty.as_dict()["masks"]["miou"] is None
    assert "mIoU" not in str(empty)


def test_masks_without_truth_show_their_number(summary):
    records = {"masks": RECORDS["masks"] | {"results": RECORDS["masks"]["results"] | {"threshold_from": "recipe"}}}
    assert "pseudo masks from recam mul at 0.21 (recipe): 30 images" in str(replace(summary, records=records))


def test_maps_that_nothing_could_be_scored_of_show_none(summary):
    vacuous = {"oracle": None, "otsu": None, "thresholds": [], "curve": []}
    record = RECORDS["scores/cam"] | {"results": {"images": 30, "maps": {"cam": vacuous}}}
    some = replace(summary, records={"scores/cam": record})
    assert "none" in str(some)
    assert some.as_dict()["maps"]["cam"] == {
        "threshold_from": "oracle", "otsu": None, "recipe": None, "minutes": None, "cost_in_units": None,
    }  # fmt: skip
    assert "×" not in str(some)


def test_the_recipes_score_is_that_of_the_nearest_threshold():
    assert recipe_score(RECORDS["scores/recam"], "recam mul") == at(0.21, 0.5499)  # 0.2 in the recipe, 0.21 tried
    assert recipe_score(RECORDS["scores/recam"] | {"label": {}}, "recam mul") is None
