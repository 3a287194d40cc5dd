"""What scoring leaves for readers: counts by threshold and number of labels, a row an image, tiles."""

import math
from dataclasses import replace

import numpy as np
import pytest

from recam.data.images import read_image
from recam.errors import StoreError
from recam.evaluation.metrics import ConfusionMatrix
from recam.evaluation.pixel_counts import (
    ImageScore,
    label_group,
    read_image_scores,
    read_tally,
    save_image_scores,
    save_tally,
)
from recam.runfolder.store import read_json

ROWS = [ImageScore("farm/1", 2, 0.25, 10, 2, 3, 4, 0, 0.125), ImageScore("a, b", 0, math.nan, 0, 0, 0, 0, 0)]


def test_images_are_grouped_by_none_one_or_several_labels():
    assert [label_group(n) for n in (0, 1, 2, 7)] == [0, 1, 2, 2]


def test_a_tally_is_read_back_and_asked_at_the_nearest_threshold(tmp_path):
    counts = np.arange(3 * 2 * 2 * 3).reshape(3, 2, 2, 3)
    save_tally(tmp_path / "t.npz", counts, (0.2, 0.4))
    tally = read_tally(tmp_path / "t.npz")
    assert tally.thresholds.tolist() == [0.2, 0.4]
    assert (tally.at(0.31) == counts[:, 1]).all()
    assert (tally.at() == counts[:, 0]).all()


def test_rows_of_images_are_read_back(tmp_path):
    save_image_scores(tmp_path / "i.csv", ROWS)
    first, second = read_image_scores(tmp_path / "i.csv")
    assert first == ROWS[0]
    assert (second.id, math.isnan(second.miou), math.isnan(second.boundary_iou)) == ("a, b", True, True)


def test_rows_written_before_the_boundary_was_told(tmp_path):
    (tmp_path / "i.csv").write_text(
        "id,labels,miou,right,missed,confused,false_alarm,ignore\nfarm/1,2,0.25,10,2,3,4,0\n"
    )
    (row,) = read_image_scores(tmp_path / "i.csv")
    assert math.isnan(row.boundary_iou)
    assert replace(row, boundary_iou=0.125) == ROWS[0]


@pytest.mark.parametrize(("reader", "name"), [(read_tally, "t.npz"), (read_image_scores, "i.csv")])
def test_damaged_files_are_told(tmp_path, reader, name):
    (tmp_path / name).write_bytes(b"id,labels\nx,many\n")
    with pytest.raises(StoreError, match=r"cannot be read as .*Delete it; `recam run` makes it again"):
        reader(tmp_path / name)
    with pytest.raises(StoreError, match=name):
        reader(tmp_path / f"none-{name}")


def test_a_run_leaves_counts_that_give_its_scores(tiny_run):
    for stage, file in (("scores/masks", "tally.npz"), ("predictions/pseudo", "tally.npz")):
        results = read_json(tiny_run / stage / "stage.json")["results"]
        counts = read_tally(tiny_run / stage / file).at().sum(0)
        assert counts.tolist() == results["confusion"]
        rows = read_image_scores(tiny_run / stage / "images.csv")
        assert len(rows) == results["images"]
        assert (
            sum(row.right + row.missed + row.confused + row.false_alarm + row.ignore for row in rows)
            == results["scores"]["pixels"]
        )
        errors, pixels = results["scores"]["errors"], results["scores"]["pixels"]
        assert errors == pytest.approx({name: sum(getattr(row, name) for row in rows) / pixels for name in errors})
        assert all(0 <= row.boundary_iou <= 1 for row in rows)
    judged = read_json(tiny_run / "scores/recam/stage.json")["results"]["maps"]["recam w_prime"]
    tally = read_tally(tiny_run / "scores/recam/recam w_prime.npz")
    for threshold, miou in zip(judged["thresholds"], judged["curve"], strict=True):
        confusion = ConfusionMatrix(10)
        confusion.counts += tally.at(threshold).sum(0)
        assert confusion.scores().miou == pytest.approx(miou)


def test_pictures_leave_tiles_of_the_best_the_median_and_the_worst(tiny_run):
    shown = read_json(tiny_run / "pictures/stage.json")["results"]["shown"]
    ranked = [
        row.miou for row in sorted(read_image_scores(tiny_run / "scores/masks/images.csv"), key=lambda row: -row.miou)
    ]
    for kind, expected in (("best", ranked[:3]), ("median", ranked[4:7]), ("worst", ranked[-3:])):
        assert [each["miou"] for each in shown if (each["of"], each["kind"]) == ("masks", kind)] == pytest.approx(
            expected
        )
    for each in shown:
        assert {"image", "truth"} <= set(each["tiles"])
        assert all(read_image(tiny_run / "pictures" / path).shape == (64, 64, 3) for path in each["tiles"].values())
    assert [each["kind"] for each in shown if each["of"] == "predictions"] == ["best", "median", "worst"]
