"""A refiner's place in a run, and the registry of all of them.

A refiner of one's own is a class with a registry line::

    @refiner_steps.register("mine")
    class Mine(RefinerStep):
        title, Settings = "Mine", MySettings

        def make(self, context):
            return MyRefiner(context.threshold)  # any `recam.methods.refine.Refiner`
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Self

import torch

from recam.data.roles import DataSettings, RunData
from recam.data.saliency import AllSalient, SaliencyFolder
from recam.engine.bench import Bench
from recam.engine.stage import Stage
from recam.methods.refine import EVEN, Chain, Refiner
from recam.pipeline.map_set import MapFolder, MapSet
from recam.pipeline.stages.masks import MaskSettings
from recam.recipe.recipe import Recipe, read_recipe
from recam.registry import Registry
from recam.runfolder.kinds import REFINED_MAPS
from recam.runfolder.manifest import RECORD
from recam.runfolder.store import RunFolder, StageFolder, read_record, read_run
from recam.settings import Settings
from recam.types import Sample


@lru_cache(maxsize=32)
def try_network(make: Callable[..., object], *given: Hashable) -> None:
    """Make a network and drop it, to see whether it can be made: once per process, as plans ask again and again.

    Raises:
        RecamError: what `make` raises, each time.
    """
    make(*given)


@dataclass(frozen=True)
class Place:
    """Where a refiner stands, as planning knows it.

    Attributes:
        recipe: all settings.
        before: its input maps.
        max_side: longer side (pixels) to which networks read images reduced; None: never.
        weights: hash of the backbone's weights where they are a file.
        segmenter: the same of the segmentation model's.
        data: the data set of the run, for steps that read files of its images; None: it is for other images.
    """

    recipe: Recipe
    before: MapSet
    max_side: int | None
    weights: str | None
    segmenter: str | None = None
    data: RunData | None = None


@dataclass(frozen=True)
class RefineContext:
    """What a refiner is made from.

    Attributes:
        inputs: folders of the stages that it needs, by name.
        device: where to compute.
        threshold: that of its input maps: found by true masks, or the recipe's; None: there is no background.
        saliency: reads the saliency map of a sample, for steps that use them.
    """

    inputs: dict[str, StageFolder]
    device: torch.device
    threshold: float | None
    saliency: SaliencyFolder | None = None


@dataclass(frozen=True)
class RefinerStep:
    """A refiner's place in a run; subclass and register, see the head of this file.

    The object is what the key of the stage hashes.

    Attributes:
        name: under which it is registered.
        settings: all that it depends on beside what the stages before it made.
        title: its name in tables and pictures.
        uses_threshold: the threshold of its input maps changes what comes out.
        in_processes: images are shared among processes; the refiner must be picklable, and small.
        needs_background: it works where pixels may belong to no class alone.
        uses_saliency: it needs the saliency map of each image; the run then needs a source of them, and results state
            so.
        reads_files: it reads a file of each image beside it, which images that a run has never read do not have.
        instead: the refiner that takes its place where a package is missing; empty: none does.
        keeps_ignored: False: it decides anew on pixels that were left out before; those without data it leaves out too.
        version: raised when the code changes what comes out.
    """

    name: str
    settings: Any

    title: ClassVar[str] = ""
    keeps_ignored: ClassVar[bool] = True
    instead: ClassVar[str] = ""
    uses_threshold: ClassVar[bool] = False
    in_processes: ClassVar[bool] = False
    uses_saliency: ClassVar[bool] = False
    reads_files: ClassVar[bool] = False
    needs_background: ClassVar[bool] = False
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

    def untrained(self, bench: Bench) -> Callable[[Sample], Refiner]:
        """`make_for_each` before anything that it asks for is made: what a plan tries, since what networks have learned
        changes no time."""
        return self.make_for_each(
            RefineContext({}, bench.device, EVEN / 2 if bench.background else None, AllSalient(bench.root))
        )

    def threshold(self, place: Place) -> float | None:
        """Threshold of its maps where no true mask is known; None: it is to be found in them."""
        return EVEN

    @classmethod
    def lacks(cls) -> str:
        """Which package is missing for it on this machine, with the way to get it; empty: none."""
        return ""

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


def whole_chain(recipe: Recipe) -> tuple[str, ...]:
    """Names of the recipe's refiners, those of its rounds included."""
    own = recipe.section(MaskSettings)
    return (*recipe.refine, *own.round * (1 if own.rounds == "auto" else own.rounds))


def load_chain(folder: RunFolder, device: torch.device) -> Chain | None:
    """The refiners that a run's pseudo masks come through, with their trained networks, for images that it has never
    read; None where there are none, one has not finished, or one uses saliency maps or files of each image.

    Raises:
        StoreError: ``run.json`` or a stage is damaged.
    """
    recipe, written = read_recipe(folder.root), read_run(folder.root)
    done = {name: folder.stage(name) for name in folder.done_stages()}
    seeds = written["models"]["seeds"]
    origin = str(written["stages"][seeds["stage"]]["label"].get("training", ""))
    maps = MapSet(
        MapFolder(seeds["stage"], seeds["folder"]), origin, seeds["name"], seeds["title"], seeds["threshold"],
        (recipe.maker,) if recipe.maker else (), seeds["scores"], recipe.section(DataSettings).has_background,
    )  # fmt: skip
    kept = done["masks"].record["results"]["maps"] if "masks" in done else ""
    made: list[Refiner] = []
    for name in whole_chain(recipe):
        if maps.name == kept:
            break
        place = Place(recipe, maps, recipe.section(DataSettings).max_side, None)
        step = refiner_steps[name].plan(name, place)
        before, maps = maps, maps.refined(name, step.title, step.threshold(place))
        stage = done.get(maps.folder.stage)
        if stage is None or step.uses_saliency or step.reads_files:
            return None
        results = read_record(stage.path / RECORD, REFINED_MAPS)["results"]
        threshold = float(results.get("threshold_before", before.threshold)) if before.background else None
        made.append(step.make(RefineContext(done, device, threshold)))
    return Chain(tuple(made)) if made else None
