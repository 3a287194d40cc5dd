"""What a run must know of a refiner beside the refiner itself, and the registry of all of them.

A refiner of one's own is a class with a registry line::

    @refiner_steps.register("mine")
    class MyStep(RefinerStep):
        def make(self, context):
            return MyRefiner(context.threshold)  # any `recam.methods.refine.Refiner`
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from recam.data.saliency import SaliencyFolder
from recam.engine.work import RunData, Stage
from recam.methods.refine import EVEN, Refiner
from recam.pipeline.chains import Link
from recam.recipe.recipe import Recipe
from recam.registry import Registry
from recam.runfolder.store import StageFolder
from recam.types import Sample


@dataclass(frozen=True)
class RefineContext:
    """What a refiner is made from.

    Attributes:
        recipe: the run's settings.
        inputs: folders of the stages that it needs and reads, by name.
        device: where to compute.
        link: where in which chain it stands.
        threshold: that of the maps which it is given: found by true masks, or the recipe's.
        saliency: reads the saliency map of a sample, for steps that use them.
    """

    recipe: Recipe
    inputs: Mapping[str, StageFolder]
    device: torch.device
    link: Link
    threshold: float
    saliency: SaliencyFolder | None = None


class RefinerStep:
    """A refiner's place in a run; subclass and register, see the head of this file.

    Attributes:
        makes_maps: it makes maps from the image alone, so that it can only come first.
        uses_threshold: the threshold of the maps that it is given changes what comes out.
        in_processes: images are shared among processes; the refiner must be picklable, and small.
        uses_saliency: it wants the saliency map of each image; the run then needs a source of them, and results say so.
        version: raised when the code changes what comes out.
    """

    makes_maps: ClassVar[bool] = False
    uses_threshold: ClassVar[bool] = False
    in_processes: ClassVar[bool] = False
    uses_saliency: ClassVar[bool] = False
    version: ClassVar[int] = 1

    def make(self, context: RefineContext) -> Refiner:
        """The refiner itself, on the device where it works."""
        raise NotImplementedError

    def make_for_each(self, context: RefineContext) -> Callable[[Sample], Refiner]:
        """The refiner of each sample, for one that wants more of it than image and maps; picklable where `in_processes` is set."""
        return _Same(self.make(context))

    def settings(self, recipe: Recipe, link: Link) -> dict[str, Any]:
        """The part of the recipe that its results depend on, JSON-ready."""
        return {}

    def threshold(self, recipe: Recipe, before: float) -> float:
        """Threshold of its maps where no true mask is known; `before` is that of the maps which it is given."""
        return EVEN

    def problems(self, recipe: Recipe, data: RunData) -> list[str]:
        """What stands in its way, each with a way out; told before anything is made."""
        return []

    def preparations(self, link: Link) -> tuple[Stage, ...]:
        """Stages that it wants done before, such as a training; their names go to its inputs."""
        return ()

    def reads(self, link: Link) -> tuple[str, ...]:
        """Further stages whose folders it wants among its inputs."""
        return ()

    def summary(self, recipe: Recipe) -> dict[str, Any]:
        """What its results must tell besides; JSON-ready."""
        return {}


@dataclass(frozen=True)
class _Same:
    """One refiner for all samples."""

    refiner: Refiner

    def __call__(self, sample: Sample) -> Refiner:
        return self.refiner


refiner_steps: Registry[Callable[[], RefinerStep]] = Registry("refiner", "recam.refiners", ("recam.pipeline.refiners",))


def step_of(link: Link) -> RefinerStep:
    """The step of a link's last refiner. Raises `RecipeError` for an unknown one."""
    return refiner_steps[link.refiner]()
