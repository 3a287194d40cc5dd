"""What a map maker is, class maps from a trained network without a training of its own, and the registry of them.

A maker of one's own is a file with one class::

    @makers.register("mine")
    class Mine(MapMaker):
        title, Settings = "Mine", MySettings

        def make(self, training, network, views):
            return lambda image, classes: …  # (n, h, w) in [0, 1] of an image (H, W, 3) and n classes

One that learns something of the whole data set first names the stages for it (`MapMaker.preparations`), and reads them,
and the training images, from its context (`MapMaker.make_with`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np

from recam.engine.stage import Stage
from recam.methods.recam import Weighting
from recam.models.classifier import Classifier
from recam.pipeline.training import Training
from recam.recipe.recipe import Recipe
from recam.registry import Registry
from recam.runfolder.store import StageFolder
from recam.settings import Settings
from recam.types import Image, Sample, SeedMaps

MapsOf = Callable[[Image, Sequence[int]], SeedMaps]
"""An image (H, W, 3) uint8 and the n classes wanted → their maps."""


@dataclass(frozen=True)
class Views:
    """How a network reads each image to make maps of it."""

    scales: tuple[float, ...]
    flip: bool
    max_side: int | None
    weighting: Weighting


@dataclass(frozen=True)
class MakerPlace:
    """Where a maker stands, as planning knows it.

    Attributes:
        training: whose network makes the maps.
        views: how it reads each image, as the maker wants it.
        stem: for names of stages, e.g. ``recam+lpcam``.
        seed: the run's.
    """

    training: Training
    views: Views
    stem: str
    seed: int


@dataclass(frozen=True)
class MakerContext:
    """What maps are made with.

    Attributes:
        training: whose network it is.
        network: on its device, in evaluation mode.
        views: how each image is read.
        samples: the training images with their labels, for makers that read them; none where a single photo is tried.
        inputs: folders of the stages that the maker prepared, by name.
    """

    training: Training
    network: Classifier
    views: Views
    samples: Sequence[Sample] = ()
    inputs: Mapping[str, StageFolder] = field(default_factory=dict)


@dataclass(frozen=True)
class MapMaker:
    """Makes maps with a trained network; subclass and register, see the head of this file.

    The object is what the key of the stage hashes.

    Attributes:
        name: under which it is registered.
        settings: an object of its `Settings`.
        title: its name in tables and pictures.
        trains_network: it changes weights, and puts them back; the network is then as it was trained, else BatchNorm is
            folded away and nothing in it may learn.
        reads_training_images: its maps of an image depend on others, those of the training split.
        version: raised when the code changes what comes out.
    """

    name: str
    settings: Any

    title: ClassVar[str] = ""
    trains_network: ClassVar[bool] = False
    reads_training_images: ClassVar[bool] = False
    version: ClassVar[int] = 1
    Settings: ClassVar[type[Settings]] = Settings

    @classmethod
    def plan(cls, name: str, recipe: Recipe, classes: Sequence[str]) -> Self:
        """The maker of a run, of a data set with these classes."""
        return cls(name, recipe.section(cls.Settings))

    def views(self, views: Views) -> Views:
        """How it reads images, where it departs from section maps."""
        return views

    def lighter(self) -> tuple[MapMaker, float]:
        """A maker that does a part of its work, and which part: what a plan tries where the whole would take long."""
        return self, 1.0

    def make(self, training: Training, network: Classifier, views: Views) -> MapsOf:
        """The function that makes the maps of an image; `network` is on its device, in evaluation mode."""
        raise NotImplementedError

    def make_with(self, context: MakerContext) -> MapsOf:
        """`make`, for a maker that reads stages of its own or other images."""
        return self.make(context.training, context.network, context.views)

    def problems(self, recipe: Recipe) -> list[str]:
        """What stands in its way, each with a way out; reported before anything is made."""
        return []

    def preparations(self, place: MakerPlace) -> tuple[Stage, ...]:
        """Stages that it wants done before, over the whole data set; their folders are among the inputs of its
        context."""
        return ()

    def untrained(self, context: MakerContext) -> MapsOf:
        """`make_with` before anything that it prepares is made: what a plan tries, since what is learned changes no
        time."""
        return self.make_with(context)

    @staticmethod
    def none(size: tuple[int, int], strided: tuple[int, int]) -> SeedMaps:
        """The maps of an image (H, W) without labels."""
        return SeedMaps(np.zeros((0, *strided), np.float32), np.zeros(0, np.int64), size)


makers: Registry[type[MapMaker]] = Registry("map maker", "recam.makers", ("recam.pipeline.makers",))


def make_maker(recipe: Recipe, name: str, classes: Sequence[str]) -> MapMaker:
    """A maker with the recipe's settings. Raises `RecipeError` for an unknown name.

    Args:
        classes: names of the data set's classes.
    """
    return makers[name].plan(name, recipe, classes)
