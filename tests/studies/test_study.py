"""Studies: rows times seeds, shared stages made once, a page that states its command, resumed when cut short."""

import csv
import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

import recam
from recam.cli import app
from recam.errors import RecipeError
from recam.recipe.toml import parse_setting, setting_text
from recam.runfolder.summary import RunSummary
from recam.studies import run as module
from recam.studies.result import StudyResult, spread
from recam.studies.run import list_studies, run_study
from recam.studies.study import MAPS, MINUTES, MODEL, Column, Study, studies, total_minutes
from tiny_recipe import TINY

ROWS = {"CAM": {"training": "cam"}, "w′": {"maps.weighting": "w_prime"}, "w": {"maps.weighting": "w"}}
SHARE = Column("share of CAM's", MAPS.measure, 2, unit="CAM")
TOY = Study("A toy", "tiny", ROWS, (MAPS, SHARE, MINUTES), "masks", {"CAM": {MAPS.title: 48.8}}, "VOC")


@pytest.fixture
def toy(monkeypatch):
    assert len(studies)
    monkeypatch.setitem(studies._entries, "toy", lambda: TOY)


def command(*words) -> list[str]:
    return [*map(str, words), *(word for item in TINY.items() for word in ("--set", setting_text(*item)))]


def test_spread_by_hand():
    assert spread((1.0, 3.0), 2) == "2.00 ± 1.41"
    assert spread((1.25,), 1) == "1.2"
    assert spread((1.0, None), 2) == "–"
    assert spread((), 2) == "–"


def test_minutes_are_those_of_the_masks_and_of_all_that_they_build_on():
    def record(seconds, kind, *reads):
        return {"seconds": seconds, "label": {"kind": kind}, "inputs": {"inputs": dict.fromkeys(reads, "key")}}

    records = {
        "train/cam": record(240, "classifier"),
        "maps/cam": record(60, "maps", "train/cam"),
        "refined/cam+crf": record(30, "refined maps", "maps/cam"),
        "masks": record(15, "masks", "refined/cam+crf"),
        "scores/masks": record(999, "scores of masks", "masks"),
        "segment/pseudo": record(999, "segmenter", "masks"),
        "pictures": record(999, "pictures", "segment/pseudo"),
    }

    def minutes(*without):
        kept = {name: each for name, each in records.items() if name not in without}
        return total_minutes(RunSummary(Path("run"), (), (), kept))

    assert minutes() == minutes("scores/masks") == (240 + 60 + 30 + 15) / 60
    assert minutes("scores/masks", "segment/pseudo", "pictures", "masks") == (240 + 60 + 30) / 60
    assert minutes(*records) is None


@pytest.mark.parametrize("name", sorted(studies))
def test_every_study_names_settings_that_exist(name):
    from recam.recipe.recipe import load_recipe

    study = studies[name]()
    assert study.rows
    assert all(column.unit in ("", *study.rows) for column in study.columns)
    assert set(study.published) <= set(study.rows)
    for row in study.rows:
        load_recipe(study.recipe, study.settings_of(row, study.recipe, {}))
        assert set(study.published.get(row, {})) <= {column.title for column in study.columns}


@pytest.mark.parametrize(
    ("name", "row", "title", "number"),
    [
        ("weights", "w ⊗ w′", MAPS.title, 54.8),
        ("refinement", "ReCAM + IRN", MAPS.title, 70.9),
        ("refinement", "CAM + AdvCAM", "time, in units of CAM's", 316.3),
        ("losses", "SCE", MAPS.title, 44.6),
        ("segmentation", "ReCAM + IRN, DeepLabV2", MODEL.title, 68.7),
        ("segmentation", "CAM + AdvCAM + IRN, UperNet", MODEL.title, 70.2),
        ("segmentation", "ReCAM + AdvCAM, DeepLabV3+", MODEL.title, 58.3),
        ("errors", "ReCAM", "FN", 6.7),
        ("errors", "ReCAM", "FN, 0.05 higher", 8.4),
        ("lambda", "λ = 1", MAPS.title, 54.8),
    ],
)
def test_published_numbers_of_the_paper(name, row, title, number):
    assert studies[name]().published[row][title] == number


def test_without_a_name_all_studies_are_listed():
    ran = CliRunner().invoke(app, ["study"])
    assert ran.exit_code == 0
    assert str(list_studies()) in ran.output
    assert "Table 1, lower half: weights of the class maps (5 rows, recipe recam-cpu)" in ran.output
    listed = json.loads(CliRunner().invoke(app, ["study", "--json"]).output)
    assert sorted(listed) == sorted(studies)
    assert listed["refinement"]["rows"][0] == "CAM"


def test_mistakes_are_found_before_any_run(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "run", lambda *arguments: pytest.fail("it ran"))
    with pytest.raises(RecipeError, match=r"unknown study 'weihgts'.*Did you mean 'weights'"):
        run_study("weihgts", output=tmp_path)
    with pytest.raises(RecipeError, match=r"maps.weighting is set by the study itself, row by row; seed is set"):
        run_study("toy", output=tmp_path, settings=["maps.weighting=w", "seed=3", "cam.epochs=1"])
    with pytest.raises(RecipeError, match="needs at least one seed"):
        run_study("toy", output=tmp_path, seeds=0)
    rows = {**ROWS, "wrong": {"cam.epoch": 1}, "worse": {"recam.lamda": 1}}
    monkeypatch.setitem(studies._entries, "toy", lambda: replace(TOY, rows=rows))
    with pytest.raises(RecipeError, match=r"row wrong: (?s:.*)'epochs'(?s:.*)row worse: (?s:.*)recam.lamda"):
        run_study("toy", output=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("text", "seeds"), [("3", 3), ("0,1,2", [0, 1, 2]), ("4,", [4]), ("7, 9", [7, 9])])
def test_seeds_on_the_command_line(monkeypatch, text, seeds):
    calls = []
    monkeypatch.setattr(recam, "run_study", lambda *arguments: calls.append(arguments), raising=False)
    CliRunner().invoke(app, ["study", "weights", "--seeds", text])
    assert calls[0][3] == seeds


@pytest.mark.parametrize("text", ["three", "1.5", "", ",", "-1", "0,-2"])
def test_seeds_that_are_none_are_refused(text):
    with pytest.raises(RecipeError, match="--seeds"):
        CliRunner().invoke(app, ["study", "weights", f"--seeds={text}"], catch_exceptions=False)


def result(tmp_path, values) -> StudyResult:
    study = Study("Toy | of two", "tiny", {"=a": {}, "b": {"cam.epochs": 2}}, (MAPS,), None, {"b": {MAPS.title: 50.0}})
    found = {("=a", MAPS.title): values, ("b", MAPS.title): (2.0, 4.0)}
    return StudyResult("toy", study, (0, 5), "recam study toy", found, {"data": "scenes:"}, 1.5, tmp_path, 4)


def test_page_table_and_figure_of_a_result(tmp_path):
    found = result(tmp_path, (10.0, 20.0))
    found.save()
    page = (tmp_path / "study.md").read_text()
    assert "| =a | 15.00 ± 7.07 |  |\n| b | 3.00 ± 1.41 | 50.0 |" in page
    assert "- compute time: 1.5 minutes" in page
    assert "- seeds: 0, 5;" in page
    assert "- b: `cam.epochs=2`" in page
    assert "](figure.svg)" in page
    rows = list(csv.DictReader((tmp_path / "study.csv").open(newline="")))
    assert [row["value"] for row in rows] == ["10.0", "20.0", "2.0", "4.0"]
    assert rows[0]["row"] == "'=a", "no formula for a spreadsheet"
    assert rows[2]["published"] == "50.0"
    assert (tmp_path / "figure.png").stat().st_size > 1000
    assert "published" in (tmp_path / "figure.svg").read_text()
    assert json.loads((tmp_path / "study.json").read_text()) == found.as_dict()


def test_a_number_that_is_missing_is_a_dash_and_draws_no_point(tmp_path):
    found = result(tmp_path, (10.0, None))
    assert "| =a | – |  |" in found.markdown
    assert found.figures[0].table[1][1:] == (None, None, None)


@pytest.mark.slow
def test_from_the_command_line_to_the_page_and_again(toy, tmp_path, monkeypatch):
    """Cut short after the second run, resumed by the same command, and then nothing to do."""
    words = command("study", "toy", "--seeds", "3,", "-o", tmp_path)
    runs = []

    def broken(*arguments):
        if len(runs) == 2:
            raise KeyboardInterrupt
        runs.append(recam.pipeline.run.run(*arguments))
        return runs[-1]

    monkeypatch.setattr(module, "run", broken)
    CliRunner().invoke(app, words)
    page = (tmp_path / "toy" / "study.md").read_text()
    assert "not finished: 2 of 3 runs" in page
    assert "| w | – |" in page
    assert not (tmp_path / "toy" / "figure.svg").exists()
    monkeypatch.undo()
    monkeypatch.setitem(studies._entries, "toy", lambda: TOY)

    ran = CliRunner().invoke(app, words, catch_exceptions=False)
    assert ran.exit_code == 0
    page = (tmp_path / "toy" / "study.md").read_text()
    assert page in ran.output
    assert "not finished" not in page
    assert "- data: scenes:, options=" in page
    trained = [tmp_path / "runs" / f"toy-{n:02d}-seed-3" / "train/cam/weights.safetensors" for n in (1, 2, 3)]
    assert len({path.stat().st_ino for path in trained}) == 1, "one training for three rows, by hard links"
    written = json.loads((tmp_path / "toy" / "study.json").read_text())
    assert written["complete"]
    assert written["seeds"] == [3]
    values = {row: found["values"] for row, found in written["rows"].items()}
    assert values["CAM"][SHARE.title] == [1.0]
    assert values["w"][SHARE.title] == [values["w"][MAPS.title][0] / values["CAM"][MAPS.title][0]]
    assert 0 < written["minutes"] < sum(found[MINUTES.title][0] for found in values.values()) + 5
    assert {path.name for path in (tmp_path / "toy").iterdir()} == {
        "study.md", "study.csv", "study.json", "figure.svg", "figure.png", "figure.csv"
    }  # fmt: skip

    (line,) = [line for line in page.splitlines() if "recam study" in line]
    again = shlex.split(line)
    assert again[:7] == ["recam", *words[:6]]
    assert dict(map(parse_setting, again[8::2])) == TINY
    made = []
    monkeypatch.setattr(module, "run", lambda *arguments: made.append(recam.pipeline.run.run(*arguments)) or made[-1])
    CliRunner().invoke(app, again[1:], catch_exceptions=False)
    assert [summary.made for summary in made] == [()] * 3
