"""Figures of a study: its columns row by row, over a setting, as parts of a whole, and over the epochs of trainings.

A figure of one's own is a function of a `recam.studies.result.StudyResult`, made with `recam.report.figures.draw`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import mean, stdev
from typing import TYPE_CHECKING

from recam.report.figures import SERIES, WIDTH, Cell, Figure, draw, legend_below, light
from recam.runfolder.summary import RunSummary
from recam.studies.study import Column, Drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from recam.studies.result import StudyResult

Lines = Mapping[str, Sequence[float]]
"""A number per epoch, by the name of the line."""


def dots(result: StudyResult) -> Figure:
    """Mean and standard deviation of each row, a panel per column, published numbers beside."""
    rows, columns = list(result.study.rows), result.study.columns
    head = ("row", *(f"{column.title}, {what}" for column in columns for what in ("mean", "deviation", "published")))
    table = [head, *((row, *(cell for column in columns for cell in result.point(row, column))) for row in rows)]

    def paint(*panels: Axes) -> None:
        for axes, column in zip(panels, columns, strict=True):
            for place, row in enumerate(rows):
                middle, deviation, published = result.point(row, column)
                if middle is not None:
                    label = "ours, mean ± standard deviation" if axes is panels[0] and not place else None
                    axes.errorbar(middle, place, xerr=deviation, fmt="o", color=light("orange"), label=label)
                if published is not None:
                    first = axes is panels[0] and row == next(iter(result.study.published))
                    label = "published" if first else None
                    axes.plot(published, place, "D", color=light("slate"), fillstyle="none", label=label)
            axes.set_xlabel(column.title)
        panels[0].set_yticks(range(len(rows)), rows)
        panels[0].set_ylim(len(rows) - 0.5, -0.5)
        legend_below(panels[0])

    height = 1.4 + 0.3 * len(rows)
    width = WIDTH * (1 if len(columns) == 1 else 1.6)
    return draw("figure", result.study.title, "", table, paint, height, width, len(columns))


def over_setting(places: Mapping[str, tuple[str, float]], column: Column, x_title: str, reference: str = "") -> Drawing:
    """A column over a setting, on a logarithmic scale.

    Args:
        places: of each row its line and the setting's value, above 0.
        reference: a row that is drawn as a level; empty: none.
    """

    def figure(result: StudyResult) -> Figure:
        found = {row: result.point(row, column) for row in (*places, *([reference] if reference else []))}
        head = ("line", x_title, f"{column.title}, mean", "deviation", "published")
        table: list[tuple[Cell, ...]] = [head]
        table += [(name, x, *found[row]) for row, (name, x) in places.items()]
        table += [(reference, "", *found[reference])] if reference else []

        def paint(axes: Axes) -> None:
            for name, colour in zip(dict.fromkeys(name for name, _ in places.values()), SERIES, strict=False):
                points = [(x, *found[row][:2]) for row, (line, x) in places.items() if line == name]
                drawn = [(x, middle, deviation or 0) for x, middle, deviation in points if middle is not None]
                if drawn:
                    x, middle, deviation = zip(*drawn, strict=True)
                    axes.errorbar(x, middle, yerr=deviation, fmt="o-", color=light(colour), label=name, capsize=3)
            level = found[reference][0] if reference else None
            if level is not None:
                axes.axhline(level, color=light("grey"), linestyle="--", label=reference)
            axes.set_xscale("log")
            ticks = sorted({x for _, x in places.values()})
            axes.set_xticks(ticks, [f"{x:g}" for x in ticks])
            axes.minorticks_off()
            axes.set(xlabel=x_title, ylabel=column.title)
            legend_below(axes)

        return draw("figure", result.study.title, "Mean ± standard deviation over the seeds.", table, paint)

    return figure


def stacked(columns: Sequence[Column], x_title: str) -> Drawing:
    """Columns that are parts of a whole, a bar per row."""

    def figure(result: StudyResult) -> Figure:
        rows = list(result.study.rows)
        parts = {row: [result.point(row, column)[0] for column in columns] for row in rows}
        table = [("row", *(column.title for column in columns)), *((row, *parts[row]) for row in rows)]

        def paint(axes: Axes) -> None:
            for index, column in enumerate(columns):
                values = [parts[row][index] or 0.0 for row in rows]
                left = [sum(part or 0.0 for part in parts[row][:index]) for row in rows]
                axes.barh(range(len(rows)), values, 0.6, left, color=light(SERIES[index]), label=column.title)
            axes.set_yticks(range(len(rows)), rows)
            axes.set_ylim(len(rows) - 0.5, -0.5)
            axes.set_xlabel(x_title)
            legend_below(axes)

        return draw("figure", result.study.title, "Means over the seeds.", table, paint, 1.6 + 0.4 * len(rows))

    return figure


def over_epochs(
    name: str, title: str, y_title: str, lines_of: Callable[[RunSummary], Lines], rows: Sequence[str] = ()
) -> Drawing:
    """What a training gives after each epoch, mean and deviation over the seeds, a line per row and name.

    Args:
        name: of the figure's files.
        lines_of: a number per epoch by the line's name, of a finished run; empty where it has none.
        rows: drawn; none: all.
    """

    def figure(result: StudyResult) -> Figure | None:
        found: dict[str, list[Sequence[float]]] = {}
        for (row, _), summary in result.summaries.items():
            for line, values in lines_of(summary).items() if not rows or row in rows else ():
                found.setdefault(f"{row}: {line}", []).append(values)
        if not found:
            return None
        means = {line: [mean(each) for each in zip(*runs, strict=True)] for line, runs in found.items()}
        spreads = {
            line: [stdev(each) if len(each) > 1 else 0.0 for each in zip(*runs, strict=True)]
            for line, runs in found.items()
        }
        head = ("line", "epoch", f"{y_title}, mean", "deviation")
        table: list[tuple[Cell, ...]] = [head]
        for line, values in means.items():
            table += [(line, epoch, value, spreads[line][epoch - 1]) for epoch, value in enumerate(values, start=1)]

        def paint(axes: Axes) -> None:
            for index, (line, values) in enumerate(means.items()):
                epochs, colour = range(1, len(values) + 1), light(SERIES[index % len(SERIES)])
                low, high = (
                    [middle + sign * off for middle, off in zip(values, spreads[line], strict=True)] for sign in (-1, 1)
                )
                axes.plot(epochs, values, "o-", color=colour, markersize=4, label=line)
                axes.fill_between(epochs, low, high, color=colour, alpha=0.15, linewidth=0)
            longest = max(map(len, means.values()))
            axes.set_xticks(range(1, longest + 1, math.ceil(longest / 10)))
            axes.set(xlabel="epoch", ylabel=y_title)
            legend_below(axes)

        return draw(name, title, "Mean and standard deviation over the seeds.", table, paint, 3.8 + 0.1 * len(means))

    return figure
