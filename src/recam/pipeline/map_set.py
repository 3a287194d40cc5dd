"""A set of class maps in a run, as planning knows it: seeds of a training, maps made elsewhere, or refined maps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recam.engine.work import Work
from recam.runfolder.maps import read_seed
from recam.types import Sample, SeedMaps

ORACLE, RECIPE = "oracle", "recipe"
"""Where a threshold is from: it scores best on the true masks, or stands in the recipe."""


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
    """Which threshold a set of maps comes with: the oracle's, found for `maps` by the stage `scores`, or the recipe's
    `value`.

    Only one of them is there, so that a recipe's threshold that is not in force changes no key.
    """

    value: float | None = None
    scores: str = ""
    maps: str = ""

    def find(self, work: Work) -> tuple[float, str]:
        """The threshold, and `ORACLE` or `RECIPE`."""
        if self.value is not None:
            return self.value, RECIPE
        return float(work.inputs[self.scores].record["results"]["maps"][self.maps][ORACLE]["threshold"]), ORACLE


@dataclass(frozen=True)
class MapSet:
    """A set of class maps.

    Attributes:
        folder: where they lie.
        origin: name of the training that they come from; ``external`` for maps made elsewhere.
        name: in results, e.g. ``recam mul + irn``.
        title: for people, e.g. ``ReCAM w ⊗ w′ + IRN``.
        threshold: the recipe's own for them.
        chain: names of the refiners that they went through, and of the maker where that is not the training's own.
        scores: the stage that scores them; empty where nothing is scored.
    """

    folder: MapFolder
    origin: str
    name: str
    title: str
    threshold: float
    chain: tuple[str, ...] = ()
    scores: str = ""

    @property
    def stem(self) -> str:
        """E.g. ``recam+irn``, for names of stages."""
        return "+".join((self.origin, *self.chain))

    def source(self, oracle: bool) -> ThresholdSource:
        """The threshold in force: the oracle's where the recipe wants it and there is truth, else the recipe's."""
        return (
            ThresholdSource(None, self.scores, self.name) if oracle and self.scores else ThresholdSource(self.threshold)
        )

    def refined(self, refiner: str, title: str, threshold: float) -> MapSet:
        """What a refiner makes of them."""
        chain = (*self.chain, refiner)
        stem = "+".join((self.origin, *chain))
        scores = f"scores/{stem}" if self.scores else ""
        made = replace(self, folder=MapFolder(f"refined/{stem}"), chain=chain, threshold=threshold, scores=scores)
        return replace(made, name=f"{self.name} + {refiner}", title=f"{self.title} + {title}")

    def label(self) -> dict[str, Any]:
        """What readers of the run show of them."""
        return {"name": self.name, "title": self.title, "threshold": self.threshold, "folder": self.folder.inner}
