import json
from collections.abc import Sequence

import pytest

from recam.report import charts, class_charts, figures


def _hashable(value):
    return tuple(map(_hashable, value)) if isinstance(value, Sequence) and not isinstance(value, str) else value


@pytest.fixture(scope="session")
def _drawn():
    return {}


@pytest.fixture(autouse=True)
def _figures_are_drawn_once(_drawn, monkeypatch):
    """Most of a report's time goes by its figures, and most reports here are of the same run: one with the same title,
    numbers and size is taken from the test before."""

    def draw(name, title, note, table, paint, *size, **columns):
        key = (name, title, note, _hashable(table), size, *columns.items())
        if key not in _drawn:
            _drawn[key] = figures.draw(name, title, note, table, paint, *size, **columns)
        return _drawn[key]

    for module in (charts, class_charts):
        monkeypatch.setattr(module, "draw", draw)


@pytest.fixture
def stop_after():
    """``stop_after(run, "train/cam")``: leave what a run would hold had it been stopped after that stage."""

    def stop(run, last):
        stages = list(json.loads((run / "run.json").read_text())["stages"])
        for name in stages[stages.index(last) + 1 :]:
            (run / name / "stage.json").unlink(missing_ok=True)
        return run

    return stop
