"""Saliency maps in a run: where they come from, who uses them, what must be right about them, and that results say so.

The source is a folder that the user brings, read where it is, or a network, whose maps a stage makes once. Whoever wants the map of a
sample asks `read_saliency`, whichever it is.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch

from recam.data.catalog import MapFiles
from recam.data.images import write_grey
from recam.data.saliency import SaliencyFolder
from recam.engine.work import RunData, Stage, Work
from recam.errors import DataError, RecamError, data_error
from recam.pipeline.chains import refined_links
from recam.pipeline.refiner import refiner_steps
from recam.pipeline.saliency_model import SaliencyModel
from recam.progress import track
from recam.recipe.recipe import Recipe
from recam.training.augment import Augment
from recam.training.cached_features import feature_path, save_view_saliency, view_generator

MAPS, VIEWS = "saliency/maps", "saliency/views"
_SET_SOURCE = "Set saliency.source to a folder of maps or to an .onnx network."
_UNUSED = "saliency.source is set and nothing uses it. Add 'edam' to refine, set classify.saliency_loss = 'eps', or leave the source out."


def wants_eps(recipe: Recipe) -> bool:
    """Whether the classifier is trained with EPS's loss."""
    return recipe.classify.saliency_loss == "eps"


def refiners_with_saliency(recipe: Recipe) -> list[str]:
    """Names of the recipe's refiners that want saliency maps."""
    named = dict.fromkeys(link.refiner for link in refined_links(recipe))
    return [name for name in named if name in refiner_steps and refiner_steps[name]().uses_saliency]


def is_network(recipe: Recipe) -> bool:
    """Whether maps are made by a network, not found in a folder."""
    return recipe.saliency.source.lower().endswith(".onnx")


def read_saliency(work: Work) -> SaliencyFolder:
    """Reads the map of any sample that the stage may need; the stage reads `MAPS`."""
    return SaliencyFolder(work.inputs[MAPS].path if is_network(work.recipe) else Path(work.recipe.saliency.source))


def saliency_key(recipe: Recipe, data: RunData, role: str) -> dict[str, Any]:
    """What the maps of a role's samples depend on, JSON-ready."""
    section = recipe.saliency
    if is_network(recipe):
        path = Path(section.source)
        return {"network": data.digests(path), **section.model_dump(exclude={"source"})}
    return {"maps": data.fingerprint(role, MapFiles(Path(section.source), ".png"))}


def eps_key(recipe: Recipe, data: RunData) -> dict[str, Any]:
    """What a training depends on besides where it has EPS's loss; nothing where it has not."""
    return {"eps": {**recipe.eps.model_dump(), **saliency_key(recipe, data, "train")}} if wants_eps(recipe) else {}


def saliency_problems(recipe: Recipe, data: RunData) -> list[str]:
    """What is wrong with the source, or with there being none, as far as can be told without decoding any map."""
    users = refiners_with_saliency(recipe)
    told = [f"the refiner {name!r}" for name in users] + ["classify.saliency_loss = 'eps'"] * wants_eps(recipe)
    if wants_eps(recipe) and recipe.seeds.source:
        return ["classify.saliency_loss = 'eps' trains a classifier, and with seeds.source there is none. Leave one of them out."]
    if not recipe.saliency.source:
        return [f"{' and '.join(told)} need{'s' * (len(told) == 1)} saliency maps. {_SET_SOURCE}"] if told else []
    if not told:
        return [_UNUSED]
    if is_network(recipe):
        try:
            SaliencyModel(recipe.saliency)
        except RecamError as error:
            return [str(error)]
        return []
    missing = SaliencyFolder(Path(recipe.saliency.source)).missing(getattr(data, _role(recipe)))
    return [f"saliency.source: {missing}. Maps are named ID.png after the images' ids, sub-folders included."] if missing else []


def saliency_stages(recipe: Recipe) -> tuple[Stage, ...]:
    """Stages before all others: the maps, made or looked through; their part in each cached view."""
    eps = wants_eps(recipe)
    if not eps and not refiners_with_saliency(recipe):
        return ()
    # A network may take long, and without EPS no training waits for its maps.
    group = "classify" if eps or not is_network(recipe) else "refine"
    role = "seeded" if is_network(recipe) else _role(recipe)
    maps = Stage(MAPS, group, make_maps, partial(_maps_settings, role=role), roles=(role,))
    views = Stage(VIEWS, "classify", make_view_saliency, _views_settings, roles=("train",), reads=(MAPS,))
    return (maps, views) if eps and recipe.classify.cache_features else (maps,)


def make_maps(work: Work) -> dict[str, Any]:
    """The network's map of every image; or a look at each map of the folder, which stays where it is."""
    role, source = _role(work.recipe), work.recipe.saliency.source
    if not is_network(work.recipe):
        samples, folder = getattr(work.data, role), SaliencyFolder(Path(source))
        if work.accelerator.is_main_process:
            problems = list(folder.problems(samples, partial(track, what=MAPS, total=len(samples))))
            if problems:
                raise data_error(problems, rest="mend these, and the same command tells the others")
        return {"images": len(samples), "source": source}
    model, made = SaliencyModel(work.recipe.saliency, work.accelerator.device.type), SaliencyFolder(work.folder.path)
    for sample in work.share(work.data.seeded, lambda sample: made.path(sample).is_file()):
        image = sample.image.read()
        try:
            write_grey(made.path(sample), model(image))
        except DataError as error:
            raise DataError(f"{sample.image.where}: {error}") from error
    return {"images": len(work.data.seeded), "source": source}


def make_view_saliency(work: Work) -> dict[str, Any]:
    """The saliency of each view whose features are cached; which part of the image that is follows from the recipe alone."""
    settings, read = work.recipe.classify, read_saliency(work)
    augment = Augment(settings.crop, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), long_side=settings.long_side)
    index = {sample.id: position for position, sample in enumerate(work.data.train)}
    for sample in work.share(work.data.train, lambda sample: feature_path(work.folder.path, sample.id).is_file()):
        grey = read(sample)
        generators = (view_generator(work.recipe.seed, view, index[sample.id]) for view in range(settings.cache_features))
        save_view_saliency(feature_path(work.folder.path, sample.id), torch.stack([augment.move_grey(grey, rng) for rng in generators]))
    return {"images": len(work.data.train), "views": settings.cache_features}


def _role(recipe: Recipe) -> str:
    """Whose maps are used: EPS trains, refiners see all images that seeds are made for."""
    return "seeded" if refiners_with_saliency(recipe) else "train"


def _maps_settings(recipe: Recipe, data: RunData, role: str) -> dict[str, Any]:
    return saliency_key(recipe, data, role)


def _views_settings(recipe: Recipe, data: RunData) -> dict[str, Any]:
    views = recipe.classify.model_dump(include={"long_side", "crop", "cache_features"})
    return {"seed": recipe.seed, **views, **saliency_key(recipe, data, "train")}
