"""What a figure compares: the methods of one run, or several runs; and the colour of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from recam.labels import ClassSet
from recam.report.figures import SERIES, light
from recam.report.reading import Outcome, RunView

Runs = Sequence[RunView]
AT_ORACLE = "Class maps at the threshold that scores best."


def list_outcomes(runs: Runs) -> Iterator[tuple[str, str, RunView, Outcome]]:
    """(label, colour, run, outcome): all outcomes of one run; of several the headline and the segmentation model of
    each."""
    for run in runs:
        if len(runs) == 1:
            chosen = run.outcomes
        else:
            chosen = [found for found in (run.headline, run.find("predictions/pseudo")) if found]
        for found in dict.fromkeys(found.key for found in chosen):
            yield _labelled(runs, run, found)


def choose_outcomes(runs: Runs) -> Iterator[tuple[str, str, RunView, Outcome]]:
    """(label, colour, run, outcome): of one run CAM, pseudo masks (or the maps they come from) and segmentation model;
    else headlines."""
    for run in runs:
        if len(runs) > 1:
            keys = [run.headline.key] if run.headline else []
        else:
            keys = ["cam", run.headline.key if run.headline else "", "predictions/pseudo"]
        for key in dict.fromkeys(keys):
            if run.find(key):
                yield _labelled(runs, run, key)


def _labelled(runs: Runs, run: RunView, key: str) -> tuple[str, str, RunView, Outcome]:
    found = run.find(key)
    assert found is not None
    return (found.title if len(runs) == 1 else f"{run.name}: {found.title}"), colour_of(runs, run, found), run, found


def classes_of(run: RunView) -> ClassSet:
    """The classes of a run that has outcomes."""
    assert run.classes is not None, "what is scored has classes"
    return run.classes


def colour_of(runs: Runs, run: RunView, found: Outcome) -> str:
    """By method in one run, by run among several."""
    return light(found.kind) if len(runs) == 1 else run_colour(runs, run)


def run_colour(runs: Runs, run: RunView) -> str:
    """By place among the runs."""
    return light(SERIES[list(runs).index(run) % len(SERIES)])
