"""A set of class maps in a run, as planning knows it: seeds of a training, maps made elsewhere, or refined maps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recam.engine.work import Work
from recam.runfolder.maps import read_seed
from recam.types import Sample, SeedMaps

ORACLE, RECIPE, FOUND, LARGEST = "oracle", "recipe", "auto", "largest map"
"""Where a threshold is from: it scores best on the true masks, stands in the recipe, or was found in the maps; or there
is none, since there is no background, and the largest map counts."""


@dataclass(frozen=True)
class MapFolder:
    """Where a stage keeps a set of maps.

    Attributes:
        stage: the stage's name.
        inner: folder inside it; empty: the stage's own.
    """

    stage: str
    inner: str = ""

    def path(self, work: Work, sample: Sample) -> Path:
        """The file of a sample, in a stage that needs `stage`."""
        return work.inputs[self.stage].path / self.inner / f"{sample.id}.npz"

    def read(self, work: Work, sample: Sample) -> SeedMaps:
        """The maps of a sample. Raises `StoreError` for a missing or damaged file."""
        return read_seed(self.path(work, sample))


@dataclass(frozen=True)
class ThresholdSource:
    """Which threshold a set of maps comes with: the recipe's `value`; or that which the stage `found` has found without
    masks; or the oracle's, found for `maps` by the stage `scores`; none of them where there is no background.

    At most one of them is there, so that a threshold that is not in force changes no key.
    """

    value: float | None = None
    scores: str = ""
    maps: str = ""
    found: str = ""

    @property
    def needs(self) -> tuple[str, ...]:
        """Stages that must have been made before."""
        return tuple(name for name in (self.scores, self.found) if name)

    def find(self, work: Work) -> tuple[float | None, str]:
        """The threshold, and `ORACLE`, `RECIPE` or `FOUND`; None, and `LARGEST`, where there is no background."""
        if self == ThresholdSource():
            return None, LARGEST
        if self.value is not None:
            return self.value, RECIPE
        if self.found:
            return float(work.inputs[self.found].record["results"]["threshold"]), FOUND
        return float(work.inputs[self.scores].record["results"]["maps"][self.maps][ORACLE]["threshold"]), ORACLE


@dataclass(frozen=True)
class MapSet:
    """A set of class maps.

    Attributes:
        folder: where they lie.
        origin: name of the training that they come from; ``external`` for maps made elsewhere.
        name: in results, e.g. ``recam mul + irn``.
        title: for people, e.g. ``ReCAM w ⊗ w′ + IRN``.
        threshold: the recipe's own for them; None: it is found in the maps, by the stage `finds`, or there is no
            background.
        chain: names of the refiners that they went through, and of the maker where that is not the training's own.
        scores: the stage that scores them; empty where nothing is scored.
        background: whether pixels may belong to no class.
    """

    folder: MapFolder
    origin: str
    name: str
    title: str
    threshold: float | None
    chain: tuple[str, ...] = ()
    scores: str = ""
    background: bool = True

    @property
    def stem(self) -> str:
        """E.g. ``recam+irn``, for names of stages."""
        return "+".join((self.origin, *self.chain))

    @property
    def finds(self) -> str:
        """The stage that finds their threshold; empty where the recipe has one."""
        return f"thresholds/{self.stem}" if self.threshold is None and self.background else ""

    def source(self, oracle: bool) -> ThresholdSource:
        """The threshold in force: the oracle's where the recipe wants it and there is truth, else the recipe's, or that
        which is found."""
        if not self.background:
            return ThresholdSource()
        if oracle and self.scores:
            return ThresholdSource(None, self.scores, self.name)
        return ThresholdSource(self.threshold, found=self.finds)

    def refined(self, refiner: str, title: str, threshold: float | None) -> MapSet:
        """What a refiner makes of them."""
        chain = (*self.chain, refiner)
        stem = "+".join((self.origin, *chain))
        scores = f"scores/{stem}" if self.scores else ""
        own = threshold if self.background else None
        made = replace(self, folder=MapFolder(f"refined/{stem}"), chain=chain, threshold=own, scores=scores)
        return replace(made, name=f"{self.name} + {refiner}", title=f"{self.title} + {title}")

    def label(self) -> dict[str, Any]:
        """What readers of the run show of them."""
        shown = {"name": self.name, "title": self.title, "threshold": self.threshold, "folder": self.folder.inner}
        return {**shown, "finds": self.finds} if self.finds else shown
