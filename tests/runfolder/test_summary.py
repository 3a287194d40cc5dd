"""The table for people and the JSON for machines say the same, also where something could not be found."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from recam.runfolder.summary import RunSummary


def at(threshold, miou):
    return {"threshold": threshold, "miou": miou}


RECORDS = {
    "classify": {
        "seconds": 120.0,
        "peak_memory_mb": 900.0,
        "results": {"images": 300, "history": [{"epoch": 1}, {"epoch": 2}]},
    },
    "scores/cam": {
        "seconds": 3.0,
        "peak_memory_mb": 500.0,
        "results": {
            "images": 30,
            "seeds": {"cam": {"oracle": at(0.15, 0.4812), "otsu": at(0.3, 0.41), "recipe": at(0.21, 0.45)}},
        },
    },
    "scores/recam": {
        "seconds": 3.0,
        "peak_memory_mb": 500.0,
        "results": {
            "images": 30,
            "seeds": {"recam mul": {"oracle": at(0.21, 0.5499), "otsu": None, "recipe": at(0.21, 0.5499)}},
        },
    },
    "masks": {
        "seconds": 3.0,
        "peak_memory_mb": 400.0,
        "resumed": True,
        "results": {"images": 30, "seeds": "recam mul", "threshold": 0.21, "threshold_from": "oracle"},
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
    return RunSummary(Path("runs/x"), ("masks",), ("classify",), RECORDS)


def test_table(summary):
    lines = str(summary).splitlines()
    assert lines[0] == "run runs/x"
    cells = {line.split("  ")[0]: line.split() for line in lines if line}
    assert cells["cam"] == ["cam", "48.12", "0.15", "41.00", "0.30", "45.00", "0.21"]
    assert cells["recam mul"] == ["recam", "mul", "54.99", "0.21", "none", "54.99", "0.21"]
    assert "pseudo masks from recam mul at 0.21 (oracle): 55.00 mIoU" in lines
    assert "segmentation model, trained on pseudo masks: 61.23 mIoU on 12 held-out images" in lines
    assert "true masks: " not in str(summary)
    assert cells["classify"] == ["classify", "2.00", "5.0", "900"]  # two epochs of 300 images in 120 s
    assert cells["masks"] == ["masks", "0.05", "400"]  # interrupted: no speed that would mean anything


def test_a_call_that_made_nothing_says_so(summary):
    assert str(replace(summary, made=())).splitlines()[0] == "run runs/x: nothing to do, every stage is up to date"
    assert "nothing to do" not in replace(summary, made=()).table


def test_what_maps_cost():
    seeds = {"seconds": 60.0, "peak_memory_mb": 1.0, "results": {"images": 30}}
    records = {
        "classify": RECORDS["classify"] | {"inputs": {"inputs": {}}},
        "seeds/cam": seeds | {"inputs": {"inputs": {"classify": ""}}},
        "scores/cam": RECORDS["scores/cam"] | {"inputs": {"inputs": {"seeds/cam": ""}}},
        "refined/cam+crf": seeds | {"inputs": {"inputs": {"seeds/cam": ""}}},
        "scores/recam": RECORDS["scores/recam"] | {"inputs": {"inputs": {"refined/cam+crf": ""}}},
    }
    summary = RunSummary(Path("runs/x"), (), (), records)
    lines = {line.split("  ")[0]: line.split() for line in summary.table.splitlines() if line}
    assert lines["cam"][-2:] == ["3.00", "1.00"]
    assert lines["recam mul"][-2:] == ["4.00", "1.33"]
    assert summary.as_dict()["seeds"]["cam"]["minutes"] == 3
    assert summary.as_dict()["seeds"]["recam mul"]["cost_in_cams"] == pytest.approx(4 / 3)


def test_json(summary):
    told = json.loads(json.dumps(summary.as_dict(), allow_nan=False))
    assert told["seeds"]["cam"]["miou"] == 0.4812
    assert told["seeds"]["cam"]["threshold_from"] == "oracle"
    assert told["seeds"]["recam mul"]["otsu"] is None
    assert told["masks"] == {"seeds": "recam mul", "threshold": 0.21, "threshold_from": "oracle", "miou": 0.55}
    assert told["segmentation"] == {"pseudo": 0.6123, "truth": None}
    assert told["stages"]["classify"]["minutes"] == 2
    assert told["stages"]["classify"]["images_per_second"] == 5
    assert told["stages"]["masks"]["images_per_second"] is None


def test_an_empty_run(summary):
    empty = replace(summary, records={})
    assert empty.as_dict()["masks"]["miou"] is None
    assert "seed mIoU" not in str(empty)


def test_masks_without_truth_tell_their_number(summary):
    records = {"masks": RECORDS["masks"] | {"results": RECORDS["masks"]["results"] | {"threshold_from": "recipe"}}}
    assert "pseudo masks from recam mul at 0.21 (recipe): 30 images" in str(replace(summary, records=records))
