"""Results as DataFrames; without pandas an error that says what to install."""

import sys

import numpy as np
import pytest

from recam.errors import DependencyError
from recam.evaluation.metrics import ConfusionMatrix
from recam.frames import as_frame
from recam.labels import ClassSet
from recam.runfolder.runs import RunEntry, list_runs
from recam.runfolder.store import open_run
from recam.runfolder.summary import summarise

REASON = "an extra is not installed: recam[tools]"


def summary_of(run):
    folder = open_run(run)
    return summarise(folder, tuple(folder.keys))


def test_scores_of_a_run(tiny_run):
    pytest.importorskip("pandas", reason=REASON)
    summary = summary_of(tiny_run)
    frame = summary.to_frame().set_index("stage")
    assert list(frame.index) == ["scores/cam", "scores/recam", "scores/masks", "predictions/pseudo"]
    scored = summary.records["scores/masks"]["results"]["scores"]
    assert frame.loc["scores/masks", "miou"] == scored["miou"]
    assert frame.loc["scores/masks", "boundary_iou"] == scored["boundary_iou"]
    oracle = summary.records["scores/cam"]["results"]["maps"]["cam"]["oracle"]
    assert list(frame.loc["scores/cam", ["miou", "threshold"]]) == [oracle["miou"], oracle["threshold"]]
    assert np.isnan(frame.loc["scores/cam", "f1"])
    by_class = summary.to_frame(per_class=True)
    masks = by_class[by_class["stage"] == "scores/masks"].set_index("class")["iou"]
    assert masks["cow"] == scored["iou"]["cow"]
    assert len(masks) == 11


def test_scores_of_folders_and_lists_of_runs(tiny_run):
    pytest.importorskip("pandas", reason=REASON)
    matrix = ConfusionMatrix(ClassSet(("cow", "horse")))
    matrix.update(np.array([[1, 1, 0]], np.uint8), np.array([[1, 0, 0]], np.uint8))
    frame = matrix.scores().to_frame()
    assert list(frame["class"]) == ["background", "cow", "horse"]
    assert list(frame["iou"][:2]) == [0.5, 0.5]
    assert np.isnan(frame["iou"][2])
    runs = list_runs(tiny_run).to_frame()
    assert list(runs.columns) == list(RunEntry.__dataclass_fields__)
    assert runs["masks_miou"][0] == summary_of(tiny_run).as_dict()["masks"]["miou"]


def test_a_table_without_rows_has_its_columns():
    pandas = pytest.importorskip("pandas", reason=REASON)
    frame = as_frame([], ("a", "b"))
    assert isinstance(frame, pandas.DataFrame)
    assert (list(frame.columns), len(frame)) == (["a", "b"], 0)


def test_without_pandas_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(DependencyError, match="a DataFrame needs pandas: pip install pandas"):
        as_frame([], ("a",))
