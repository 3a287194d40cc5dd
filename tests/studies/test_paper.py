"""Studies of the paper, run whole at tiny size in one workspace, so that they share what they have in common."""

import json
from dataclasses import replace

import pytest

from recam.evaluation.pixel_counts import read_image_scores
from recam.studies.run import run_study
from recam.studies.study import studies
from tiny_recipe import TINY

SHARED = {**TINY, "maps.scales": [1.0]}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return tmp_path_factory.mktemp("studies")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["losses", "errors"])
def test_a_study_runs_to_its_page(name, workspace):
    found = run_study(name, output=workspace, settings=SHARED, recipe="tiny")
    assert found.is_complete
    study = studies[name]()
    assert all(0 <= number <= 100 for numbers in found.values.values() for number in numbers)
    files = {path.name for path in found.output.iterdir()}
    assert files >= {"study.md", "study.csv", "study.json", "figure.svg", "figure.png", "figure.csv"}
    written = json.loads((found.output / "study.json").read_text())
    assert list(written["rows"]) == list(study.rows)
    page = (found.output / "study.md").read_text()
    assert all(heading in page for heading in ("- data:", "- seeds:", "- compute time:", "published"))


def shorter(monkeypatch, name, rows):
    """The study with a few of its rows, some settings laid over each."""
    study = studies[name]()
    kept = {row: {**study.rows[row], **own} for row, own in rows.items()}
    monkeypatch.setitem(studies._entries, name, lambda: replace(study, rows=kept))


@pytest.mark.slow
def test_gradients_are_recorded_along_real_trainings_on_classes_that_are_found(workspace, monkeypatch):
    options = {"seed": 6, "size": 64, "train": 40, "val": 12}
    rows = ("all classes, BCE", "confusable classes, BCE", "confusable classes, SCE")
    shorter(monkeypatch, "gradients", {row: {"cam.epochs": 2} for row in rows})
    found = run_study("gradients", output=workspace, settings={**SHARED, "data.options": options}, recipe="tiny")
    chosen = found.study.rows[rows[1]]["data.classes"]
    assert chosen == found.study.rows[rows[2]]["data.classes"]
    summary = found.summaries[rows[1], 0]
    assert summary.records["train/cam_gradients"]["inputs"]["classes"] == chosen
    for (row, title), (number,) in found.values.items():
        if title.startswith("target"):
            assert number < 0, (row, title)
        elif title.startswith("most"):
            assert number > 0, (row, title)
        else:
            assert 0 <= number <= 100
    drawn = {figure.name: figure.table for figure in found.figures}
    assert [row[:2] for row in drawn["gradients"][1:3]] == [
        ("confusable classes, BCE: target class", 1), ("confusable classes, BCE: target class", 2)
    ]  # fmt: skip
    assert len(drawn["same-logits"]) == 1 + 4 * 2
    assert drawn["gradients"][1][2] == found.values[rows[1], "target class, first epoch"][0]


@pytest.mark.slow
def test_pictures_are_chosen_by_the_numbers_that_they_state(workspace, monkeypatch):
    shorter(monkeypatch, "pictures", {row: {"refine": ["pamr"]} for row in ("CAM", "ReCAM")})
    found = run_study("pictures", output=workspace, settings=SHARED, recipe="tiny")
    drawn = {figure.name: figure.table for figure in found.figures}
    assert {"failures", "refined", "predictions"} <= set(drawn)
    worst = [max(row[3:5]) for row in drawn["failures"][1:]]
    assert worst == sorted(worst)
    scores = read_image_scores(found.summaries["CAM", 0].root / "scores/masks/images.csv")
    known = {row.id: 100 * row.miou for row in scores}
    what, image, before, after, gain = drawn["refined"][1]
    assert (what, before) == ("greatest gain", pytest.approx(known[image], abs=1e-4))
    assert gain == pytest.approx(after - before) == max(row[4] for row in drawn["refined"][1:])
    for name in drawn:
        assert (found.output / f"{name}.png").stat().st_size > 1000
