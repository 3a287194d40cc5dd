"""Refined class maps: one stage per refiner of the chain, from the maps of the stage before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from recam.data.roles import RunData
from recam.data.saliency import SaliencyFolder
from recam.engine.amount import Amount, Spread, Turn
from recam.engine.bench import Bench
from recam.engine.stage import Stage
from recam.engine.work import Work
from recam.methods.refine import Refiner
from recam.pipeline.map_set import MapFolder, MapSet, ThresholdSource
from recam.pipeline.refiner import Place, RefineContext, RefinerStep
from recam.pipeline.stages.saliency import SaliencyGiven
from recam.runfolder.kinds import REFINED_MAPS
from recam.runfolder.maps import read_seed, save_seed
from recam.runfolder.store import StageFolder
from recam.runfolder.supervision import SALIENCY
from recam.types import Sample


@dataclass(frozen=True)
class RefineGiven:
    """What refined maps depend on, beside the maps that are refined and what the step prepared."""

    step: RefinerStep
    maps: MapFolder
    threshold: ThresholdSource | None
    saliency: SaliencyGiven | None
    bits: int


def plan_refiner(
    step: RefinerStep, place: Place, oracle: bool, saliency: SaliencyGiven | None, bits: int, label: dict[str, Any]
) -> tuple[list[Stage], MapSet]:
    """What the step prepares and the stage of its maps, and the set that they are."""
    before, prepared = place.before, step.preparations(place)
    threshold = before.source(oracle) if step.uses_threshold else None
    found = threshold.needs if threshold else ()
    saliency_stage = [saliency.stage] if saliency and step.uses_saliency else []
    needs = (before.folder.stage, *(stage.name for stage in prepared), *found, *saliency_stage)
    given = RefineGiven(step, before.folder, threshold, saliency if step.uses_saliency else None, bits)
    made = before.refined(step.name, step.title, step.threshold(place))
    shown = {**label, "title": made.title, "kind": REFINED_MAPS, "refiner": step.title, "sets": [made.label()]}
    supervision = (SALIENCY,) if step.uses_saliency else ()
    stage = Stage(
        made.folder.stage,
        "refine",
        refine_maps,
        given,
        needs,
        ("seeded",),
        step.version,
        supervision,
        shown,
        amounts=refine_amounts,
        shared=True,
    )
    return [*prepared, stage], made


def refine_maps(given: RefineGiven, work: Work) -> dict[str, Any]:
    """Refined maps of every image that pseudo masks are made for."""
    threshold, source = given.threshold.find(work) if given.threshold else (None, "")
    saliency = given.saliency.reader(work) if given.saliency else None
    background = work.data.catalog.classes.background
    task = RefineTask(given, dict(work.inputs), threshold, saliency, work.folder.path, background)
    work.each(work.data.seeded, task, given.step.in_processes)
    used = {"threshold_before": threshold, "threshold_from": source} if threshold is not None and source else {}
    return {"images": len(work.data.seeded), **used}


def refine_amounts(given: RefineGiven, data: RunData) -> list[Amount]:
    """Images with a label are refined; of others there is nothing."""

    def set_up(bench: Bench) -> Turn:
        return FileRefiner(
            given.step.untrained(bench), bench.seeds, bench.folder / "refined", given.bits, bench.background
        )

    spread: Spread = "pool" if given.step.in_processes else ""
    return [Amount("image refined", sum(bool(each.labels) for each in data.seeded), set_up, given.step, spread)]


@dataclass(frozen=True)
class RefineTask:
    """Refines the maps of an image: a `recam.engine.tasks.ImageTask`.

    Attributes:
        inputs, threshold, saliency: as `RefineContext` has them.
    """

    given: RefineGiven
    inputs: dict[str, StageFolder]
    threshold: float | None
    saliency: SaliencyFolder | None
    folder: Path
    background: bool

    def is_done(self, sample: Sample) -> bool:
        return refined_path(self.folder, sample).is_file()

    def start(self, accelerator: Accelerator) -> FileRefiner:
        context = RefineContext(self.inputs, accelerator.device, self.threshold, self.saliency)
        maps = self.given.maps
        before = self.inputs[maps.stage].path / maps.inner
        refiner_of = self.given.step.make_for_each(context)
        return FileRefiner(refiner_of, before, self.folder, self.given.bits, self.background)


def refined_path(folder: Path, sample: Sample) -> Path:
    """Where the refined maps of a sample lie."""
    return folder / f"{sample.id}.npz"


@dataclass(frozen=True)
class FileRefiner:
    """Refiners from file to file; picklable where they are."""

    refiner_of: Callable[[Sample], Refiner]
    source: Path
    folder: Path
    bits: int
    background: bool

    def __call__(self, sample: Sample) -> None:
        seed = read_seed(self.source / f"{sample.id}.npz")
        refined = self.refiner_of(sample)(sample.image.read(), seed)
        save_seed(refined_path(self.folder, sample), refined, self.bits, self.background)
