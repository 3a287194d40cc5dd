"""How well masks agree with the images where there is no background: no threshold is to be found, but trainings are
chosen by it."""

from __future__ import annotations

from typing import Any

from recam.data.roles import RunData
from recam.engine.amount import Amount
from recam.engine.stage import Stage
from recam.engine.work import Work
from recam.methods.agreement import measure_agreement, measure_coverage
from recam.methods.refine import Chain
from recam.pipeline.map_set import MapFolder, MapSet
from recam.pipeline.refiner import RefineContext, RefinerStep
from recam.pipeline.stages.pixels import (
    IMAGES,
    REFINED,
    STAGE,
    JudgedPixels,
    agreement_amount,
    count_judged,
    plan_pixels,
)
from recam.pipeline.stages.threshold import RefinedPixels, ThresholdGiven, is_judged, refined_amounts, report_low
from recam.recipe.recipe import Recipe
from recam.types import Sample


def plan_largest(
    recipe: Recipe, maps: MapSet, weights: str | None, step: RefinerStep | None, folder: MapFolder
) -> list[Stage]:
    """The stage that judges the masks of these maps, and the pixels that it judges by.

    Args:
        step: the refiner that comes next.
        folder: where maps of the images that judge lie.
    """
    given = ThresholdGiven(folder, step if is_judged(step) else None)
    label = {"title": f"agreement of {maps.title}"}
    name = f"agreements/{maps.stem}"
    return [
        plan_pixels(recipe, weights),
        Stage(name, "masks", judge, given, (folder.stage, STAGE), ("train",), label=label, amounts=judge_amounts),
    ]


def judge(given: ThresholdGiven, work: Work) -> dict[str, Any]:
    """Agreement of the largest maps, refined where a refiner comes next."""
    judged = JudgedPixels.read(work, REFINED if given.step else IMAGES)
    source = work.inputs[given.maps.stage].path / given.maps.inner
    refiner_of: Any = _unrefined
    if given.step:
        refiner_of = given.step.make_for_each(RefineContext(dict(work.inputs), work.accelerator.device, None))
    read = RefinedPixels((refiner_of,), source, work.folder.path, judged.seed, None)
    found, shown = read.read(work, judged, bool(given.step and given.step.in_processes))  # (1, N, P), (1, N, K)
    agreement = measure_agreement(judged.as_pixels(), found.reshape(1, -1), background=False)
    value = float((agreement * measure_coverage(shown, judged.labels))[0])
    report_low(work, value)
    return {"images": len(judged.samples), "agreement": value}


def judge_amounts(given: ThresholdGiven, data: RunData) -> list[Amount]:
    """Maps are refined, where a refiner comes next; then their masks are compared."""
    images = count_judged(data, REFINED if given.step else IMAGES)
    return [*refined_amounts(given, images), agreement_amount(images, 1)]


def _unrefined(sample: Sample) -> Chain:
    return Chain(())
