"""What studies are made of: settings relative to a recipe, settings left to the command, trainings that diverge,
numbers from counted pixels, figures."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recam.errors import RecipeError
from recam.evaluation.pixel_counts import save_tally
from recam.runfolder.summary import RunSummary
from recam.studies import run as module
from recam.studies.figures import over_epochs, over_setting, stacked
from recam.studies.measures import error_columns, label_group_miou
from recam.studies.result import StudyResult
from recam.studies.run import run_study
from recam.studies.study import MAPS, Column, Study, Times, studies
from recam.training.loop import TrainingError


def toy(**changed) -> Study:
    rows = {"a": {"cam.lr": Times(3)}, "b": {"data.classes": ["cow", "horse"]}}
    return replace(Study("A toy", "tiny", rows, (MAPS,), "masks"), **changed)


def test_a_rate_is_a_multiple_of_that_of_whatever_recipe():
    assert toy().settings_of("a", "tiny", {}) == {"cam.lr": 0.03}
    assert toy().settings_of("a", "recam", {}) == {"cam.lr": 0.3}
    assert toy().settings_of("a", "tiny", {"cam.epochs": 2}) == {"cam.lr": 0.03, "cam.epochs": 2}
    with pytest.raises(RecipeError, match=r"cam\.loss: the recipe has no number there"):
        toy(rows={"a": {"cam.loss": Times(2)}}).settings_of("a", "tiny", {})


def test_a_free_setting_of_the_command_holds_for_rows_without_it(monkeypatch, tmp_path):
    given = []
    monkeypatch.setattr(
        module, "run", lambda *arguments: given.append(arguments[3]) or RunSummary(tmp_path, (), (), {})
    )
    monkeypatch.setattr(module, "_facts", lambda *arguments: {})
    monkeypatch.setitem(studies._entries, "toy", lambda: toy(free=("data.classes",)))
    command = {"data.classes": ["cow", "horse", "bear"]}
    run_study("toy", output=tmp_path, settings=command)
    assert [each["data.classes"] for each in given] == [["cow", "horse", "bear"], ["cow", "horse"]]
    monkeypatch.setitem(studies._entries, "toy", toy)
    with pytest.raises(RecipeError, match=r"data\.classes is set by the study itself"):
        run_study("toy", output=tmp_path, settings=command)


def test_a_training_that_diverges_is_a_row_without_numbers(monkeypatch, tmp_path):
    def broken(data, recipe, folder, settings, until):
        if "cam.lr" in settings:
            raise TrainingError("train/cam: the loss is nan at step 3 of 9. Lower the learning rate.")
        return RunSummary(tmp_path, (), (), {})

    monkeypatch.setattr(module, "run", broken)
    monkeypatch.setattr(module, "_facts", lambda *arguments: {})
    monkeypatch.setitem(studies._entries, "toy", lambda: toy(may_diverge=True))
    found = run_study("toy", output=tmp_path)
    assert found.is_complete
    assert "- a, seed 0: train/cam: the loss is nan" in found.markdown
    assert found.values["a", MAPS.title] == (None,)
    monkeypatch.setitem(studies._entries, "toy", toy)
    with pytest.raises(TrainingError):
        run_study("toy", output=tmp_path)


def counted(folder: Path) -> RunSummary:
    """One class, thresholds 0.1 and 0.15, the first of which is the oracle's."""
    counts = np.zeros((3, 2, 2, 3), np.int64)
    counts[1, 0] = [[6, 2, 0], [1, 1, 0]]  # one label: TP 7, FP (background) 2, FN 1
    counts[2, 0] = [[4, 0, 0], [0, 6, 0]]
    counts[1, 1] = [[8, 0, 0], [2, 0, 0]]
    counts[2, 1] = [[4, 0, 0], [6, 0, 0]]
    (folder / "scores/cam").mkdir(parents=True)
    save_tally(folder / "scores/cam/cam.npz", counts, (0.1, 0.15))
    judged = {"oracle": {"threshold": 0.1, "miou": 0.5}, "otsu": None, "thresholds": [0.1, 0.15], "curve": [0.5, 0.3]}
    label = {"kind": "scores of maps", "sets": []}
    record = {"label": label, "results": {"images": 2, "maps": {"cam": judged}}, "seconds": 1, "peak_memory_mb": 1}
    return RunSummary(folder, (), (), {"scores/cam": record})


def test_numbers_from_counted_pixels_by_hand(tmp_path):
    summary = counted(tmp_path)
    assert label_group_miou("one label")(summary) == pytest.approx(100 * (6 / 9 + 1 / 4) / 2)
    assert label_group_miou("several labels")(summary) == pytest.approx(100)
    assert label_group_miou("no label")(summary) is None
    best = {column.title: column.measure(summary) for column in error_columns()}
    assert best == {"TP": 85, "FP (object)": 0, "FN": 5, "FP (background)": 10}
    above = {column.title: column.measure(summary) for column in error_columns(0.05, ", higher")}
    assert above == {
        "TP, higher": 60, "FP (object), higher": 0, "FN, higher": 40, "FP (background), higher": 0
    }  # fmt: skip


def test_without_scores_there_are_no_numbers(tmp_path):
    empty = RunSummary(tmp_path, (), (), {})
    assert label_group_miou("one label")(empty) is None
    assert [column.measure(empty) for column in error_columns()] == [None] * 4


def found(tmp_path, figure, columns=(MAPS,), **more) -> StudyResult:
    study = Study("Toy", "tiny", {"a": {}, "b": {}, "level": {}}, columns, figures=(figure,))
    values = {(row, column.title): (1.0, 3.0) for row in study.rows for column in columns}
    return StudyResult("toy", study, (0, 1), "recam study toy", values, {}, 1.0, tmp_path, 6, **more)


def test_a_figure_over_a_setting_holds_means_and_level(tmp_path):
    figure = over_setting({"a": ("ReCAM", 0.1), "b": ("ReCAM", 1.0)}, MAPS, "λ", reference="level")
    made = found(tmp_path, figure)
    (drawn,) = made.figures
    assert drawn.table[0][:2] == ("line", "λ")
    assert drawn.table[1] == ("ReCAM", 0.1, 2.0, pytest.approx(2**0.5), None)
    assert drawn.table[3][0] == "level"
    assert "λ" in drawn.svg
    made.save()
    assert (tmp_path / "figure.png").is_file()
    missing = StudyResult(
        "toy", made.study, (0, 1), "", {**made.values, ("a", MAPS.title): (None, 1.0)}, {}, 1.0, tmp_path, 6
    )
    assert missing.figures[0].table[1][2:] == (None, None, None)


def test_parts_of_a_whole(tmp_path):
    columns = tuple(Column(title, lambda summary: None) for title in ("TP", "FN"))
    (drawn,) = found(tmp_path, stacked(columns, "%"), columns).figures
    assert drawn.table[:2] == (("row", "TP", "FN"), ("a", 2.0, 2.0))


def test_curves_are_means_over_the_seeds(tmp_path):
    runs = {("a", seed): RunSummary(Path(str(seed)), (), (), {}) for seed in (0, 1)}
    figure = over_epochs("curves", "Losses", "loss", lambda run: {"bce": [int(str(run.root)) + 1.0, 0.5]})
    (drawn,) = found(tmp_path, figure, summaries=runs).figures
    assert drawn.table[1:] == (("a: bce", 1, 1.5, pytest.approx(0.5**0.5)), ("a: bce", 2, 0.5, 0.0))
    assert found(tmp_path, over_epochs("curves", "", "", lambda run: {}), summaries=runs).figures == []
