"""What a study is: rows of settings, times seeds, each a run; a table of what came out, with mean and deviation.

A study of one's own is a file with a function, entered here or through the entry points ``recam.studies``::

    @studies.register("mine")
    def mine() -> Study:
        return Study("What it shows", "recam-cpu", {"without": {}, "with": {"refine": ["mine"]}}, (MAPS, MASKS))
"""

from __future__ import annotations

import csv
import io
import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from recam.errors import RecipeError
from recam.files import require_folder, write_bytes
from recam.pipeline.run import run
from recam.progress import say
from recam.recipe.toml import setting_text
from recam.registry import Registry
from recam.runfolder.costs import upstream_minutes
from recam.runfolder.store import write_json
from recam.runfolder.summary import RunSummary

Measure = Callable[[RunSummary], float | None]


@dataclass(frozen=True)
class Column:
    """A number that each run gives.

    Attributes:
        title: head of the column.
        measure: the number of a finished run; None where it has none.
        digits: after the point.
    """

    title: str
    measure: Measure
    digits: int = 2


@dataclass(frozen=True)
class Study:
    """A table of runs.

    Attributes:
        title: what it shows, and where the published table stands.
        recipe: what every row starts from.
        rows: settings of each row by its name, laid over the recipe.
        columns: what is told of each run.
        until: stop each run after this group of stages; None: at its end.
        published: numbers of the paper by row and column title, shown beside ours.
    """

    title: str
    recipe: str
    rows: Mapping[str, Mapping[str, Any]]
    columns: Sequence[Column]
    until: str | None = None
    published: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


studies: Registry[Callable[[], Study]] = Registry("study", "recam.studies", ("recam.studies",))


@dataclass(frozen=True)
class StudyResult:
    """What a study found; prints itself.

    Attributes:
        study: what was run.
        seeds: of the runs of each row.
        command: that makes it again.
        values: (row, column title) → a number per seed; None where a run has none.
        output: folder of the table as CSV, Markdown and JSON.
    """

    study: Study
    seeds: tuple[int, ...]
    command: str
    values: Mapping[tuple[str, str], tuple[float | None, ...]]
    output: Path

    def __str__(self) -> str:
        return self.markdown

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        rows = {
            row: {column.title: list(self.values[row, column.title]) for column in self.study.columns}
            for row in self.study.rows
        }
        return {"title": self.study.title, "command": self.command, "seeds": list(self.seeds), "rows": rows}

    @property
    def markdown(self) -> str:
        """The table with mean ± standard deviation over the seeds, and the command that makes it again."""
        published = {title for row in self.study.published.values() for title in row}
        head = [""]
        for column in self.study.columns:
            head += [column.title, "published"] if column.title in published else [column.title]
        lines = [f"# {self.study.title}", "", f"    {self.command}", ""]
        lines += [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
        for row in self.study.rows:
            cells = [row]
            for column in self.study.columns:
                cells.append(spread(self.values[row, column.title], column.digits))
                if column.title in published:
                    number = self.study.published.get(row, {}).get(column.title)
                    cells.append("" if number is None else f"{number:.1f}")
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join([*lines, "", f"Seeds {', '.join(map(str, self.seeds))}; mean ± standard deviation.", ""])

    @property
    def table(self) -> str:
        """CSV: a line per row, column and seed."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["row", "column", "seed", "value"])
        for (row, title), numbers in self.values.items():
            for seed, number in zip(self.seeds, numbers, strict=True):
                writer.writerow([row, title, seed, "" if number is None else f"{number:.6f}"])
        return text.getvalue()


def run_study(
    name: str,
    data: str | None = None,
    output: str | Path = "studies",
    seeds: int | Sequence[int] = 1,
    settings: Mapping[str, Any] | None = None,
    recipe: str | None = None,
) -> StudyResult:
    """Run what is missing of a study, and write its table.

    All runs lie beside each other in ``OUTPUT/runs``, so that a stage which several rows share is made once.

    Args:
        name: a registered study.
        data: KIND:PATH; None takes the recipe's own.
        output: folder of the table and of the runs.
        seeds: how many, counted from 0, or which.
        settings: laid over every row, e.g. ``{"compute.workers": 0}``.
        recipe: what every row starts from, instead of the study's own.

    Raises:
        RecipeError: an unknown study; or as `recam.run` does, for the first row that cannot be run.
    """
    study, place = studies[name](), Path(output)
    chosen = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    if not chosen:
        raise RecipeError("a study needs at least one seed.")
    require_folder(place)
    values: dict[tuple[str, str], list[float | None]] = {}
    for number, (row, own) in enumerate(study.rows.items(), start=1):
        for seed in chosen:
            say(f"{name}: row {number} of {len(study.rows)}, {row}, seed {seed}")
            laid = {**own, **(settings or {}), "seed": seed}
            summary = run(data, recipe or study.recipe, place / "runs" / f"{number:02d}-seed-{seed}", laid, study.until)
            for column in study.columns:
                values.setdefault((row, column.title), []).append(column.measure(summary))
    words = ["recam", "study", name, "--seeds", ",".join(map(str, chosen)), "-o", str(output)]
    words += [*(["--data", data] if data else []), *(["--recipe", recipe] if recipe else [])]
    words += [word for item in (settings or {}).items() for word in ("--set", setting_text(*item))]
    result = StudyResult(study, chosen, shlex.join(words), {key: tuple(each) for key, each in values.items()}, place)
    write_bytes(place / f"{name}.md", result.markdown.encode())
    write_bytes(place / f"{name}.csv", result.table.encode())
    write_json(place / f"{name}.json", result.as_dict())
    return result


def spread(numbers: Sequence[float | None], digits: int) -> str:
    """``52.31 ± 0.57`` of several numbers; a dash where any is missing."""
    known = [number for number in numbers if number is not None and not math.isnan(number)]
    if len(known) < len(numbers) or not known:
        return "–"
    middle = f"{mean(known):.{digits}f}"
    return middle if len(known) == 1 else f"{middle} ± {stdev(known):.{digits}f}"


def maps_miou(summary: RunSummary) -> float | None:
    """mIoU (%) of the class maps that the pseudo masks come from, at the oracle threshold."""
    found = summary.as_dict()["maps"].get(
        summary.as_dict()["masks"]["maps"] or next(reversed(summary.as_dict()["maps"]), "")
    )
    return 100 * found["miou"] if found and found.get("miou") is not None else None


def model_miou(summary: RunSummary) -> float | None:
    """mIoU (%) of the segmentation model on held-out images."""
    score = summary.as_dict()["segmentation"]["pseudo"]
    return None if score is None else 100 * score


def total_minutes(summary: RunSummary) -> float | None:
    """Cumulative compute time (minutes) of the masks."""
    return upstream_minutes(summary.records, "scores/masks" if "scores/masks" in summary.records else "pictures")


MAPS = Column("mIoU of maps, oracle", maps_miou)
MODEL = Column("mIoU of the model, held-out", model_miou)
MINUTES = Column("minutes", total_minutes, 1)
