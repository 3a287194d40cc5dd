"""What a map maker is, class maps from a trained network without a training of its own, and the registry of them.

A maker of one's own is a file with one class::

    @makers.register("mine")
    class Mine(MapMaker):
        title, Settings = "Mine", MySettings

        def make(self, training, network, inference):
            return lambda image, classes: …  # (n, h, w) in [0, 1] of an image (H, W, 3) and n classes
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from recam.methods.recam import Weighting
from recam.models.classifier import Classifier
from recam.pipeline.training import Training
from recam.recipe.recipe import Recipe
from recam.registry import Registry
from recam.settings import Settings
from recam.types import Image, SeedMaps

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
class MapMaker:
    """Makes maps with a trained network; subclass and register, see the head of this file.

    The object is what the key of the stage hashes.

    Attributes:
        name: under which it is registered.
        settings: an object of its `Settings`.
        title: its name in tables and pictures.
        version: raised when the code changes what comes out.
    """

    name: str
    settings: Any

    title: ClassVar[str] = ""
    version: ClassVar[int] = 1
    Settings: ClassVar[type[Settings]] = Settings

    def views(self, views: Views) -> Views:
        """How it reads images, where it departs from section maps."""
        return views

    def lighter(self) -> tuple[MapMaker, float]:
        """A maker that does a part of its work, and which part: what a plan tries where the whole would take long."""
        return self, 1.0

    def make(self, training: Training, network: Classifier, views: Views) -> MapsOf:
        """The function that makes the maps of an image; `network` is on its device, in evaluation mode."""
        raise NotImplementedError

    @staticmethod
    def none(size: tuple[int, int], strided: tuple[int, int]) -> SeedMaps:
        """The maps of an image (H, W) without labels."""
        return SeedMaps(np.zeros((0, *strided), np.float32), np.zeros(0, np.int64), size)


makers: Registry[type[MapMaker]] = Registry("map maker", "recam.makers", ("recam.pipeline.makers",))


def make_maker(recipe: Recipe, name: str) -> MapMaker:
    """A maker with the recipe's settings. Raises `RecipeError` for an unknown name."""
    kind = makers[name]
    return kind(name, recipe.section(kind.Settings))
