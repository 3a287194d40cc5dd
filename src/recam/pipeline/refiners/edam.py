"""EDAM's place in a run: class maps with the background of a saliency map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from recam.data.saliency import SaliencyFolder
from recam.methods.edam import EdamRefiner, EdamSettings
from recam.methods.refine import Refiner
from recam.pipeline.refiner import RefineContext, RefinerStep, refiner_steps
from recam.types import Sample


@refiner_steps.register("edam")
@dataclass(frozen=True)
class EdamStep(RefinerStep):
    """`recam.methods.edam.EdamRefiner`, one image per process."""

    title, Settings = "EDAM", EdamSettings
    in_processes = True
    uses_saliency = True
    needs_background = True

    def make_for_each(self, context: RefineContext) -> Callable[[Sample], Refiner]:
        assert context.saliency is not None
        return _EdamOf(context.saliency, self.settings)


@dataclass(frozen=True)
class _EdamOf:
    """The refiner of each sample; picklable, for processes."""

    read: SaliencyFolder
    settings: EdamSettings

    def __call__(self, sample: Sample) -> EdamRefiner:
        return EdamRefiner(lambda _: self.read(sample), self.settings)
