"""Running a study: what is missing of it, in one workspace, and its page after each run."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from accelerate import PartialState

from recam.errors import RecipeError
from recam.files import require_folder
from recam.pipeline.plan import check_group
from recam.pipeline.run import run
from recam.progress import log_line
from recam.recipe.recipe import load_recipe
from recam.recipe.toml import parse_setting, setting_text
from recam.runfolder.store import read_run
from recam.runfolder.summary import RunSummary
from recam.studies.result import StudyResult
from recam.studies.study import Column, FromRow, Study, studies, value_of
from recam.training.loop import TrainingError


@dataclass(frozen=True)
class StudyList:
    """The studies that are registered; prints itself.

    Attributes:
        studies: by name.
    """

    studies: Mapping[str, Study]

    def __str__(self) -> str:
        wide = max((len(name) for name in self.studies), default=0) + 2
        return "\n".join(
            f"{name:<{wide}}{study.title} ({len(study.rows)} rows, recipe {study.recipe})"
            for name, study in self.studies.items()
        )

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            name: {"title": study.title, "recipe": study.recipe, "rows": list(study.rows)}
            for name, study in self.studies.items()
        }


def list_studies() -> StudyList:
    """All studies, those of other installed packages too."""
    return StudyList({name: studies[name]() for name in sorted(studies)})


def run_study(
    name: str,
    data: str | None = None,
    output: str | Path = "studies",
    seeds: int | Sequence[int] = 1,
    settings: Mapping[str, Any] | Sequence[str] = (),
    recipe: str | None = None,
) -> StudyResult:
    """Run what is missing of a study, and write its page, table, JSON and figure to ``OUTPUT/NAME``.

    All runs lie beside each other in ``OUTPUT/runs``, so that a stage which several rows, or several studies, share is
    made once. Cut short, the same call resumes.

    Args:
        name: a registered study.
        data: KIND:PATH; None takes the recipe's own.
        output: folder of studies and of their runs.
        seeds: how many, counted from 0, or which.
        settings: laid over every row, ``{"compute.workers": 0}`` or ``["compute.workers=0"]``.
        recipe: what every row starts from, instead of the study's own.

    Raises:
        RecipeError: an unknown study, with near matches; all mistakes in the settings of any row, before any run.
        RecamError: as `recam.run` does, for the first row that cannot be run.
    """
    place = Path(output)
    laid = dict(settings if isinstance(settings, Mapping) else map(parse_setting, settings))
    chosen = tuple(range(seeds) if isinstance(seeds, int) else dict.fromkeys(seeds))
    plain = studies[name]()
    start = recipe or plain.recipe
    study, left_out = _check(name, plain, start, chosen, laid)
    taken = {setting for own in study.rows.values() for setting in own}
    require_folder(place)
    command = _command(name, data, output, chosen, laid, recipe)
    summaries: dict[tuple[str, int], RunSummary] = {}
    failures: dict[tuple[str, int], str] = {}
    for number, row in enumerate(study.rows, start=1):
        study = _find_settings(study, row, summaries, chosen[0])
        own = study.settings_of(row, start, laid)
        for seed in chosen:
            log_line(f"{name}: row {number} of {len(study.rows)}, {row}, seed {seed}")
            folder = place / "runs" / f"{name}-{number:02d}-seed-{seed}"
            try:
                summaries[row, seed] = run(data, start, folder, {**own, "seed": seed}, study.until)
            except TrainingError as error:
                if not study.may_diverge:
                    raise
                failures[row, seed] = str(error)
                log_line(str(error))
            values = {
                (row, column.title): tuple(_value(summaries, column, row, seed) for seed in chosen)
                for row in study.rows
                for column in study.columns
            }
            facts, minutes = {**_facts(start, folder, taken), **left_out}, _minutes(summaries.values())
            done = len(summaries) + len(failures)
            result = StudyResult(
                name, study, chosen, command, values, facts, minutes, place / name, done, summaries, failures
            )
            if PartialState().is_main_process:
                result.save()
    return result


def _check(
    name: str, study: Study, recipe: str, seeds: tuple[int, ...], settings: Mapping[str, Any]
) -> tuple[Study, dict[str, str]]:
    """The study with its rows as they will be run, and what the page states of those that are left out. Raises
    `RecipeError` with what is wrong with any of them."""
    if not seeds or not study.rows:
        raise RecipeError(f"the study {name!r} needs at least one {'seed' if study.rows else 'row'}.")
    check_group(study.until)
    taken = {setting for own in study.rows.values() for setting in own if setting not in study.free} | {"seed"}
    problems = [f"{setting} is set by the study itself, row by row" for setting in settings if setting in taken]
    if problems:
        raise RecipeError(f"the study {name!r}: {'; '.join(problems)}. Leave it out, or take `recam run`.")
    rows: dict[str, dict[str, Any]] = {}
    without: dict[str, list[str]] = {}
    for row, own in study.rows.items():
        try:
            made = study.settings_of(row, recipe, settings)
            loaded = load_recipe(recipe, {**made, "seed": seeds[0]})
            missing = [each for each in study.needs if each not in own and not value_of(loaded.as_dict(), each)]
            for setting in missing:
                without.setdefault(setting, []).append(row)
            if not missing:
                rows[row] = {setting: made.get(setting, own[setting]) for setting in own}
        except RecipeError as error:
            problems.append(f"row {row}: {error}")
    reasons = [f"{', '.join(names)}, without {study.needs[each]}: set {each}" for each, names in without.items()]
    if not (rows or problems):
        problems.append(f"the study {name!r} has no row left: {'; '.join(reasons)}.")
    if problems:
        raise RecipeError("\n".join(problems))
    return replace(study, rows=rows), {"left out": "; ".join(reasons)} if reasons else {}


def _find_settings(study: Study, row: str, summaries: Mapping[tuple[str, int], RunSummary], seed: int) -> Study:
    """The study with what rows before show in the place of this row's settings that depend on them."""
    own = {
        name: value.find(summaries[value.row, seed]) if isinstance(value, FromRow) else value
        for name, value in study.rows[row].items()
    }
    return replace(study, rows={**study.rows, row: own})


def _value(summaries: Mapping[tuple[str, int], RunSummary], column: Column, row: str, seed: int) -> float | None:
    """A number of the table; None where a run that it needs is still to be made."""
    rows = (row, column.unit) if column.unit else (row,)
    numbers = [column.measure(summaries[each, seed]) if (each, seed) in summaries else None for each in rows]
    if len(numbers) == 1 or numbers[0] is None:
        return numbers[0]
    return numbers[0] / numbers[1] if numbers[1] else None


def _facts(recipe: str, run: Path, own: Collection[str]) -> dict[str, str]:
    """What the page states of the runs: data, recipe, machine; without settings of rows' own."""
    written = read_run(run)
    data = written["recipe"]["data"]
    names = [name for name in ("options", "classes", "train", "score", "val") if f"data.{name}" not in own]
    kept = [setting_text(name, data[name]) for name in names if data[name]]
    packages = ", ".join(f"{name} {written['packages'][name]}" for name in ("recam", "torch"))
    return {
        "data": ", ".join([str(data["location"]), *kept]),
        "recipe": recipe,
        "machine": f"{written['platform']}, {PartialState().device.type}, Python {written['python']}, {packages}",
    }


def _minutes(summaries: Iterable[RunSummary]) -> float:
    """Compute time of all stages; by key, since rows share stages."""
    records = [item for summary in summaries for item in summary.records.items()]
    return float(sum({(stage, record["key"]): record["seconds"] for stage, record in records}.values())) / 60


def _command(
    name: str,
    data: str | None,
    output: str | Path,
    seeds: tuple[int, ...],
    settings: Mapping[str, Any],
    recipe: str | None,
) -> str:
    """The command that makes the study again."""
    counted = seeds == tuple(range(len(seeds)))
    text = str(len(seeds)) if counted else ",".join(map(str, seeds)) + "," * (len(seeds) == 1)
    words = ["recam", "study", name, *(["--data", data] if data else []), "--seeds", text, "-o", str(output)]
    words += ["--recipe", recipe] if recipe else []
    words += [word for item in settings.items() for word in ("--set", setting_text(*item))]
    return shlex.join(words)
