"""Refiners that follow the edges of the image and need nothing but the maps: dense CRF and PAMR."""

from __future__ import annotations

from typing import Any

from recam.engine.work import RunData
from recam.errors import RecamError
from recam.methods.crf import CrfRefiner, LabelCrfSettings, require_densecrf
from recam.methods.pamr import PamrRefiner
from recam.pipeline.chains import Link
from recam.pipeline.refiner import RefineContext, RefinerStep, refiner_steps
from recam.recipe.recipe import Recipe


@refiner_steps.register("crf")
class CrfStep(RefinerStep):
    """`recam.methods.crf.CrfRefiner`, one image a process."""

    uses_threshold = True
    in_processes = True

    def make(self, context: RefineContext) -> CrfRefiner:
        section = context.recipe.crf
        terms = section.method()
        if isinstance(terms, LabelCrfSettings):
            return CrfRefiner(context.threshold, "labels", label_settings=terms)
        return CrfRefiner(context.threshold, "probabilities", settings=terms)

    def settings(self, recipe: Recipe, link: Link) -> dict[str, Any]:
        return recipe.crf.model_dump()

    def problems(self, recipe: Recipe, data: RunData) -> list[str]:
        found = []
        for attempt in (require_densecrf, recipe.crf.method):
            try:
                attempt()
            except RecamError as error:
                found.append(str(error))
        return found


@refiner_steps.register("pamr")
class PamrStep(RefinerStep):
    """`recam.methods.pamr.PamrRefiner`."""

    uses_threshold = True

    def make(self, context: RefineContext) -> PamrRefiner:
        return PamrRefiner(context.threshold, context.recipe.pamr.method(), context.device)

    def settings(self, recipe: Recipe, link: Link) -> dict[str, Any]:
        return recipe.pamr.model_dump()
