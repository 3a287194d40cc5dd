"""What a run will do and take, as `recam plan` prints it and a run keeps it in ``plan.json``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recam.engine.forecast import Forecast
from recam.engine.machine import Machine
from recam.errors import printable
from recam.pipeline.chosen_settings import Choice
from recam.progress import minutes_text
from recam.recipe.recipe import Recipe, recipe_type
from recam.recipe.toml import setting_text, write_toml

NEW, RESUMES, DONE = "new", "resumes", "finished"
"""States of a stage. One that another run has finished is finished as well."""
LONGEST, SHOWN = 3, 2
"""Stages that the short form names; pieces of a stage's work that the long one does."""


@dataclass(frozen=True)
class StagePlan:
    """A stage of the plan.

    Attributes:
        name, title: the stage.
        key: what it will be made from.
        state: `NEW`, `RESUMES` or `DONE`.
        source: the run folder that holds it, where it is finished.
        forecast: what it will take; None: its work is not described, or it is finished.
    """

    name: str
    title: str
    key: str
    state: str = NEW
    source: str = ""
    forecast: Forecast | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: seconds, bytes."""
        found = {"title": self.title, "key": self.key, "state": self.state, "source": self.source}
        cost = self.forecast
        if cost is None:
            return {**found, "seconds": None}
        work = [{"what": each.what, "turns": each.turns, "seconds": each.seconds} for each in cost.work]
        amounts = {"seconds": cost.seconds, "memory": cost.memory, "gpu": cost.gpu, "disk": cost.disk}
        return {**found, **amounts, "work": work, "problem": cost.problem}


@dataclass(frozen=True)
class RunPlan:
    """What a run will do, why so, and what it will take; prints itself.

    Attributes:
        recipe: settings in force, with what was chosen.
        output: the run folder.
        images: training images by number; and of all images that masks are made for.
        long_side: longer side of the image in the middle, pixels.
        machine: where it was planned.
        choices: what was chosen and why.
        stages: in order.
        warnings: what costs hours or masks where nobody has thought of it.
        problems: what keeps the run from beginning.
        tried: seconds for which pieces of work were tried.
    """

    recipe: Recipe
    output: Path
    images: dict[str, int]
    long_side: int
    machine: Machine
    choices: tuple[Choice, ...]
    stages: tuple[StagePlan, ...]
    warnings: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    tried: float = 0.0

    @property
    def ok(self) -> bool:
        """Nothing stands in the way."""
        return not self.problems

    @property
    def to_make(self) -> list[StagePlan]:
        """Stages that are not finished."""
        return [stage for stage in self.stages if stage.state != DONE]

    @property
    def seconds(self) -> float:
        """Of all stages that are still to be made, as far as their work is described."""
        return sum(stage.forecast.seconds for stage in self.to_make if stage.forecast)

    @property
    def unknown(self) -> list[str]:
        """Stages whose time is not known, or not all of it."""
        return [stage.name for stage in self.to_make if stage.forecast is None or stage.forecast.problem]

    def most(self, of: str) -> float:
        """Most ``memory`` or ``gpu`` (bytes) that a stage takes."""
        return max((getattr(stage.forecast, of) for stage in self.to_make if stage.forecast), default=0.0)

    @property
    def disk(self) -> float:
        """Bytes that all stages write."""
        return sum(stage.forecast.disk for stage in self.to_make if stage.forecast)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: seconds, bytes."""
        total = {"seconds": self.seconds, "memory": self.most("memory"), "gpu": self.most("gpu"), "disk": self.disk}
        return {
            "output": str(self.output),
            "images": self.images,
            "long_side": self.long_side,
            "machine": {**vars(self.machine), "text": str(self.machine)},
            "choices": [choice.as_dict() for choice in self.choices],
            "stages": {stage.name: stage.as_dict() for stage in self.stages},
            "total": {**total, "without": self.unknown},
            "warnings": list(self.warnings),
            "problems": list(self.problems),
            "tried_seconds": self.tried,
            "recipe": self.recipe.as_dict(),
        }

    def __str__(self) -> str:
        return "\n".join(map(printable, self._lines()))

    @property
    def short(self) -> str:
        """A few lines: what was chosen, how long, how much memory and disk, what to look out for."""
        lines = [f"  {_setting(choice)}: {choice.why}" for choice in self.choices if choice.kept]
        lines = ["chosen from images, labels and machine:", *lines] if lines else []
        known = [stage for stage in self.to_make if stage.forecast]
        if known:
            longest = sorted(known, key=lambda stage: -stage.forecast.seconds if stage.forecast else 0)[:LONGEST]
            named = ", ".join(f"{stage.name} {_minutes(stage)}" for stage in longest)
            lines.append(f"plan: {len(self.to_make)} stages, {self._totals()}; longest: {named}; on {self.machine}")
        return "\n".join([*lines, *(f"warning: {warning}" for warning in self.warnings)])

    def _lines(self) -> Iterator[str]:
        data = self.recipe.as_dict()["data"]["location"]
        counts = ", ".join(f"{count} {what}" for what, count in self.images.items() if count)
        yield f"{data} → {self.output}: {counts}; {self.long_side} pixels on the longer side"
        yield f"machine: {self.machine}"
        if self.choices:
            wide = max(len(_setting(choice)) for choice in self.choices)
            yield from ("", f"{'chosen':<{wide}}  because")
            yield from (f"{_setting(choice):<{wide}}  {choice.why}" for choice in self.choices)
        wide = max((20, *(len(stage.name) + 2 for stage in self.stages)))
        yield from ("", f"{'stage':<{wide}}{'minutes':>8} {'memory':>9} {'disk':>9}  work")
        for stage in self.stages:
            yield f"{stage.name:<{wide}}{_row(stage)}".rstrip()
        yield from ("", f"in all: {self._totals()} (pieces were tried for {self.tried:.0f} s)" if self.to_make else "")
        if not self.to_make:
            yield "nothing to do: every stage is finished"
        yield from (f"warning: {warning}" for warning in self.warnings)
        yield from (f"in the way: {problem}" for problem in self.problems)

    def _totals(self) -> str:
        memory, gpu = self.most("memory") / 2**30, self.most("gpu") / 2**30
        on_gpu = f", {gpu:.1f} GiB of the GPU's" if gpu else ""
        without = f" without {', '.join(self.unknown)}, whose work is not known" if self.unknown else ""
        return (
            f"about {minutes_text(self.seconds)}{without}, {memory:.1f} GiB of memory{on_gpu},"
            f" {self.disk / 1e6:.0f} MB of disk"
        )


def write_recipe(recipe: Recipe, choices: tuple[Choice, ...] = ()) -> str:
    """A recipe as TOML text, without what stands at its default, each chosen value below its reason."""
    defaults, tree = recipe_type()().as_dict(), recipe.as_dict()
    own = {
        name: {field: inner for field, inner in value.items() if inner != defaults[name][field]}
        if isinstance(value, dict)
        else value
        for name, value in tree.items()
    }
    kept = {name: value for name, value in own.items() if value not in ({}, defaults[name]) or name == "choose"}
    for choice in (each for each in choices if each.kept):  # also where it is the default
        section, _, name = choice.setting.rpartition(".")
        (kept.setdefault(section, {}) if section else kept)[name] = choice.value
    reasons = {choice.setting: choice.why for choice in choices if choice.kept}
    lines, section = list[str](), ""
    # In an order of its own: that of the tree goes by what was imported first.
    ordered = {name: kept[name] for name in sorted(kept, key=lambda name: (isinstance(kept[name], dict), name))}
    for line in write_toml(ordered).splitlines():
        section = f"{line.strip('[]')}." if line.startswith("[") else section
        why = reasons.get(f"{section}{line.partition(' = ')[0]}")
        lines += [*([f"# {why}"] if why else []), line]
    return "\n".join(lines) + "\n"


def _setting(choice: Choice) -> str:
    if not choice.kept:
        return f"{choice.setting}: {choice.value}"
    return setting_text(choice.setting, choice.value).replace("=", " = ", 1)


def _minutes(stage: StagePlan) -> str:
    return minutes_text(stage.forecast.seconds) if stage.forecast else ""


def _row(stage: StagePlan) -> str:
    if stage.state == DONE:
        return f"{'':>8} {'':>9} {'':>9}  finished" + (f" in {stage.source}" if stage.source else "")
    if stage.forecast is None:
        return f"{'?':>8} {'?':>9} {'?':>9}  its work is not described"
    cost = stage.forecast
    most = sorted(cost.work, key=lambda piece: -piece.turns * piece.seconds)[:SHOWN]
    turns = [f"{piece.turns:.0f} × {piece.what} ({_each(piece.seconds)})" for piece in most if piece.turns]
    notes = [*turns, *([f"not tried: {cost.problem}"] if cost.problem else [])]
    resumes = "resumes; " if stage.state == RESUMES else ""
    sizes = f"{cost.memory / 2**20:6.0f} MiB {cost.disk / 1e6:6.1f} MB"
    return f"{cost.seconds / 60:8.2f} {sizes}  {resumes}{', '.join(notes)}"


def _each(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 0.1 else f"{1000 * seconds:.1f} ms"
