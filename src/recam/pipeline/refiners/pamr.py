"""PAMR's place in a run: it follows the edges of the image and needs nothing but the maps."""

from __future__ import annotations

from dataclasses import dataclass

from recam.methods.pamr import PamrRefiner, PamrSettings
from recam.pipeline.refiner import RefineContext, RefinerStep, refiner_steps


@refiner_steps.register("pamr")
@dataclass(frozen=True)
class PamrStep(RefinerStep):
    """`recam.methods.pamr.PamrRefiner`."""

    title, Settings = "PAMR", PamrSettings
    uses_threshold = True

    def make(self, context: RefineContext) -> PamrRefiner:
        return PamrRefiner(context.threshold, self.settings, context.device)
