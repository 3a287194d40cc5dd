"""Votes on masks without classes as a refiner's place in a run: a folder of masks is looked through, then each image's
class maps vote on its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from recam.data.catalog import MapFiles
from recam.data.free_masks import FreeMask, FreeMaskFolder
from recam.engine.bench import Bench
from recam.engine.stage import Stage
from recam.engine.work import Work
from recam.errors import data_error
from recam.methods.refine import EVEN
from recam.methods.sam_votes import VoteRefiner, VoteSettings, as_lengths
from recam.pipeline.refiner import Place, RefineContext, RefinerStep, refiner_steps
from recam.progress import track
from recam.runfolder.supervision import FREE_MASKS
from recam.settings import Settings, section
from recam.types import Image, Sample

STAGE = "sam_votes/masks"
TRIED = 8
"""Strips per axis that an image is cut into for a trial: as many masks as SAM gives of a photo, about."""


@section("sam_votes")
@dataclass(frozen=True)
class VoteStepSettings(VoteSettings):
    """Votes on masks without classes, `refine = ["sam_votes"]`: see `recam.methods.sam_votes`."""

    source: str = ""
    """Folder of masks, ``ID.json`` for each image as SAM's automatic mask generator gives them (``coco_rle``); what its
    files hold counts, not where it lies."""

    def method(self) -> VoteSettings:
        """How votes are counted."""
        return VoteSettings(**{each.name: getattr(self, each.name) for each in fields(VoteSettings)})


@refiner_steps.register("sam_votes")
@dataclass(frozen=True)
class VoteStep(RefinerStep):
    """`recam.methods.sam_votes.VoteRefiner`; one image per process."""

    title, Settings = "SAM's masks by votes", VoteStepSettings
    uses_threshold = True
    in_processes = True
    reads_files = True

    @classmethod
    def plan(cls, name: str, place: Place) -> VoteStep:
        return cls(name, place.recipe.section(VoteStepSettings).method())

    def make_for_each(self, context: RefineContext) -> Callable[[Sample], VoteRefiner]:
        folder = Path(context.inputs[STAGE].record["results"]["folder"])
        return _Voters(FreeMaskFolder(folder), context.threshold, self.settings)

    def untrained(self, bench: Bench) -> Callable[[Sample], VoteRefiner]:
        refiner = VoteRefiner(_strips, EVEN / 2 if bench.background else None, self.settings)
        return lambda sample: refiner

    def problems(self, place: Place) -> list[str]:
        source = place.recipe.section(VoteStepSettings).source
        how = "Set sam_votes.source to a folder of ID.json, named after the images' ids, sub-folders included."
        if not source:
            return [f"there are no masks to vote on. {how}"]
        missing = FreeMaskFolder(Path(source)).missing(place.data.seeded) if place.data else ""
        return [f"sam_votes.source: {missing} {how}"] if missing else []

    def preparations(self, place: Place) -> tuple[Stage, ...]:
        source = place.recipe.section(VoteStepSettings).source
        if self.problems(place) or place.data is None:  # planning reports them
            return ()
        given = FreeMasksGiven(place.data.fingerprint("seeded", MapFiles(Path(source), ".json")))
        label = {"title": "masks without classes"}
        make = partial(look_through, Path(source))
        return (Stage(STAGE, "refine", make, given, (), ("seeded",), supervision=(FREE_MASKS,), label=label),)


@dataclass(frozen=True)
class FreeMasksGiven(Settings):
    """What the masks depend on: a hash of what their files hold."""

    content: str


def look_through(source: Path, given: FreeMasksGiven, work: Work) -> dict[str, Any]:
    """A stage's function that reads all files of masks, which stay where they are, and reports all that is wrong."""
    samples, folder = work.data.seeded, FreeMaskFolder(source)
    if work.accelerator.is_main_process:
        problems = list(folder.problems(samples, partial(track, what=STAGE, total=len(samples))))
        if problems:
            raise data_error(problems, rest="fix these, and the same command reports the others")
    return {"images": len(samples), "folder": str(source.absolute())}


@dataclass(frozen=True)
class _Voters:
    """The refiner of each sample; picklable, for processes."""

    masks: FreeMaskFolder
    threshold: float | None
    settings: VoteSettings

    def __call__(self, sample: Sample) -> VoteRefiner:
        return VoteRefiner(
            lambda image: self.masks(sample, (image.shape[0], image.shape[1])), self.threshold, self.settings
        )


def _strips(image: Image) -> Sequence[FreeMask]:
    """Masks of a trial."""
    rows, columns = np.indices(image.shape[:2])
    places = (rows * TRIED // image.shape[0], columns * TRIED // image.shape[1])
    return [FreeMask(as_lengths(place == number)) for place in places for number in range(TRIED)]
