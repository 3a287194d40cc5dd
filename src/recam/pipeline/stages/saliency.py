"""Saliency maps in a run: where they come from, what must be right about them, and that results state so.

The source is a folder that the user brings, read where it is, or a network, whose maps a stage makes once. Whoever
needs the map of a sample takes `SaliencyGiven.reader`, whichever it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from recam.data.catalog import MapFiles
from recam.data.images import write_grey
from recam.data.roles import Role, RunData
from recam.data.saliency import AllSalient, SaliencyFolder
from recam.engine.amount import Amount, Turn
from recam.engine.bench import Bench
from recam.engine.stage import Stage
from recam.engine.work import Work
from recam.errors import DataError, RecamError, data_error
from recam.inference.saliency_model import SaliencyModel, SaliencySettings
from recam.progress import track
from recam.runfolder.supervision import DUTS, SALIENCY
from recam.training.augment import Augment
from recam.training.cached_features import feature_path, save_view_saliency, view_generator
from recam.types import Sample

MAPS, TRAINING_MAPS, VIEWS = "saliency/maps", "saliency/training", "saliency/views"
"""Of a folder trainings use the maps of training images alone: a refiner that is added later trains nothing again."""
NO_SOURCE = (
    "Set saliency.source to a folder of maps, to an .onnx network, or to 'u2netp' (pip install 'recam[saliency]')."
)
UNUSED = (
    "saliency.source is set and nothing uses it. Add a refiner or a training that takes saliency, or leave the source"
    " out."
)


@dataclass(frozen=True)
class SaliencyGiven:
    """What saliency maps depend on.

    Attributes:
        settings: how a network gives them; of a folder nothing but its name counts, and that only to read it.
        content: hash of the network, or of the maps themselves.
        role: whose maps are used.
    """

    settings: SaliencySettings | None
    content: str
    role: Role

    @property
    def stage(self) -> str:
        """The stage that looks through the maps, or makes them."""
        return TRAINING_MAPS if self.role == "train" else MAPS

    def reader(self, work: Work) -> SaliencyFolder:
        """Reads the map of any sample that the stage may need; the stage needs `stage`."""
        maps = work.inputs[self.stage]
        return SaliencyFolder(Path(maps.record["results"]["folder"] or maps.path))


@dataclass(frozen=True)
class ViewSaliencyGiven:
    """What the saliency of cached views depends on."""

    views: Any
    saliency: SaliencyGiven


def saliency_given(settings: SaliencySettings, data: RunData, role: Role) -> SaliencyGiven:
    """What the maps of a role's samples depend on."""
    if settings.is_network:
        return SaliencyGiven(settings, data.digests(settings.network_file), "seeded")
    return SaliencyGiven(None, data.fingerprint(role, MapFiles(Path(settings.source), ".png")), role)


def plan_saliency(settings: SaliencySettings, given: SaliencyGiven, views: Any, in_training: bool) -> list[Stage]:
    """The maps, made or looked through; their part in each cached view where there are `views` (`ViewsGiven`)."""
    # A network may take long, and without a training on them nothing early waits for its maps.
    group = "train" if in_training or not settings.is_network else "refine"
    make = make_maps if settings.is_network else check_folder(settings.source)
    stages = [
        Stage(
            given.stage,
            group,
            make,
            given,
            (),
            (given.role,),
            supervision=(SALIENCY, DUTS) if settings.is_u2netp else (SALIENCY,),
            label={"title": "saliency maps"},
            amounts=saliency_amounts,
        )
    ]
    if views is not None:
        view_given = ViewSaliencyGiven(views, given)
        label = {"title": "saliency of cached views"}
        stage = Stage(VIEWS, "train", make_view_saliency, view_given, (given.stage,), ("train",), label=label)
        stages.append(replace(stage, amounts=view_amounts))
    return stages


def saliency_problems(settings: SaliencySettings, users: list[str], data: RunData, role: Role) -> list[str]:
    """What is wrong with the source, or with there being none, as far as is known without decoding any map.

    Args:
        users: what wants saliency maps, in words.
        role: whose maps are used.
    """
    if not settings.source:
        return [f"{' and '.join(users)} need{'s' * (len(users) == 1)} saliency maps. {NO_SOURCE}"] if users else []
    if not users:
        return [UNUSED]
    if settings.is_network:
        try:
            SaliencyModel(settings)
        except RecamError as error:
            return [str(error)]
        return []
    missing = SaliencyFolder(Path(settings.source)).missing(getattr(data, role))
    return (
        [f"saliency.source: {missing}. Maps are named ID.png after the images' ids, sub-folders included."]
        if missing
        else []
    )


def check_folder(source: str) -> Any:
    """A stage's function that looks through a folder of maps, which stays where it is."""

    def make(given: SaliencyGiven, work: Work) -> dict[str, Any]:
        samples, folder = getattr(work.data, given.role), SaliencyFolder(Path(source))
        if work.accelerator.is_main_process:
            problems = list(folder.problems(samples, partial(track, what=MAPS, total=len(samples))))
            if problems:
                raise data_error(problems, rest="fix these, and the same command reports the others")
        return {"images": len(samples), "folder": str(Path(source).absolute())}

    return make


def make_maps(given: SaliencyGiven, work: Work) -> dict[str, Any]:
    """The network's map of every image."""
    assert given.settings is not None
    work.each(work.data.seeded, SaliencyTask(given.settings, SaliencyFolder(work.folder.path)))
    return {"images": len(work.data.seeded), "folder": None}


@dataclass(frozen=True)
class SaliencyTask:
    """Writes the network's map of an image: a `recam.engine.tasks.ImageTask`."""

    settings: SaliencySettings
    made: SaliencyFolder

    def is_done(self, sample: Sample) -> bool:
        return self.made.path(sample).is_file()

    def start(self, accelerator: Accelerator) -> Callable[[Sample], None]:
        model = SaliencyModel(self.settings, accelerator.device.type)

        def write(sample: Sample) -> None:
            image = sample.image.read()
            try:
                write_grey(self.made.path(sample), model(image))
            except DataError as error:
                raise DataError(f"{sample.image.where}: {error}") from error

        return write


def saliency_amounts(given: SaliencyGiven, data: RunData) -> list[Amount]:
    """The map of every image is made, or read."""
    settings = given.settings

    def set_up(bench: Bench) -> Turn:
        model = SaliencyModel(settings, bench.device.type) if settings else None
        path = bench.folder / "saliency.png"

        def turn(sample: Sample) -> None:
            image = sample.image.read()
            write_grey(path, model(image) if model else np.ones(image.shape[:2], np.float32))
            if model is None:
                path.unlink()  # a folder of maps stays where it is

        return turn

    return [Amount("saliency map", len(getattr(data, given.role)), set_up, given)]


def view_amounts(given: ViewSaliencyGiven, data: RunData) -> list[Amount]:
    """The saliency of each view of every training image."""
    views = given.views

    def set_up(bench: Bench) -> Turn:
        augment, read = view_augment(views), AllSalient(bench.root)

        def turn(sample: Sample) -> None:
            drawn = [augment.move_grey(read(sample), view_generator(views.seed, n, 0)) for n in range(views.views)]
            save_view_saliency(feature_path(bench.folder / "views", sample.id), torch.stack(drawn))

        return turn

    return [Amount("saliency of an image's views", len(data.train), set_up, given)]


def view_augment(views: Any) -> Augment:
    """The augmentation that draws the saliency of views (`ViewsGiven`) as their images were drawn."""
    return Augment(views.crop, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), long_side=views.long_side)


def make_view_saliency(given: ViewSaliencyGiven, work: Work) -> dict[str, Any]:
    """The saliency of each view whose features are cached; which part of the image that is follows from the settings
    alone."""
    views, read = given.views, given.saliency.reader(work)
    augment = view_augment(views)
    index = {sample.id: position for position, sample in enumerate(work.data.train)}
    for sample in work.share(work.data.train, lambda sample: feature_path(work.folder.path, sample.id).is_file()):
        grey = read(sample)
        drawn = (view_generator(views.seed, view, index[sample.id]) for view in range(views.views))
        save_view_saliency(
            feature_path(work.folder.path, sample.id), torch.stack([augment.move_grey(grey, rng) for rng in drawn])
        )
    return {"images": len(work.data.train), "views": views.views}
