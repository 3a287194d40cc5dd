"""What each stage costs per image on this machine, and what that comes to for any number of images.

Turns of each stage's work are tried as a plan tries them (`recam.engine.forecast`), for longer; nothing of a run is
made. Each stage's cost is a line, a + b·N for N images: a is what does not grow, as a training of a fixed number of
steps, or what is done to a few images alone. The line is laid through the amounts of work of thousands of images, the
data set's own over and over, and of twice as many; both are priced by the turns that were tried.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from recam.data.image_sizes import read_sizes
from recam.data.roles import DataSettings, RunData
from recam.engine.bench import Bench
from recam.engine.compute import ComputeSettings, make_accelerator
from recam.engine.forecast import Forecast, Trials
from recam.engine.machine import Machine, read_machine
from recam.engine.memory import loaded_set_aside, resident_memory
from recam.errors import RecipeError, printable
from recam.pipeline.chosen_settings import choose_settings
from recam.pipeline.plan import make_plan
from recam.pipeline.planning import TRIED, read_settings
from recam.pipeline.run_data import leave_out_unlabelled
from recam.recipe.recipe import Recipe
from recam.recipe.toml import setting_text
from recam.types import Sample

BUDGET = 90.0
"""Seconds for which turns may be tried before each is tried once."""
GROWN = 4000
"""Images at which no amount of work is still bounded by how few there are."""
DRAWN = {"data.options": {"size": 500, "train": 64, "val": 16}, "backbone.weights": "none", "segment.weights": "none"}
"""Built-in scenes of about VOC's size; what weights a network has changes no time."""


@dataclass(frozen=True)
class Line:
    """What grows with the number of images, ``fixed + each · N``."""

    fixed: float
    each: float

    @classmethod
    def through(cls, few: tuple[int, float], many: tuple[int, float]) -> Line:
        """The line through two points (images, value)."""
        each = (many[1] - few[1]) / (many[0] - few[0])
        return cls(many[1] - each * many[0], each)

    def at(self, images: float) -> float:
        """Its value for N images, never below 0."""
        return max(0.0, self.fixed + self.each * images)


@dataclass(frozen=True)
class StageCost:
    """What a stage costs on this machine.

    Attributes:
        name: of the stage.
        images_per_second: images of the data set, by all that the stage does to each.
        memory: bytes of this process and its workers at most.
        gpu: bytes on the device at most.
        seconds, disk: by the number of images; bytes.
        problem: what of it could not be tried.
    """

    name: str
    images_per_second: float
    memory: float
    gpu: float
    seconds: Line
    disk: Line
    problem: str = ""


Costed = tuple[int, Forecast]
"""A number of images, and what a stage would take for them."""


@dataclass(frozen=True)
class Benchmark:
    """Costs of all stages of a recipe; prints itself.

    Attributes:
        data, recipe: what was tried.
        images: of the data set.
        long_side: of the image in the middle, pixels.
        machine: where.
        stages: in order.
        wanted: images to plan for; None: none.
        machines: that share them, each like this one.
        price: of one for an hour; None: not known.
        tried: seconds that it took.
    """

    data: str
    recipe: str
    images: int
    long_side: int
    machine: Machine
    stages: tuple[StageCost, ...]
    wanted: int | None = None
    machines: int = 1
    price: float | None = None
    tried: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: seconds, bytes; for the number of images wanted hours, bytes and money."""
        found: dict[str, Any] = {**asdict(self), "machine": {**vars(self.machine), "text": str(self.machine)}}
        if self.wanted is not None:
            found["planned"] = {
                "stages": {
                    stage.name: {"seconds": stage.seconds.at(self.wanted), "disk": stage.disk.at(self.wanted)}
                    for stage in self.stages
                },
                "machine_hours": self.machine_hours,
                "hours": self.machine_hours / self.machines,
                "disk": self.disk,
                "money": self.money,
            }
        return found

    @property
    def machine_hours(self) -> float:
        """Of all stages for the images wanted, of one machine."""
        return sum(stage.seconds.at(self.wanted or 0) for stage in self.stages) / 3600

    @property
    def disk(self) -> float:
        """Bytes that all stages write for the images wanted."""
        return sum(stage.disk.at(self.wanted or 0) for stage in self.stages)

    @property
    def money(self) -> float | None:
        """Machine-hours times the price of one."""
        return None if self.price is None else self.machine_hours * self.price

    def __str__(self) -> str:
        return "\n".join(map(printable, self._lines()))

    def _lines(self) -> Iterator[str]:
        yield f"{self.data}, recipe {self.recipe}: {self.images} images, {self.long_side} pixels on the longer side"
        yield f"machine: {self.machine}"
        wide = max((20, *(len(stage.name) + 2 for stage in self.stages)))
        yield ""
        head = f"{'stage':<{wide}}{'images/s':>9} {'memory':>10} {'GPU':>10} {'disk/image':>11}"
        yield head + ("" if self.wanted is None else f" {'hours':>9} {'disk':>10}  seconds for N images")
        for stage in self.stages:
            yield f"{stage.name:<{wide}}{self._row(stage)}".rstrip()
        yield ""
        if self.wanted is not None:
            yield from self._plan(self.wanted)
        yield f"pieces of each stage were tried for {self.tried:.0f} s, by networks that have learned nothing"
        yield from (f"{stage.name} is without: {stage.problem}" for stage in self.stages if stage.problem)

    def _row(self, stage: StageCost) -> str:
        gpu = f"{stage.gpu / 2**20:.0f} MiB" if stage.gpu else "–"
        memory, each = f"{stage.memory / 2**20:.0f} MiB", f"{max(0.0, stage.disk.each) / 1e3:.1f} kB"
        row = f"{stage.images_per_second:9.2f} {memory:>10} {gpu:>10} {each:>11}"
        if self.wanted is None:
            return row
        line = f"{stage.seconds.fixed:.1f} + {stage.seconds.each:.3g} × N"
        return f"{row} {stage.seconds.at(self.wanted) / 3600:9.1f} {stage.disk.at(self.wanted) / 1e9:7.1f} GB  {line}"

    def _plan(self, wanted: int) -> Iterator[str]:
        hours = self.machine_hours
        yield f"{wanted:,} images: {hours:,.1f} machine-hours = sum over stages of (fixed + each × N) / 3600"
        if self.machines > 1:
            yield (
                f"on {self.machines} machines like this one: {hours / self.machines:,.1f} h = machine-hours /"
                f" {self.machines}, where trainings share their steps (torchrun) and the other stages their images"
            )
        if self.money is not None:
            yield f"money: {self.money:,.0f} = machine-hours × {self.price:g}"
        yield f"disk: {self.disk / 1e9:,.1f} GB = sum over stages of fixed + bytes per image × N; photos come to that"


def run_benchmark(
    data: str | None = None,
    recipe: str | Path | Mapping[str, Any] | Recipe = "recam",
    settings: Mapping[str, Any] | Sequence[str] = (),
    images: float | None = None,
    machines: int = 1,
    price: float | None = None,
) -> Benchmark:
    """What each stage of a recipe costs per image on this machine.

    Args:
        data: as of `recam.run`; None: built-in scenes of 500 pixels, and networks without trained weights.
        recipe, settings: as of `recam.run`.
        images: a number of images to plan for, e.g. 1e8.
        machines: that share them.
        price: of a machine for an hour, in any currency.

    Raises:
        RecipeError, DataError: as of `recam.plan`; counts below one.
    """
    _check_counts(images, machines, price)
    chosen = read_settings(data or "scenes:", recipe, settings if data else _over(DRAWN, settings))
    start = time.monotonic()
    accelerator = make_accelerator(chosen.section(ComputeSettings))
    own = chosen.section(DataSettings)
    here = leave_out_unlabelled(RunData(own.open(), own, quiet=True))
    sizes = read_sizes(here.train)
    machine = read_machine(accelerator, Path.cwd())
    copies = math.ceil(GROWN / len(here.train))
    grown = [repeat(here, copies), repeat(here, 2 * copies)]
    chosen, _ = choose_settings(chosen, here if images is None else grown[1], sizes, machine)
    with loaded_set_aside(), tempfile.TemporaryDirectory(prefix="recam-bench-") as folder:
        bench = Bench(
            chosen,
            here,
            sizes.typical(TRIED),
            accelerator,
            chosen.section(ComputeSettings),
            Path(folder),
            largest=sizes.largest,
        )
        trials, held = Trials(bench, budget=BUDGET), resident_memory()
        found = [_forecasts(chosen, data, trials, held) for data in (here, *grown)]
    counts = [len(data.train) for data in (here, *grown)]
    stages = tuple(stage_cost(name, *(zip(counts, (each[name] for each in found), strict=True))) for name in found[0])
    name = recipe if isinstance(recipe, str | Path) else "given"
    wanted = None if images is None else round(images)
    return Benchmark(
        chosen.section(DataSettings).location,
        str(name),
        len(here.train),
        sizes.long_side,
        machine,
        stages,
        wanted,
        machines,
        price,
        time.monotonic() - start,
    )


def _forecasts(recipe: Recipe, data: RunData, trials: Trials, held: int) -> dict[str, Forecast]:
    stages = [stage for stage in make_plan(recipe, data).stages if stage.amounts]
    return {each.name: trials.forecast(each.amounts(each.given, data), held) for each in stages if each.amounts}


def stage_cost(name: str, here: Costed, few: Costed, many: Costed) -> StageCost:
    """A stage's cost from what it would take for the data set's images, for thousands, and for twice as many."""
    images, found = here
    return StageCost(
        name,
        images / found.seconds if found.seconds else 0.0,
        found.memory,
        found.gpu,
        Line.through((few[0], few[1].seconds), (many[0], many[1].seconds)),
        Line.through((few[0], few[1].disk), (many[0], many[1].disk)),
        found.problem,
    )


def repeat(data: RunData, copies: int) -> RunData:
    """The data set with each image so many times, to count work by; nothing is read of the copies."""
    grown = replace(data)
    for role in ("train", "score", "val", "unlabelled"):
        samples: list[Sample] = getattr(data, role)
        vars(grown)[role] = [replace(sample, id=f"{sample.id}+{copy}") for copy in range(copies) for sample in samples]
    return grown


def _over(defaults: Mapping[str, Any], settings: Mapping[str, Any] | Sequence[str]) -> Mapping[str, Any] | list[str]:
    if isinstance(settings, Mapping):
        return {**defaults, **settings}
    given = {text.partition("=")[0] for text in settings}
    return [*(setting_text(name, value) for name, value in defaults.items() if name not in given), *settings]


def _check_counts(images: float | None, machines: int, price: float | None) -> None:
    wrong = [
        f"{name} is {value}, but must be {least}"
        for name, value, fits, least in (
            ("the number of images to plan for", images, images is None or 1 <= images < float("inf"), "1 or more"),
            ("the number of machines", machines, machines >= 1, "1 or more"),
            ("the price of an hour", price, price is None or 0 <= price < float("inf"), "0 or more"),
        )
        if not fits
    ]
    if wrong:
        raise RecipeError("; ".join(wrong) + ".")
