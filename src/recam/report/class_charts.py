"""Figures of classes and pixels: per-class IoU, errors and confusion. As in `recam.report.charts`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import astuple
from typing import TYPE_CHECKING

import numpy as np

from recam.evaluation.metrics import ERROR_NAMES, error_split
from recam.report.figures import WIDTH, Cell, Figure, draw, legend_below, light
from recam.report.reading import Outcome, ReportedRun
from recam.report.series import Runs, choose_outcomes, classes_of, list_outcomes, maps_note

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ERRORS = (
    ("missed", "FN: predicted as background", "blue"),
    ("confused", "FP: another class", "amber"),
    ("false_alarm", "FP: background predicted as a class", "orange"),
)


def class_scores(runs: Runs) -> Figure | None:
    """Per-class IoU of the baseline, pseudo masks and segmentation model; or of the headline of each run."""
    series = list(choose_outcomes(runs))
    scored = [
        (label, colour, scores.iou) for label, colour, run, found in series if (scores := found.scores(classes_of(run)))
    ]
    if not scored or len({classes_of(run).names for run in runs if run.classes}) != 1:
        return None
    classes = classes_of(series[0][2])
    names = classes.mask_names[0 if classes.background else 1 :]
    order = sorted(range(len(names)), key=lambda index: -_known(scored[-1][2][index]))
    table = [
        ("class", *(label for label, _, _ in scored)),
        *((names[i], *(_or_none(iou[i]) for _, _, iou in scored)) for i in order),
    ]

    def paint(axes: Axes) -> None:
        for row, index in enumerate(order):
            values = [100 * iou[index] for _, _, iou in scored if not math.isnan(iou[index])]
            if values:
                axes.hlines(row, min(values), max(values), color=light("line"), linewidth=2.5, zorder=1)
        for number, (label, colour, iou) in enumerate(scored):
            rows = [row for row, index in enumerate(order) if not math.isnan(iou[index])]
            values = [100 * iou[order[row]] for row in rows]
            hollow = number == 0 and len(scored) > 1
            axes.scatter(
                values,
                rows,
                38,
                color=light("paper") if hollow else colour,
                edgecolor=colour,
                linewidth=1.6,
                label=label,
                zorder=2,
            )
        axes.set_yticks(range(len(order)), [names[index] for index in order])
        axes.set(ylim=(len(order) - 0.4, -0.6), xlim=(-2, 100), xlabel="IoU, %")
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        legend_below(axes)

    note = f"Sorted by {scored[-1][0]}. {maps_note(runs)}"
    return draw("classes", "Per-class IoU", note, table, paint, 1.2 + 0.235 * len(order))


def error_shares(runs: Runs) -> Figure | None:
    """Wrong pixels by kind of error, after Table S3."""
    rows = [
        (label, error_split(found.total))
        for label, _, _, found in list_outcomes(runs)
        if found.total is not None and found.total.any()
    ]
    if not rows:
        return None
    right, *others = ERROR_NAMES.values()
    table = [("result", f"{right}, pixels", *others), *((label, *astuple(split)) for label, split in rows)]
    parts = [split.shares for _, split in rows]
    widest = max(100 * sum(part[name] for name, _, _ in _ERRORS) for part in parts)

    def paint(axes: Axes) -> None:
        for number, (name, label, colour) in enumerate(_ERRORS):
            shares = [100 * part[name] for part in parts]
            before = [100 * sum(part[other] for other, _, _ in _ERRORS[:number]) for part in parts]
            axes.barh(
                range(len(rows)),
                shares,
                0.58,
                left=before,
                color=light(colour),
                label=label,
                edgecolor=light("paper"),
                linewidth=0.8,
            )
            for row, (share, left) in enumerate(zip(shares, before, strict=True)):
                if share > 0.08 * widest:
                    axes.text(
                        left + share / 2,
                        row,
                        f"{share:.1f}",
                        ha="center",
                        va="center",
                        color=light("paper"),
                        fontsize=8.5,
                    )
        axes.set_yticks(range(len(rows)), [label for label, _ in rows])
        axes.set(ylim=(len(rows) - 0.4, -0.6), xlabel="% of all pixels")
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        legend_below(axes, 1)

    note = (
        "The two flaws of class maps (Table S3 of the paper): missing pixels are FN, extra ones FP. The rest is right."
    )
    return draw("errors", "Wrong pixels by kind of error", note, table, paint, 1.75 + 0.3 * len(rows))


def label_groups(runs: Runs) -> Figure | None:
    """mIoU on images with one label and with several, after Fig. 6b."""
    rows: list[tuple[str, str, float | None, float | None]] = []
    for label, colour, run, found in list_outcomes(runs):
        single, several = (
            scores.miou if (scores := found.scores(classes_of(run), group)) else None for group in (1, 2)
        )
        if single is not None or several is not None:
            rows.append((label, colour, single, several))
    if not rows:
        return None
    table: list[tuple[Cell, ...]] = [
        ("result", "one label, mIoU", "several labels, mIoU"),
        *((row[0], row[2], row[3]) for row in rows),
    ]

    def paint(axes: Axes) -> None:
        for number, (_, colour, single, several) in enumerate(rows):
            if single is not None and several is not None:
                axes.plot([100 * single, 100 * several], [number, number], color=colour, linewidth=2, zorder=1)
            for value, fill in ((single, light("paper")), (several, colour)):
                if value is not None:
                    axes.scatter(100 * value, number, 46, color=fill, edgecolor=colour, linewidth=1.8, zorder=2)
        for fill, name in ((light("paper"), "images with one label"), (light("muted"), "images with several labels")):
            axes.scatter([], [], 46, color=fill, edgecolor=light("muted"), linewidth=1.6, label=name)
        axes.set_yticks(range(len(rows)), [row[0] for row in rows])
        axes.set(ylim=(len(rows) - 0.4, -0.6), xlabel="mIoU, %")
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        legend_below(axes, 2)

    note = "As in Fig. 6b of the paper; mIoU over the classes that occur in the images of each group."
    return draw("labels", "Images with one label and with several", note, table, paint, 1.4 + 0.3 * len(rows))


def confusions(runs: Runs) -> Iterator[Figure]:
    """Confusion matrices: of one run its pseudo masks and its segmentation model, of several the headline of each."""
    for run in runs:
        wanted = [run.headline, run.model] if len(runs) == 1 else [run.headline]
        for key in dict.fromkeys(found.key for found in wanted if found and found.total is not None):
            found = run.find(key)
            assert found is not None
            yield _confusion(runs, run, found)


def _confusion(runs: Runs, run: ReportedRun, found: Outcome) -> Figure:
    classes, counts = classes_of(run), found.total
    assert counts is not None
    names = classes.mask_names
    if not classes.background:  # masks of other programs may hold 0 all the same: it counts as ignore
        names, counts = names[1:], np.concatenate([counts[1:, 1:-1], counts[1:, -1:] + counts[1:, :1]], 1)
    predicted = [*names, *(["ignore"] if counts[:, -1].any() else [])]
    shares = counts[:, : len(predicted)] / counts.sum(1, keepdims=True).clip(min=1)
    many = len(names) > 24
    least = 0.02 if many else 0.005  # a matrix of 81 classes would otherwise be megabytes of invisible cells

    def paint(axes: Axes) -> None:
        from matplotlib.patches import Rectangle

        for row in range(len(names)):
            for column in range(len(predicted)):
                share = float(shares[row, column])
                if share >= least:
                    colour = light("teal" if row == column else "orange")
                    axes.add_patch(
                        Rectangle(
                            (column - 0.5, row - 0.5),
                            1,
                            1,
                            facecolor=colour,
                            alpha=0.08 + 0.92 * share**0.8,
                            linewidth=0,
                        )
                    )
                    if len(names) <= 12 and share >= 0.05:
                        ink = light("paper" if share > 0.55 else "ink")
                        axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=7.5, color=ink)
        size = 5 if many else 8.5
        axes.set_xticks(range(len(predicted)), predicted, rotation=90, fontsize=size)
        axes.set_yticks(range(len(names)), names, fontsize=size)
        axes.tick_params(axis="x", labelcolor=light("ink"))
        axes.set(
            xlim=(-0.5, len(predicted) - 0.5),
            ylim=(len(names) - 0.5, -0.5),
            aspect="equal",
            xlabel="predicted",
            ylabel="true",
        )
        axes.grid(visible=False)
        axes.spines[["left", "bottom"]].set_visible(False)

    table: list[tuple[Cell, ...]] = [("true", "predicted", "pixels", "share of the class")]
    table += [
        (names[i], predicted[j], int(counts[i, j]), float(shares[i, j]))
        for i in range(len(names))
        for j in range(len(predicted))
    ]
    name = f"confusion-{found.key.replace('/', '-').replace(' ', '-')}" + (
        "" if len(runs) == 1 else f"-{runs.index(run) + 1}"
    )
    title = f"Confusion matrix: {found.title}"
    note = "Each row is a true class, in % of its pixels; green is right."
    return draw(name, title if len(runs) == 1 else f"{run.name}: {found.title}", note, table, paint, WIDTH)


def _known(value: float) -> float:
    return -1.0 if math.isnan(value) else value


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
