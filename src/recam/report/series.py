"""What a figure compares: the methods of one run, or several runs; and the colour of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import cycle

from recam.labels import ClassSet
from recam.report.figures import SERIES, light
from recam.report.reading import Outcome, ReportedRun

Runs = Sequence[ReportedRun]


def maps_note(runs: Runs) -> str:
    """At which threshold class maps are shown."""
    if any(run.has_background for run in runs):
        return "Class maps at the threshold that scores best."
    return "There is no background: each pixel is of the class of its largest map."


def list_outcomes(runs: Runs) -> Iterator[tuple[str, str, ReportedRun, Outcome]]:
    """(heading, colour, run, outcome): all outcomes of one run; of several the headline and the segmentation model of
    each."""
    for run in runs:
        chosen = run.outcomes if len(runs) == 1 else (run.headline, run.model)
        yield from _each(runs, run, chosen)


def choose_outcomes(runs: Runs) -> Iterator[tuple[str, str, ReportedRun, Outcome]]:
    """(heading, colour, run, outcome): of one run its baseline, pseudo masks (or the maps they come from) and
    segmentation model; else headlines."""
    for run in runs:
        yield from _each(runs, run, (run.headline,) if len(runs) > 1 else (run.baseline, run.headline, run.model))


def _each(
    runs: Runs, run: ReportedRun, chosen: Iterable[Outcome | None]
) -> Iterator[tuple[str, str, ReportedRun, Outcome]]:
    for found in {found.key: found for found in chosen if found}.values():
        heading = found.heading if len(runs) == 1 else f"{run.name}: {found.title}"
        yield heading, colour_of(runs, run, found), run, found


def classes_of(run: ReportedRun) -> ClassSet:
    """The classes of a run that has outcomes."""
    assert run.classes is not None, "what is scored has classes"
    return run.classes


def colour_of(runs: Runs, run: ReportedRun, found: Outcome) -> str:
    """By method in one run, by run among several."""
    if len(runs) > 1:
        return run_colour(runs, run)
    return light(fill_colours({each.key: each.colour for each in run.outcomes})[found.key])


def run_colour(runs: Runs, run: ReportedRun) -> str:
    """By place among the runs."""
    return light(SERIES[list(runs).index(run) % len(SERIES)])


def fill_colours(own: dict[str, str]) -> dict[str, str]:
    """The colours of labels, and the next free one for whatever has none that figures know."""
    taken = {colour for colour in own.values() if colour in SERIES}
    free = cycle([colour for colour in SERIES if colour not in taken] or SERIES)
    return {key: colour if colour in SERIES else next(free) for key, colour in own.items()}
