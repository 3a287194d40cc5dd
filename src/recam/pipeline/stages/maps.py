"""Class maps of every image to train on or to score, for its own labels: by the training's weights, or by a map
maker."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from accelerate import Accelerator

from recam.data.ignored import find_no_data
from recam.data.roles import DataSettings, Role, RunData
from recam.data.saliency import AllSalient, SaliencyFolder
from recam.engine.amount import Amount, Turn
from recam.engine.bench import Bench
from recam.engine.stage import Stage
from recam.engine.work import Work
from recam.inference.class_maps import make_class_maps
from recam.methods.recam import WEIGHTINGS, Weighting
from recam.models.classifier import Classifier
from recam.models.folding import fold_batchnorm
from recam.models.saved import load_classifier
from recam.pipeline.maker import MakerContext, MakerPlace, MapMaker, Views
from recam.pipeline.map_set import MapFolder, MapSet
from recam.pipeline.stages.pixels import count_judged, judged_samples
from recam.pipeline.stages.saliency import SaliencyGiven
from recam.pipeline.stages.train import stage_of
from recam.pipeline.train_amounts import untrained_classifier
from recam.pipeline.training import Training
from recam.recipe.recipe import Recipe
from recam.runfolder.kinds import MAPS
from recam.runfolder.maps import save_seed
from recam.runfolder.store import StageFolder
from recam.settings import Scales, Settings, section
from recam.types import Grey, Image, Sample, SeedMaps

SYMBOLS = {"w": "w", "w_prime": "w′", "add": "w ⊕ w′", "mul": "w ⊗ w′"}
"""Weightings of eq. 9 as papers write them."""


class AllMapsOf(Protocol):
    """Maps by weighting of an image (H, W, 3) for the classes wanted; `saliency` (H, W) is for trainings whose maps
    take it."""

    def __call__(
        self, image: Image, classes: Sequence[int], saliency: Grey | None = None
    ) -> dict[Weighting, SeedMaps]: ...


@section("maps")
@dataclass(frozen=True)
class MapSettings(Settings):
    """How class maps are made and kept."""

    source: str = ""
    """Folder of external (precomputed) class maps, ``ID.npz`` of each image as `recam.runfolder.maps.save_seed` writes
    them; they are then taken as they are, and no classifier is trained."""
    scales: Scales = (1.0, 0.5, 1.5, 2.0)
    """Test-time scales; the maps are added."""
    flip: bool = True
    """Horizontal-flip TTA: also read each mirrored image."""
    weighting: Weighting = "mul"
    """Weights of eq. 9 for the pseudo masks, where the training has several: ``mul`` published for VOC, ``w`` for
    COCO."""
    compare: tuple[Weighting, ...] = ()
    """Further weightings to make and score in the same pass."""
    bits: Literal[8, 16] = 8
    """Bits per stored value."""
    held_out: bool = False
    """Also score the maps of the held-out split, which are not kept, and how often the classifier names the class of
    images with one label, on training and held-out images."""


@dataclass(frozen=True)
class MapsGiven:
    """What class maps depend on, beside the trained network."""

    training: Training
    maker: MapMaker | None
    weightings: tuple[Weighting, ...]
    scales: tuple[float, ...]
    flip: bool
    bits: int
    max_side: int | None
    judged: int | None = None
    """Of so many images that judge, see `recam.pipeline.stages.pixels`; None: of all."""


@dataclass(frozen=True)
class MapsOnSaliencyGiven(MapsGiven):
    """The same of a training whose maps take the saliency map of each image."""

    saliency: SaliencyGiven | None = None


def trial_maps(stage: Stage, sets: Sequence[MapSet], judged: int) -> tuple[Stage, MapFolder]:
    """The same maps for images that judge alone, and where those for pseudo masks lie."""
    given = replace(stage.given, judged=judged, weightings=stage.given.weightings[:1])
    name = f"trials/{sets[0].stem}"
    label = {"title": f"{sets[0].title}, tried"}
    trial = replace(stage, name=name, given=given, roles=("train",), label=label)
    return trial, replace(sets[0].folder, stage=name)


def plan_maps(
    recipe: Recipe,
    training: Training,
    maker: MapMaker | None,
    max_side: int | None,
    threshold: float | None,
    scored: bool,
    saliency: SaliencyGiven | None = None,
) -> tuple[list[Stage], list[MapSet]]:
    """The stage of a training's maps, behind those that a maker prepares, and the sets that it makes; the first is the
    one for pseudo masks.

    Args:
        saliency: of all images that maps are made of, for a training whose maps take it.
    """
    own = recipe.section(MapSettings)
    chosen = training.choose_weighting(own.weighting)
    others = [] if maker else [each for each in own.compare if each in training.weightings and each != chosen]
    weightings = tuple(each for each in WEIGHTINGS if each == chosen or each in others)
    views = Views(own.scales, own.flip, max_side, chosen)
    read = maker.views(views) if maker else views
    given = MapsGiven(training, maker, weightings, read.scales, read.flip, own.bits, read.max_side)
    if saliency and training.maps_on_saliency and not maker:
        given = MapsOnSaliencyGiven(**vars(given), saliency=saliency)
    stem = f"{training.name}+{maker.name}" if maker else training.name
    background = recipe.section(DataSettings).has_background
    own_threshold = threshold if background else None
    made = [
        _set(training, maker, weighting, f"maps/{stem}", f"scores/{stem}" if scored else "", own_threshold)
        for weighting in (chosen, *others)
    ]
    sets = [replace(each, background=background) for each in made]
    label = {
        "title": sets[0].title,
        "kind": MAPS,
        "training": training.name,
        "colour": training.colour,
        "maker": maker.title if maker else "",
        "sets": [each.label() for each in sets],
    }
    version = maker.version if maker else 1
    prepared = maker.preparations(MakerPlace(training, read, stem, recipe.seed)) if maker else ()
    needs = (stage_of(training), *(each.name for each in prepared))
    needs += (saliency.stage,) if isinstance(given, MapsOnSaliencyGiven) and saliency else ()
    roles: tuple[Role, ...] = ("seeded", "train") if maker and maker.reads_training_images else ("seeded",)
    return [
        *prepared,
        Stage(
            f"maps/{stem}",
            "maps",
            make_maps,
            given,
            needs,
            roles,
            version,
            label=label,
            amounts=map_amounts,
            shared=True,
        ),
    ], sets


def _set(
    training: Training, maker: MapMaker | None, weighting: Weighting, stage: str, scores: str, threshold: float | None
) -> MapSet:
    several = len(training.weightings) > 1
    name, title = training.name, training.title
    if several:
        name, title = f"{name} {weighting}", f"{title} {SYMBOLS[weighting]}"
    chain: tuple[str, ...] = ()
    if maker:
        name, title, chain = f"{name} + {maker.name}", f"{title} + {maker.title}", (maker.name,)
    return MapSet(MapFolder(stage, weighting), training.name, name, title, threshold, chain, scores)


def make_maps(given: MapsGiven, work: Work) -> dict[str, Any]:
    """Maps of all images, one file per image and weighting."""
    weights = work.inputs[stage_of(given.training)].weights
    read = tuple(work.data.train) if given.maker and given.maker.reads_training_images else ()
    saliency = given.saliency.reader(work) if isinstance(given, MapsOnSaliencyGiven) and given.saliency else None
    background = work.data.catalog.classes.background
    samples = judged_samples(work.data.train, given.judged) if given.judged else work.data.seeded
    work.each(samples, MapTask(given, weights, work.folder.path, background, read, dict(work.inputs), saliency))
    return {"images": len(samples), "weightings": list(given.weightings)}


@dataclass(frozen=True)
class MapTask:
    """Writes the maps of an image: a `recam.engine.tasks.ImageTask`.

    Attributes:
        samples, inputs: as `load_maps` takes them.
        saliency: reads the saliency map of a sample, where the maps take it.
    """

    given: MapsGiven
    weights: Path
    folder: Path
    background: bool
    samples: Sequence[Sample]
    inputs: Mapping[str, StageFolder]
    saliency: SaliencyFolder | None = None

    def is_done(self, sample: Sample) -> bool:
        return all(self._place(weighting, sample).is_file() for weighting in self.given.weightings)

    def start(self, accelerator: Accelerator) -> Callable[[Sample], None]:
        given = self.given
        maps_of = load_maps(given, self.weights, accelerator.device, self.samples, self.inputs)

        def write(sample: Sample) -> None:
            image = sample.image.read()
            # A map maker climbs by gradients of full precision.
            with nullcontext() if given.maker else accelerator.autocast():
                made = maps_of(image, sample.labels, self.saliency(sample) if self.saliency else None)
            ignored = find_no_data(image, sample.no_data)
            for weighting, seed in made.items():
                kept = replace(seed, ignore=ignored)
                save_seed(self._place(weighting, sample), kept, given.bits, self.background)

        return write

    def _place(self, weighting: str, sample: Sample) -> Path:
        return self.folder / weighting / f"{sample.id}.npz"


def map_amounts(given: MapsGiven, data: RunData) -> list[Amount]:
    """Images with a label are read by the network."""
    images = sum(bool(sample.labels) for sample in data.seeded)
    return [map_amount(given, count_judged(data, given.judged) if given.judged else images)]


def map_amount(given: MapsGiven, images: int) -> Amount:
    """Maps of so many images."""
    lighter, part = given.maker.lighter() if given.maker else (None, 1.0)

    def set_up(bench: Bench) -> Turn:
        network = untrained_classifier(bench, given.training, 0 if given.maker else None)
        maps_of = maps_with(replace(given, maker=lighter), network, bench.device, bench.samples, None)

        read = AllSalient(bench.root) if isinstance(given, MapsOnSaliencyGiven) else None

        def turn(sample: Sample) -> float:
            with nullcontext() if given.maker else bench.accelerator.autocast():
                made = maps_of(sample.image.read(), sample.labels, read(sample) if read else None)
            for weighting, seed in made.items():
                save_seed(bench.folder / "maps" / weighting / f"{sample.id}.npz", seed, given.bits, bench.background)
            return part

        return turn

    kind = type(given.training)
    alike = (
        kind.maps.__qualname__,
        kind.heads,
        len(given.weightings),
        given.maker,
        given.scales,
        given.flip,
        given.bits,
    )
    return Amount("maps of an image", images, set_up, (*alike, given.max_side))


def load_maps(
    given: MapsGiven,
    weights: Path,
    device: torch.device,
    samples: Sequence[Sample] = (),
    inputs: Mapping[str, StageFolder] | None = None,
) -> AllMapsOf:
    """What makes the maps of an image (H, W, 3) uint8 for the classes wanted, by weighting, with a trained network.

    Args:
        samples: training images, for makers that read them.
        inputs: folders of the stages that the maker prepared, by name.
    """
    # To a maker, frozen units would build no graph to the image.
    return maps_with(given, load_classifier(weights, 0 if given.maker else None), device, samples, inputs or {})


def maps_with(
    given: MapsGiven,
    trained: Classifier,
    device: torch.device,
    samples: Sequence[Sample] = (),
    inputs: Mapping[str, StageFolder] | None = None,
) -> AllMapsOf:
    """`load_maps` with a network that is here, which is changed; without inputs, a maker that prepares some is tried
    without them."""
    maker = given.maker
    if maker is None:
        network = fold_batchnorm(trained).to(device)
        own = given.training
        return lambda image, classes, saliency=None: make_class_maps(
            network, image, classes, given.weightings, given.scales, given.flip, given.max_side, own.maps_with(saliency)
        )
    chosen = given.weightings[0]
    # What must not learn for a maker are the parameters, unless it trains them.
    network = (trained if maker.trains_network else fold_batchnorm(trained.requires_grad_(False))).to(device)
    views = Views(given.scales, given.flip, given.max_side, chosen)
    context = MakerContext(given.training, network, views, samples, inputs or {})
    maps_of = maker.untrained(context) if inputs is None else maker.make_with(context)
    return lambda image, classes, saliency=None: {chosen: maps_of(image, classes)}
