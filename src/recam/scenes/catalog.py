"""The built-in data sets, drawn when they are read, with exact masks, nothing stored: ``scenes:``, pages of a picture
book, and ``surfaces:``, grey photos of manufactured surfaces with defects (`recam.scenes.surfaces`).

Ten classes of scenes carry the two flaws that class activation maps suffer from. Cow, horse, sheep, elephant and bear
share one body plan and differ in small parts, so a classifier needs to see no more than the parts; boats float on
water, trains run on rails, cars on roads, so a classifier may take the context for the object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from recam.data.catalog import Catalog, Roles, catalogs
from recam.digests import Digest
from recam.errors import DataError, Problem, near_matches
from recam.labels import ClassSet
from recam.scenes.painter import VERSION, draw_scene
from recam.scenes.plan import CLASSES, SPLITS, plan_scene
from recam.scenes.surfaces import DEFECTS, draw_surface, plan_surface
from recam.scenes.surfaces import VERSION as SURFACES_VERSION
from recam.types import Image, Mask, Sample

MIN_SIZE = 48


@dataclass(frozen=True)
class Artist:
    """Who draws a data set.

    Attributes:
        version: raised when the same numbers give another picture.
        classes: in the order of their mask values.
        labels: (seed, split, index) → classes in the picture, 0…K−1, without drawing.
        draw: (seed, split, index, size) → picture (size, size, 3) uint8 RGB and mask (size, size) uint8.
    """

    version: int
    classes: tuple[str, ...]
    labels: Callable[[int, str, int], Sequence[int]]
    draw: Callable[[int, str, int, int], tuple[Image, Mask]]


ARTISTS = {
    "scenes": Artist(VERSION, CLASSES, lambda *which: plan_scene(*which).labels, lambda *which: draw_scene(*which)),
    "surfaces": Artist(SURFACES_VERSION, DEFECTS, lambda *which: plan_surface(*which).labels, draw_surface),
}


@lru_cache(maxsize=2)
def _drawn(kind: str, seed: int, split: str, index: int, size: int) -> tuple[Image, Mask]:
    """The last pictures drawn, so that reading image and mask of a sample costs one drawing."""
    return ARTISTS[kind].draw(seed, split, index, size)


@dataclass(frozen=True)
class _Drawn:
    kind: str
    seed: int
    split: str
    index: int
    size: int

    @property
    def where(self) -> str:
        return f"{self.kind}:{self.split}-{self.index:06d}"

    def fingerprint(self, digest: Digest) -> str:
        """Nothing is on disk: what it is drawn from."""
        version = ARTISTS[self.kind].version
        return f"{self.kind} v{version} seed {self.seed} {self.split} {self.index} {self.size}px"

    def _draw(self) -> tuple[Image, Mask]:
        return _drawn(self.kind, self.seed, self.split, self.index, self.size)


@dataclass(frozen=True)
class DrawnImage(_Drawn):
    """A picture."""

    def read(self) -> NDArray[np.uint8]:
        """Draw: (size, size, 3) uint8 RGB."""
        return self._draw()[0].copy()


@dataclass(frozen=True)
class DrawnMask(_Drawn):
    """Its mask. `table` maps mask values of all classes to those of the selected ones."""

    table: tuple[int, ...]

    def read(self) -> NDArray[np.uint8]:
        """Draw: (size, size) uint8 mask."""
        return np.array(self.table, np.uint8)[self._draw()[1]]

    def fingerprint(self, digest: Digest) -> str:
        """Changes with the drawing's version and with the selected classes."""
        return f"{super().fingerprint(digest)} {self.table[: len(ARTISTS[self.kind].classes) + 1]}"


class DrawnCatalog(Catalog):
    """Drawn pictures in two splits, ``train`` and ``val``.

    Args:
        location: must be empty, there is nothing on disk.
        classes: keep just these of the classes.
        seed: another seed is another data set, 0 or more.
        size: side of the pictures in pixels, 48 or more.
        train: number of training pictures.
        val: number of held-out pictures.

    Raises:
        DataError: a location, an unknown class, or a number out of range.
    """

    kind: ClassVar[str]

    def __init__(
        self,
        location: str = "",
        *,
        classes: Sequence[str] | None = None,
        seed: int = 0,
        size: int = 224,
        train: int = 600,
        val: int = 150,
    ) -> None:
        if location:
            raise DataError(
                f"the built-in {self.kind} are drawn, not read from {location!r}. Write {self.kind}: with nothing"
                " behind the colon."
            )
        wrong = [
            f"{name} = {value}, but at least {low}"
            for name, value, low in (("seed", seed, 0), ("size", size, MIN_SIZE), ("train", train, 1), ("val", val, 0))
            if value < low
        ]
        if wrong:
            raise DataError(f"{self.kind}: need other numbers: {'; '.join(wrong)}.")
        every = ClassSet(ARTISTS[self.kind].classes)
        self.classes, table = every.select(every.names if classes is None else classes)
        self.roles = Roles(train="train", score="train", val="val" if val else None)
        self.seed, self.size = seed, size
        self._counts = {"train": train, "val": val}
        self._table = tuple(int(v) for v in table)
        self._kept = {every.index(name): self.classes.index(name) for name in self.classes.names}
        self._samples: dict[str, tuple[Sample, ...]] = {}

    @property
    def splits(self) -> tuple[str, ...]:
        """``("train", "val")``."""
        return SPLITS

    def samples(self, split: str) -> Sequence[Sample]:
        """The samples of a split, planned but not drawn. Raises `DataError` for an unknown split."""
        if split not in SPLITS:
            raise DataError(f"{self.kind}: have no split {split!r}.{near_matches(split, SPLITS)}")
        if split not in self._samples:
            self._samples[split] = tuple(self._sample(split, index) for index in range(self._counts[split]))
        return self._samples[split]

    def _sample(self, split: str, index: int) -> Sample:
        labels = ARTISTS[self.kind].labels(self.seed, split, index)
        key = (self.kind, self.seed, split, index, self.size)
        kept = tuple(self._kept[label] for label in labels if label in self._kept)
        return Sample(f"{split}-{index:06d}", kept, DrawnImage(*key), DrawnMask(*key, self._table))

    def problems(self, splits: Iterable[str] | None = None) -> list[Problem]:
        """None: what is drawn cannot be missing or damaged."""
        return []


@catalogs.register("scenes")
class ScenesCatalog(DrawnCatalog):
    """Animals, vehicles and people in landscapes: photos as most people take them; see `DrawnCatalog`."""

    kind = "scenes"


@catalogs.register("surfaces")
class SurfacesCatalog(DrawnCatalog):
    """Manufactured surfaces with defects, a third of them without any: photos as inspection takes them; see
    `DrawnCatalog`."""

    kind = "surfaces"
