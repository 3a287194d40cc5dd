"""The report: one HTML file that holds all it shows, with its figures as files beside it."""

from __future__ import annotations

import base64
import mimetypes
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import PIL.Image

from recam.errors import StoreError
from recam.files import require_folder, write_bytes
from recam.labels import class_colours, mask_value
from recam.progress import track
from recam.recipe.toml import write_toml
from recam.report.charts import costs, losses, score_ladder, threshold_curves
from recam.report.class_charts import class_scores, confusions, error_shares, label_groups
from recam.report.figures import PALETTE, Figure
from recam.report.reading import ReportedRun, read_runs
from recam.report.tables import (
    class_table,
    comparison_table,
    data_table,
    differing_settings,
    score_table,
    training_table,
    truth_table,
)
from recam.report.words import Headline, headline
from recam.runfolder.manifest import RECORD
from recam.runfolder.store import PLAN, StageFolder, make_key, read_json

VERSION = 6
"""Raised when the same run gives another report."""
STAGE = "report"
NAME = "report.html"
RECIPE = "recipe.toml"
BUDGET = 3_200_000
"""Bytes that pictures may take, encoded; rows that would exceed it are left out, so that a page opens quickly."""
FIGURES: tuple[Callable[[Sequence[ReportedRun]], Figure | Iterator[Figure] | None], ...] = (
    score_ladder,
    threshold_curves,
    class_scores,
    confusions,
    error_shares,
    label_groups,
    losses,
    costs,
)
KINDS = ("best", "median", "worst", "overview")


@dataclass(frozen=True)
class Report:
    """A written report.

    Attributes:
        path: the HTML file.
        figures: folder of the figures as SVG, PNG and CSV.
        headline: the result, in one sentence.
    """

    path: Path
    figures: Path
    headline: Headline

    def __str__(self) -> str:
        return f"{self.headline}\nreport: {self.path}\nfigures and their numbers: {self.figures}"

    def as_dict(self) -> dict[str, str]:
        """JSON-ready."""
        return {"headline": str(self.headline), "report": str(self.path), "figures": str(self.figures)}


def write_report(runs: Sequence[Path | str] | Path | str, output: Path | str | None = None) -> Report:
    """Write the report of a run, finished or not, or of several side by side.

    Args:
        runs: run folders.
        output: the HTML file; figures go to ``NAME-figures`` beside it. None: ``RUN/report/report.html``, of several
            runs ``RUN/comparison/report.html`` in the first.

    Raises:
        StoreError: a folder that is no run, a run named twice, a damaged file, or an output that cannot be written.
    """
    found = read_runs([runs] if isinstance(runs, Path | str) else runs)
    if output is None and len(found) == 1:
        return _write_stage(found[0])
    path = found[0].folder.root / "comparison" / NAME if output is None else Path(output)
    require_folder(path.parent)
    if path.is_dir():
        raise StoreError(f"{path} is a folder; name the HTML file to write, e.g. {path / NAME}.")
    return _write(found, path)


def open_report(run: ReportedRun) -> StageFolder:
    """The stage ``report`` of a run as it stands: done where its report is up to date."""
    shown = {name: [run.settings["stages"][name], record["seconds"]] for name, record in run.records.items()}
    parts = {"version": VERSION, "stages": shown, "missing": run.missing}
    return run.folder.open_stage(STAGE, make_key(parts))


def _write_stage(run: ReportedRun) -> Report:
    stage, start = open_report(run), time.monotonic()
    stage.begin({"resumed": False, "label": {"title": "report"}})
    report = _write([run], run.folder.root / STAGE / NAME)
    stage.finish({"seconds": time.monotonic() - start, "results": {}})
    return report


def _write(runs: Sequence[ReportedRun], path: Path) -> Report:
    folder = path.with_name(f"{path.stem}-figures")
    figures, first = list(draw_figures(runs)), headline(runs)
    if folder.is_dir():  # those of an earlier report that this one does not have
        for old in folder.glob("*.*"):
            if old.suffix in (".svg", ".png", ".csv") and old.stem not in {figure.name for figure in figures}:
                old.unlink()
    for figure in figures:
        figure.save(folder)
    if len(runs) == 1:
        write_bytes(path.with_name(RECIPE), write_toml(runs[0].settings["recipe"]).encode())
    write_bytes(path, render(runs, first, figures).encode())
    return Report(path, folder, first)


def draw_figures(runs: Sequence[ReportedRun]) -> Iterator[Figure]:
    """Every figure that these runs have something to show in."""
    for make in track(FIGURES, "report", len(FIGURES), unit="figures"):
        made = make(runs)
        yield from () if made is None else (made,) if isinstance(made, Figure) else made


def render(runs: Sequence[ReportedRun], first: Headline, figures: Sequence[Figure]) -> str:
    """The page as text."""
    import jinja2

    templates = resources.files("recam.report") / "templates"
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["data_uri"] = _data_uri
    pictures = _Pictures()
    single = len(runs) == 1
    context = {
        "runs": runs,
        "single": single,
        "headline": first,
        "strips": list(pictures.strips(runs)),
        "rows": list(pictures.rows(runs[0])) if single else [],
        "figures": {figure.name: figure for figure in figures},
        "scores": score_table(runs[0]) if single else comparison_table(runs),
        "trainings": training_table(runs[0]) if single else [],
        "classes": class_table(runs[0]) if single else [],
        "truth": truth_table(runs[0]) if single else None,
        "data": data_table(runs[0]) if single else [],
        "made": [(run, _when(run), _machine(run)) for run in runs],
        "differences": [] if single else differing_settings(runs),
        "recipe": write_toml(runs[0].settings["recipe"]),
        "legend": _legend(runs) if any(run.shown for run in runs) else [],
        "style": jinja2.Template((templates / "report.css").read_text(encoding="utf-8")).render(palette=PALETTE),
    }
    return environment.from_string((templates / "report.html").read_text(encoding="utf-8")).render(context)


def _legend(runs: Sequence[ReportedRun]) -> list[tuple[str, str]]:
    """(class, CSS colour) as in the pictures; empty where the runs have different classes."""
    known = {run.classes for run in runs if run.classes}
    colours = class_colours()
    names = known.pop().names if len(known) == 1 else ()
    return [(name, "rgb({}, {}, {})".format(*colours[mask_value(index)].tolist())) for index, name in enumerate(names)]


class _Pictures:
    """Turns tiles of run folders into data URIs, as many rows as the budget holds."""

    def __init__(self) -> None:
        self.left = BUDGET

    def strips(self, runs: Sequence[ReportedRun]) -> Iterator[dict[str, Any]]:
        """One row of tiles for each run, of an image that all of them show: the one nearest to the median of the first
        run."""
        shared = [{each["id"] for each in run.shown if each["of"] == "masks"} for run in runs]
        common = set.intersection(*shared)
        typical = _typical(runs[0], common)
        for run in runs:
            row = next((each for each in run.shown if each["of"] == "masks" and each["id"] == typical), None)
            if row and (strip := self._row(row)):
                yield {**strip, "run": run.name}

    def rows(self, run: ReportedRun) -> Iterator[tuple[str, list[tuple[str, list[dict[str, Any]]]]]]:
        """(``masks`` or ``predictions``, [(best, median, worst or overview, rows)])."""
        for of in ("masks", "predictions"):
            groups: list[tuple[str, list[dict[str, Any]]]] = []
            for kind in KINDS:
                # Where masks are scored, the overview is the best, the median and the worst.
                if kind == "overview" and groups and groups[0][1]:
                    break
                rows = [self._row(each) for each in run.shown if (each["of"], each["kind"]) == (of, kind)]
                groups.append((kind, [row for row in rows if row]))
            if any(rows for _, rows in groups):
                yield of, groups

    def _row(self, shown: dict[str, Any]) -> dict[str, Any] | None:
        tiles = []
        for title, path in shown["tiles"].items():
            if path.is_file():
                with PIL.Image.open(path, formats=("JPEG",)) as picture:
                    width, height = picture.size
                tiles.append((title, _data_uri(path.read_bytes(), path.name), width, height))
        size = sum(len(uri) for _, uri, *_ in tiles)
        if not tiles or size > self.left:
            return None
        self.left -= size
        return {"id": shown["id"], "caption": shown["caption"], "miou": shown["miou"], "tiles": tiles}


def _when(run: ReportedRun) -> str:
    """The day on which its last stage was made; empty before any."""
    times = [(run.path(stage) / RECORD).stat().st_mtime for stage in run.records]
    return time.strftime("%Y-%m-%d", time.localtime(max(times))) if times else ""


def _machine(run: ReportedRun) -> str:
    """The machine that it was planned on; empty where nobody planned."""
    with suppress(StoreError, KeyError, TypeError):
        return str(read_json(run.folder.root / PLAN)["machine"]["text"])
    return ""


def _typical(run: ReportedRun, ids: set[str]) -> str | None:
    """Of these images one from the middle of the ranking, else the first that is shown."""
    candidates = [each for each in run.shown if each["id"] in ids and each["of"] == "masks"]
    middle = [each["id"] for each in candidates if each["kind"] == "median"] or [each["id"] for each in candidates]
    return middle[len(middle) // 2] if middle else None


def _data_uri(content: bytes | str, name: str) -> str:
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    raw = content.encode() if isinstance(content, str) else content
    return f"data:{kind};base64,{base64.b64encode(raw).decode()}"
