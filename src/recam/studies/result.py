"""What a study found, as a page, a table, JSON and a figure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from recam.cells import as_text, table_text
from recam.files import write_bytes
from recam.recipe.toml import setting_text
from recam.report.figures import Figure
from recam.runfolder.store import write_json
from recam.runfolder.summary import RunSummary
from recam.studies.figures import dots
from recam.studies.study import Column, Study, shown_settings

PAGE, TABLE, NUMBERS = "study.md", "study.csv", "study.json"
"""Files of a study, beside its figures."""


@dataclass(frozen=True)
class StudyResult:
    """What a study found; prints itself.

    Attributes:
        name: under which it is registered.
        study: what was run.
        seeds: of the runs of each row.
        command: that makes it again.
        values: (row, column title) → a number per seed; None where a run has none, or is still to be made.
        facts: what it was made with, by heading: data, recipe, machine.
        minutes: compute time of all finished runs; a stage that several of them share counts once.
        output: folder of page, table, JSON and figure.
        runs: how many of its runs are finished.
        summaries: of these, by row and seed.
        failures: why a run has no result, by row and seed; see `Study.may_diverge`.
    """

    name: str
    study: Study
    seeds: tuple[int, ...]
    command: str
    values: Mapping[tuple[str, str], tuple[float | None, ...]]
    facts: Mapping[str, str]
    minutes: float
    output: Path
    runs: int
    summaries: Mapping[tuple[str, int], RunSummary] = field(default_factory=dict)
    failures: Mapping[tuple[str, int], str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.markdown}\nwritten to {self.output}"

    @property
    def is_complete(self) -> bool:
        """Whether all of its runs are finished."""
        return self.runs == len(self.study.rows) * len(self.seeds)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        rows = {
            row: {
                "settings": shown_settings(own),
                "values": {column.title: list(self.values[row, column.title]) for column in self.study.columns},
                "published": dict(self.study.published.get(row, {})),
            }
            for row, own in self.study.rows.items()
        }
        head = {"study": self.name, "title": self.study.title, "command": self.command, "seeds": list(self.seeds)}
        return {**head, "complete": self.is_complete, "minutes": self.minutes, **self.facts, "rows": rows}

    @property
    def markdown(self) -> str:
        """The page: command, what it was made with, and mean ± standard deviation over the seeds."""
        lines = [f"# {self.study.title}", "", f"    {self.command}", ""]
        lines += [f"- {heading}: {text}" for heading, text in self.facts.items()]
        lines += [f"- compute time: {self.minutes:.1f} minutes; what rows share counts once"]
        lines += [f"- seeds: {', '.join(map(str, self.seeds))}; mean ± sample standard deviation over them"]
        if self.study.published:
            lines += [f"- published: numbers of the paper{f' ({on})' if (on := self.study.published_on) else ''}"]
        if not self.is_complete:
            lines += [f"- not finished: {self.runs} of {len(self.study.rows) * len(self.seeds)} runs"]
        lines += ["", *self._table(), ""]
        for figure in self.figures if self.is_complete else ():
            lines += [f"![{figure.title}]({figure.name}.svg)", "", *([figure.note, ""] if figure.note else [])]
        lines += [f"- {row}, seed {seed}: {why}" for (row, seed), why in self.failures.items()]
        lines += [""] if self.failures else []
        lines += ["Settings of each row, laid over the recipe:", ""]
        for row, own in self.study.rows.items():
            settings = ", ".join(f"`{setting_text(name, value)}`" for name, value in shown_settings(own).items())
            lines.append(f"- {row}: {settings or 'none'}")
        return "\n".join([*lines, ""])

    @property
    def csv(self) -> str:
        """The table, a line per row, column and seed, with all digits and the published number."""
        lines: list[list[object]] = [["row", "column", "seed", "value", "published"]]
        for (row, title), numbers in self.values.items():
            published = self.study.published.get(row, {}).get(title, "")
            for seed, number in zip(self.seeds, numbers, strict=True):
                lines.append([as_text(row), as_text(title), seed, "" if number is None else number, published])
        return table_text(lines)

    def save(self) -> None:
        """Write page, table and JSON, and the figures where all runs are finished."""
        write_bytes(self.output / PAGE, self.markdown.encode())
        write_bytes(self.output / TABLE, self.csv.encode())
        write_json(self.output / NUMBERS, self.as_dict())
        for figure in self.figures if self.is_complete else ():
            figure.save(self.output)

    @cached_property
    def figures(self) -> list[Figure]:
        """Those of the study; where it names none, its columns row by row."""
        drawn = [draw(self) for draw in self.study.figures or (dots,)]
        return [figure for figure in drawn if figure]

    def point(self, row: str, column: Column) -> tuple[float | None, float | None, float | None]:
        """Mean, standard deviation and published number."""
        known = _known(self.values[row, column.title])
        published = self.study.published.get(row, {}).get(column.title)
        return mean(known) if known else None, stdev(known) if len(known) > 1 else None, published

    def _table(self) -> Iterator[str]:
        published = {title for row in self.study.published.values() for title in row}
        head = [""]
        for column in self.study.columns:
            head += [column.title, "published"] if column.title in published else [column.title]
        yield f"| {' | '.join(head)} |"
        yield f"|{'---|' * len(head)}"
        for row in self.study.rows:
            cells = [row]
            for column in self.study.columns:
                cells.append(spread(self.values[row, column.title], column.digits))
                if column.title in published:
                    number = self.study.published.get(row, {}).get(column.title)
                    cells.append("" if number is None else f"{number:.1f}")
            yield f"| {' | '.join(cells)} |"


def spread(numbers: Sequence[float | None], digits: int) -> str:
    """``52.31 ± 0.57`` of several numbers; a dash where any is missing."""
    known = _known(numbers)
    if not known:
        return "–"
    middle = f"{mean(known):.{digits}f}"
    return middle if len(known) == 1 else f"{middle} ± {stdev(known):.{digits}f}"


def _known(numbers: Sequence[float | None]) -> list[float]:
    """The numbers; none where any is missing."""
    known = [number for number in numbers if number is not None and not math.isnan(number)]
    return known if len(known) == len(numbers) else []
