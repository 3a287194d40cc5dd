"""The built-in data set ``scenes:``: pages of a picture book with exact masks, drawn when they are read, nothing
stored.

Ten classes carry the two flaws that class activation maps suffer from. Cow, horse, sheep, elephant and bear share one
body plan and differ in small parts, so a classifier needs to see no more than the parts; boats float on water, trains
run on rails, cars on roads, so a classifier may take the context for the object.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from recam.data.catalog import Catalog, Roles, catalogs
from recam.digests import Digest
from recam.errors import DataError, Problem, near_matches
from recam.labels import ClassSet
from recam.scenes.painter import VERSION, draw_scene
from recam.scenes.plan import CLASSES, SPLITS, plan_scene
from recam.types import Image, Mask, Sample

MIN_SIZE = 48


@lru_cache(maxsize=2)
def _drawn(seed: int, split: str, index: int, size: int) -> tuple[Image, Mask]:
    """The last scenes drawn, so that reading image and mask of a sample costs one drawing."""
    return draw_scene(seed, split, index, size)


@dataclass(frozen=True)
class _Scene:
    seed: int
    split: str
    index: int
    size: int

    @property
    def where(self) -> str:
        return f"scenes:{self.split}-{self.index:06d}"

    def fingerprint(self, digest: Digest) -> str:
        """Nothing is on disk: what it is drawn from."""
        return f"scenes v{VERSION} seed {self.seed} {self.split} {self.index} {self.size}px"


@dataclass(frozen=True)
class SceneImage(_Scene):
    """The picture of a scene."""

    def read(self) -> NDArray[np.uint8]:
        """Draw: (size, size, 3) uint8 RGB."""
        return _drawn(self.seed, self.split, self.index, self.size)[0].copy()


@dataclass(frozen=True)
class SceneMask(_Scene):
    """The mask of a scene. `table` maps the ten classes' mask values to those of the selected classes."""

    table: tuple[int, ...]

    def read(self) -> NDArray[np.uint8]:
        """Draw: (size, size) uint8 mask."""
        return np.array(self.table, np.uint8)[_drawn(self.seed, self.split, self.index, self.size)[1]]

    def fingerprint(self, digest: Digest) -> str:
        """Changes with the drawing's version and with the selected classes."""
        return f"{super().fingerprint(digest)} {self.table[: len(CLASSES) + 1]}"


@catalogs.register("scenes")
class ScenesCatalog(Catalog):
    """Drawn scenes in two splits, ``train`` and ``val``.

    Args:
        location: must be empty, there is nothing on disk.
        classes: keep just these of the ten classes.
        seed: another seed is another data set, 0 or more.
        size: side of the pictures in pixels, 48 or more.
        train: number of training pictures.
        val: number of held-out pictures.

    Raises:
        DataError: a location, an unknown class, or a number out of range.
    """

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
                f"the built-in scenes are drawn, not read from {location!r}. Write scenes: with nothing behind the"
                " colon."
            )
        wrong = [
            f"{name} = {value}, but at least {low}"
            for name, value, low in (("seed", seed, 0), ("size", size, MIN_SIZE), ("train", train, 1), ("val", val, 0))
            if value < low
        ]
        if wrong:
            raise DataError(f"scenes: need other numbers: {'; '.join(wrong)}.")
        every = ClassSet(CLASSES)
        self.classes, table = every.select(CLASSES if classes is None else classes)
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
            raise DataError(f"scenes: have no split {split!r}.{near_matches(split, SPLITS)}")
        if split not in self._samples:
            self._samples[split] = tuple(self._sample(split, index) for index in range(self._counts[split]))
        return self._samples[split]

    def _sample(self, split: str, index: int) -> Sample:
        labels = plan_scene(self.seed, split, index).labels
        key = (self.seed, split, index, self.size)
        kept = tuple(self._kept[label] for label in labels if label in self._kept)
        return Sample(f"{split}-{index:06d}", kept, SceneImage(*key), SceneMask(*key, self._table))

    def problems(self, splits: Iterable[str] | None = None) -> list[Problem]:
        """None: what is drawn cannot be missing or damaged."""
        return []
