"""What all trainings of a classifier share: portions, optimizer, augmentation, cached features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from recam.settings import Count, CountOrNone, Momentum, NonNegative, Positive, Settings, Share, section
from recam.training.transforms import check_transforms


@section("train")
@dataclass(frozen=True)
class TrainSettings(Settings):
    """Portions, optimizer and augmentation of every training of a classifier."""

    batch: Count = 16
    """Images per step, over all processes."""
    momentum: Momentum = 0.0
    """SGD momentum; the published rates fit 0, with 0.9 divide them by ten."""
    weight_decay: NonNegative = 1e-4
    """SGD weight decay."""
    power: NonNegative = 0.9
    """Exponent of the polynomial decay."""
    long_side: tuple[Count, Count] = (320, 640)
    """Range (pixels) that the longer side of a training image is resized to, drawn evenly."""
    crop: Annotated[int, Field(ge=32)] = 512
    """Side (pixels) of the random square crop."""
    transforms: tuple[str, ...] = ()
    """What changes pixels of training images besides, in order: ``gamma``, ``grayscale``, ``noise``, or of your own."""
    held_out: Share = 0.0
    """Part of each class that trainings with steps do not learn from: mAP on its labels is judged after each epoch, and
    weights that have fallen below what a training started from are given up."""
    cache_features: CountOrNone = 0
    """Keep the frozen trunk's features of so many augmented views of each image on disk, and train on those; 0: no
    cache."""
    cache_gb: Positive = 8.0
    """Disk space that the cache may take; a larger one is refused before it is made."""

    def __post_init__(self) -> None:
        check_transforms(self.transforms)

    def conflicts(self, recipe: object) -> list[str]:
        return ordered("train.long_side", self.long_side)


def ordered(name: str, pair: tuple[float, float]) -> list[str]:
    """What is wrong with a range (least, most)."""
    return [] if pair[0] <= pair[1] else [f"{name} = {pair}: give the least first"]
