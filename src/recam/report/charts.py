"""Figures of a run as a whole: its scores, thresholds, losses and costs.

Each takes one run or several and returns a figure, or None where there is nothing to show. With one run a figure
compares methods, with several it compares runs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

from recam.report.figures import Cell, Figure, draw, legend_below, light
from recam.report.reading import Outcome, ReportedRun
from recam.report.series import Runs, colour_of, fill_colours, maps_note, run_colour
from recam.runfolder.kinds import CLASSIFIER, REFINER_NETWORK, SEGMENTER

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DOTTED = (0, (1.5, 1.5))
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), _DOTTED, (0, (6, 1.5, 1.5, 1.5)))
_MARKS = {"oracle": "o", "otsu": "D", "recipe": "s"}
_LOSSES = {
    CLASSIFIER: ("classifier", "Loss of the classifiers"),
    REFINER_NETWORK: ("refiner", "Loss of the refiners' networks"),
    SEGMENTER: ("segmentation", "Loss of the segmentation model"),
}
"""Name and title of the figure of losses, by kind of stage."""
_NO_LOSSES = ("epoch", "images_per_second", "val_miou", "held_out_map")
"""What the history of a training holds besides losses."""
_NO_LOSS = "gradient_"
"""What its other numbers begin with that are none."""


def _is_loss(part: str) -> bool:
    return part not in _NO_LOSSES and not part.startswith(_NO_LOSS)


def score_ladder(runs: Runs) -> Figure | None:
    """mIoU of everything that was scored, in the order in which it was made."""
    keys = _keys(runs)
    if not keys:
        return None
    units = {run.baseline.title if run.baseline else "the first maps" for run in runs}
    unit = units.pop() if len(units) == 1 else "the first maps of each"
    table: list[tuple[Cell, ...]] = [("result", "run", "images", "cumulative minutes", f"in units of {unit}", "mIoU")]
    table += [
        (found.heading, run.name, found.images, found.minutes, found.cost, found.miou)
        for key in keys
        for run, found in _found(runs, key)
    ]

    def paint(axes: Axes) -> None:
        for row, key in enumerate(keys):
            for run, found in _found(runs, key):
                if found.miou is None:
                    continue
                value, colour = 100 * found.miou, colour_of(runs, run, found)
                if len(runs) == 1:
                    axes.hlines(row, 0, value, color=colour, linewidth=2.2)
                    axes.annotate(f"{value:.1f}", (value, row), (7, 0), textcoords="offset points", va="center")
                axes.plot(
                    value,
                    row,
                    "o",
                    color=colour,
                    markersize=7,
                    label=run.name if row == _first_row(runs, keys, run) else None,
                )
        titles = {key: found for key in keys for _, found in _found(runs, key)}
        labels = [titles[key].heading + (_minutes(titles[key].minutes) if len(runs) == 1 else "") for key in keys]
        axes.set_yticks(range(len(keys)), labels)
        axes.set_ylim(len(keys) - 0.4, -0.6)
        axes.set_xlim(0, min(100, 1.18 * max((100 * (found.miou or 0) for found in titles.values()), default=1) + 1))
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("mIoU, %")
        if len(runs) > 1:
            legend_below(axes, 3)

    note = "In the order of the run, with the cumulative compute time of all upstream stages. " + maps_note(runs)
    height = 0.9 + 0.3 * len(keys) + (0.3 if len(runs) > 1 else 0)
    return (
        draw(
            "scores",
            "Scores, step by step",
            note if len(runs) == 1 else maps_note(runs),
            table,
            paint,
            height,
        )
        if keys
        else None
    )


def _minutes(minutes: float | None) -> str:
    return "" if minutes is None else f" · {minutes:.1f} min"


def threshold_curves(runs: Runs) -> Figure | None:
    """mIoU over the threshold, with the thresholds that were chosen."""
    lines: list[tuple[str, ReportedRun, Outcome]] = []
    for run in (run for run in runs if run.has_background):
        several = len(runs) > 1
        shown = [found for found in run.maps if not several or found is run.baseline or found.key == run.masked_from[0]]
        lines += [(f"{run.name}: {found.title}" if several else found.heading, run, found) for found in shown]
    if not lines:
        return None
    header = ("maps", "threshold", "mIoU", "used as")
    table: list[tuple[Cell, ...]] = [header]
    for label, _, found in lines:
        used = {kind: found.judged[kind]["threshold"] for kind in _MARKS if found.judged.get(kind)}
        for threshold, miou in zip(found.judged["thresholds"], found.judged["curve"], strict=True):
            table.append((label, threshold, miou, " ".join(kind for kind, at in used.items() if at == threshold)))

    def paint(axes: Axes) -> None:
        drawn: dict[str, int] = {}
        for label, run, found in lines:
            colour = colour_of(runs, run, found)
            drawn[colour] = drawn.get(colour, -1) + 1
            judged, dashes = found.judged, _DASHES[drawn[colour] % len(_DASHES)]
            if len(runs) > 1:
                dashes = _DOTTED if found is run.baseline else _DASHES[0]
            axes.plot(
                judged["thresholds"],
                [math.nan if miou is None else 100 * miou for miou in judged["curve"]],
                color=colour,
                linestyle=dashes,
                label=label,
            )
            for kind, mark in _MARKS.items():
                if judged.get(kind) and judged[kind]["miou"] is not None:
                    place = judged[kind]["threshold"], 100 * judged[kind]["miou"]
                    axes.plot(
                        *place,
                        mark,
                        color=light("paper"),
                        markeredgecolor=colour,
                        markeredgewidth=1.7,
                        markersize=6.5,
                        zorder=3,
                    )
        for kind, mark in _MARKS.items():
            name = "Otsu" if kind == "otsu" else kind
            axes.plot(
                [], [], mark, color=light("paper"), label=name, markeredgecolor=light("muted"), markeredgewidth=1.5
            )
        axes.set(xlim=(0, 1), ylim=(0, None), xlabel="threshold", ylabel="mIoU, %")
        legend_below(axes, 3 if len(lines) <= 3 and len(runs) == 1 else 2)

    note = "Oracle: best on the true masks. Otsu: found without any mask. Recipe: the one in the settings."
    return draw(
        "thresholds", "mIoU over the threshold", note, table, paint, 3.5 + 0.17 * math.ceil((len(lines) + 3) / 2)
    )


def losses(runs: Runs) -> Iterator[Figure]:
    """Losses by epoch, a figure for each kind of training."""
    lines = [(run, stage, str(run.label(stage).get("kind", ""))) for run in runs for stage in run.histories]
    for kind in dict.fromkeys(kind for _, _, kind in lines):
        slug = re.sub(r"[^a-z0-9]+", "-", kind.lower()).strip("-")
        name, title = _LOSSES.get(kind, (slug or "other", f"Loss: {kind or 'other trainings'}"))
        yield _losses(runs, f"loss-{name}", title, [(run, stage) for run, stage, of in lines if of == kind])


def _losses(runs: Runs, name: str, title: str, lines: list[tuple[ReportedRun, str]]) -> Figure:
    curves: list[tuple[str, str, Any, int, list[float]]] = []
    single = len(runs) == 1
    stages = list(dict.fromkeys(stage for _, stage in lines))
    colours = fill_colours({stage: str(run.label(stage).get("colour", "")) for run, stage in lines})
    for run, stage in lines:
        epochs, start = run.histories[stage], run.first_epoch(stage)
        colour = light(colours[stage]) if single else run_colour(runs, run)
        heading = run.title(stage) if single else f"{run.name}: {run.title(stage)}"
        parts = list(filter(_is_loss, epochs[0])) if single else ["loss"]
        dashes = cycle(_DASHES) if single else iter([_DASHES[stages.index(stage) % len(_DASHES)]])
        for part in sorted(parts, key=lambda each: each != "loss"):
            if all(epoch.get(part) is not None for epoch in epochs):
                label = heading if part == "loss" else f"{heading}: {part}"
                curves.append((label, colour, next(dashes), start, [epoch[part] for epoch in epochs]))

    def paint(axes: Axes) -> None:
        for label, colour, dashes, start, values in curves:
            epochs = range(start + 1, start + len(values) + 1)
            axes.plot(
                epochs,
                values,
                color=colour,
                linestyle=dashes,
                marker="o" if len(values) < 12 else None,
                markersize=4,
                label=label,
            )
        axes.set(xlabel="epoch", ylabel="mean loss per epoch", ylim=(0, None))
        axes.locator_params(axis="x", integer=True)
        legend_below(axes)

    table: list[tuple[Cell, ...]] = [("training", "epoch", "loss")]
    table += [
        (label, start + epoch, value)
        for label, _, _, start, values in curves
        for epoch, value in enumerate(values, start=1)
    ]
    continued = any(start for _, _, _, start, _ in curves)
    note = "A training that starts from another one is drawn from the last epoch of that one on." if continued else ""
    return draw(name, title, note, table, paint, 3.3 + 0.17 * math.ceil(len(curves) / 2))


def costs(runs: Runs) -> Figure | None:
    """Minutes and peak memory of each stage."""
    stages = list(dict.fromkeys(name for run in runs for name in run.records))
    if not stages:
        return None
    table: list[tuple[Cell, ...]] = [("stage", "run", "minutes", "peak memory, MiB", "peak GPU memory, MiB", "resumed")]
    for stage in stages:
        for run in runs:
            if record := run.records.get(stage):
                costs = record.get("peak_memory_mb"), record.get("peak_gpu_mb")
                table.append(
                    (stage, run.name, record["seconds"] / 60, *costs, "yes" if record.get("resumed") else "no")
                )

    def paint(time: Axes, memory: Axes) -> None:
        thick = 0.66 / len(runs)
        for number, run in enumerate(runs):
            colour = light("blue") if len(runs) == 1 else run_colour(runs, run)
            places = [row + (number - (len(runs) - 1) / 2) * thick for row in range(len(stages))]
            minutes = [run.records[stage]["seconds"] / 60 if stage in run.records else 0 for stage in stages]
            peaks = [run.records.get(stage, {}).get("peak_memory_mb") or 0 for stage in stages]
            for axes, values, form in ((time, minutes, "{:.1f}"), (memory, peaks, "{:.0f}")):
                axes.barh(places, values, thick * 0.92, color=colour, label=run.name if axes is time else None)
                for place, value in zip(places, values, strict=True) if len(runs) == 1 else ():
                    if value:
                        axes.annotate(
                            form.format(value),
                            (value, place),
                            (4, 0),
                            textcoords="offset points",
                            va="center",
                            fontsize=8.5,
                        )
        time.set_yticks(range(len(stages)), stages)
        time.set(ylim=(len(stages) - 0.4, -0.6), xlabel="minutes")
        memory.set_xlabel("peak memory, MiB")
        for axes in (time, memory):
            axes.grid(axis="y", visible=False)
            axes.spines["left"].set_visible(False)
            axes.set_xlim(0, axes.get_xlim()[1] * 1.16)
            axes.locator_params(axis="x", nbins=4)
        if len(runs) > 1:
            legend_below(time, 3)

    note = "Peak memory of the main process and its workers together."
    return draw(
        "costs",
        "Time and memory",
        note,
        table,
        paint,
        0.9 + 0.27 * len(stages) * (1 + 0.25 * (len(runs) - 1)),
        columns=2,
    )


def _keys(runs: Runs) -> list[str]:
    return list(dict.fromkeys(found.key for run in runs for found in run.outcomes))


def _found(runs: Runs, key: str) -> list[tuple[ReportedRun, Outcome]]:
    return [(run, found) for run in runs if (found := run.find(key))]


def _first_row(runs: Runs, keys: Sequence[str], run: ReportedRun) -> int:
    return next((row for row, key in enumerate(keys) if run.find(key)), -1)
