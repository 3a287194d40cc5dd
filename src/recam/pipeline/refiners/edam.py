"""EDAM in a run: class maps with the background of a saliency map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from recam.data.saliency import SaliencyFolder
from recam.engine.work import RunData
from recam.errors import RecipeError
from recam.methods.refine import Refiner
from recam.methods.saliency import EdamRefiner, EdamSettings
from recam.pipeline.chains import Link
from recam.pipeline.refiner import RefineContext, RefinerStep, refiner_steps
from recam.recipe.recipe import Recipe
from recam.types import Sample


@refiner_steps.register("edam")
class EdamStep(RefinerStep):
    """`recam.methods.saliency.EdamRefiner`, one image a process."""

    in_processes = True
    uses_saliency = True

    def make_for_each(self, context: RefineContext) -> Callable[[Sample], Refiner]:
        assert context.saliency is not None
        return _EdamOf(context.saliency, context.recipe.edam.method())

    def settings(self, recipe: Recipe, link: Link) -> dict[str, Any]:
        return recipe.edam.model_dump()

    def summary(self, recipe: Recipe) -> dict[str, Any]:
        return {"saliency": recipe.saliency.source}

    def problems(self, recipe: Recipe, data: RunData) -> list[str]:
        try:
            recipe.edam.method()
        except RecipeError as error:
            return [str(error)]
        return []


@dataclass(frozen=True)
class _EdamOf:
    """The refiner of each sample; picklable, for processes."""

    read: SaliencyFolder
    settings: EdamSettings

    def __call__(self, sample: Sample) -> EdamRefiner:
        return EdamRefiner(lambda _: self.read(sample), self.settings)
