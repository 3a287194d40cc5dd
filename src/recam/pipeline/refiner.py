"""A refiner's place in a run, and the registry of all of them.

A refiner of one's own is a class with a registry line::

    @refiner_steps.register("mine")
    class Mine(RefinerStep):
        title, Settings = "Mine", MySettings

        def make(self, context):
            return MyRefiner(context.threshold)  # any `recam.methods.refine.Refiner`
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch

from recam.data.saliency import SaliencyFolder
from recam.engine.stage import Stage
from recam.methods.refine import EVEN, Refiner
from recam.pipeline.map_set import MapSet
from recam.recipe.recipe import Recipe
from recam.registry import Registry
from recam.runfolder.store import StageFolder
from recam.settings import Settings
from recam.types import Sample


@dataclass(frozen=True)
class Place:
    """Where a refiner stands, as planning knows it.

    Attributes:
        recipe: all settings.
        before: the maps that it is given.
        max_side: longer side (pixels) to which networks read images reduced; None: never.
        weights: hash of the backbone's weights where they are a file.
    """

    recipe: Recipe
    before: MapSet
    max_side: int | None
    weights: str | None


@dataclass(frozen=True)
class RefineContext:
    """What a refiner is made from.

    Attributes:
        inputs: folders of the stages that it needs, by name.
        device: where to compute.
        threshold: that of the maps which it is given: found by true masks, or the recipe's.
        saliency: reads the saliency map of a sample, for steps that use them.
    """

    inputs: dict[str, StageFolder]
    device: torch.device
    threshold: float
    saliency: SaliencyFolder | None = None


@dataclass(frozen=True)
class RefinerStep:
    """A refiner's place in a run; subclass and register, see the head of this file.

    The object is what the key of the stage hashes.

    Attributes:
        name: under which it is registered.
        settings: all that it depends on beside what the stages before it made.
        title: its name in tables and pictures.
        uses_threshold: the threshold of the maps that it is given changes what comes out.
        in_processes: images are shared among processes; the refiner must be picklable, and small.
        uses_saliency: it wants the saliency map of each image; the run then needs a source of them, and results say so.
        version: raised when the code changes what comes out.
    """

    name: str
    settings: Any

    title: ClassVar[str] = ""
    uses_threshold: ClassVar[bool] = False
    in_processes: ClassVar[bool] = False
    uses_saliency: ClassVar[bool] = False
    version: ClassVar[int] = 1
    Settings: ClassVar[type[Settings]] = Settings

    @classmethod
    def plan(cls, name: str, place: Place) -> Self:
        """The step at a place of a run."""
        return cls(name, place.recipe.section(cls.Settings))

    def make(self, context: RefineContext) -> Refiner:
        """The refiner itself, on the device where it works."""
        raise NotImplementedError

    def make_for_each(self, context: RefineContext) -> Callable[[Sample], Refiner]:
        """The refiner of each sample, for one that wants more of it than image and maps; picklable where `in_processes`
        is set."""
        return _Same(self.make(context))

    def threshold(self, place: Place) -> float:
        """Threshold of its maps where no true mask is known."""
        return EVEN

    def problems(self, place: Place) -> list[str]:
        """What stands in its way, each with a way out; reported before anything is made."""
        return []

    def preparations(self, place: Place) -> tuple[Stage, ...]:
        """Stages that it wants done before, such as a training; their folders are among its inputs."""
        return ()


@dataclass(frozen=True)
class _Same:
    """One refiner for all samples."""

    refiner: Refiner

    def __call__(self, sample: Sample) -> Refiner:
        return self.refiner


refiner_steps: Registry[type[RefinerStep]] = Registry("refiner", "recam.refiners", ("recam.pipeline.refiners",))
