"""BES's place in a run: boundaries read off the class maps of the training images, IRN's boundary branch that learns
them, the random walk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from recam.data.roles import RunData
from recam.engine.amount import Amount, Turn
from recam.engine.bench import Bench
from recam.engine.stage import Stage
from recam.engine.tasks import Plain
from recam.engine.work import Work
from recam.errors import RecamError
from recam.methods.bes import BesSettings, bes_loss, boundary_labels
from recam.methods.crf import require_densecrf
from recam.methods.irn import IrnRefiner, IrnSettings
from recam.models.backbones import BackboneSettings
from recam.models.folding import fold_batchnorm
from recam.models.irnet import IrNet
from recam.models.saved import load_irnet, make_irnet, save_irnet
from recam.pipeline.fit_amounts import Fitted, fit_amounts
from recam.pipeline.map_set import MapFolder, ThresholdSource
from recam.pipeline.refiner import Place, RefineContext, RefinerStep, refiner_steps, try_network
from recam.pipeline.refiners.irn import MIDDLE, find_edges
from recam.pipeline.refiners.irn_labels import LabelMaker, confident_around
from recam.pipeline.stages.masks import MaskSettings, PseudoMasks
from recam.pipeline.stages.score import HasMask
from recam.pipeline.stages.train import fit_stage
from recam.recipe.recipe import Recipe
from recam.runfolder.kinds import REFINER_NETWORK
from recam.runfolder.store import WEIGHTS, StageFolder
from recam.settings import Count, Momentum, NonNegative, Positive, Share, section
from recam.training.augment import Augment
from recam.training.loader import Batch, MaskedImages
from recam.training.loop import Schedule
from recam.training.optim import make_sgd, split_parameters
from recam.training.settings import ordered
from recam.types import Mask, Sample

STRIDE = 4
PUBLISHED = (0.07, 0.30)
"""Confident thresholds for BES's own maps on VOC."""


@section("bes")
@dataclass(frozen=True)
class BesStepSettings(BesSettings):
    """BES, `refine = ["bes"]`: boundaries where labels of the maps meet, a network that learns them, IRN's random walk;
    see `recam.methods.bes`."""

    background_threshold: Share | Literal["auto"] = 0.25
    """A pixel is background unless a walked map exceeds this share of the largest value. ``auto``: found in the walked
    maps, as `masks.threshold`."""
    confident: tuple[float, float] | Literal["auto"] = PUBLISHED
    """Confident background threshold and confident foreground threshold. ``auto``: around the threshold in force, as
    `irn.confident`."""
    labels_by: Literal["crf", "pamr"] = "crf"
    """What cleans the confident labels: ``crf`` as published (the extra crf), or ``pamr``, which needs nothing."""
    epochs: Count = 3
    """Passes over the training split."""
    batch: Count = 16
    """Images per step, over all processes."""
    lr: Positive = 0.1
    """Learning rate."""
    momentum: Momentum = 0.0
    """SGD momentum; the published code passes the weight decay in its place, in effect 0, which its rate fits."""
    weight_decay: NonNegative = 1e-4
    """SGD weight decay."""
    power: NonNegative = 0.9
    """Exponent of the polynomial decay."""
    scale: tuple[Positive, Positive] = (0.5, 1.5)
    """Range of the factor that a training image is resized by, drawn evenly."""
    crop: Annotated[int, Field(ge=32, multiple_of=4)] = 512
    """Side (pixels) of the random square crop."""

    def method(self) -> BesSettings:
        """What boundary labels and the walk depend on."""
        return BesSettings(**{each.name: getattr(self, each.name) for each in fields(BesSettings)})

    def conflicts(self, recipe: Recipe) -> list[str]:
        wrong = ordered("bes.scale", self.scale)
        background, foreground = PUBLISHED if self.confident == "auto" else self.confident
        if not 0 <= background <= foreground <= 1:
            wrong.append(
                f"bes.confident = ({background}, {foreground}): give background first, then foreground, both in [0, 1]"
            )
        return wrong


@dataclass(frozen=True)
class WalkGiven:
    """What the walk depends on, beside the network's weights."""

    walk_radius: float
    beta: float
    steps: int
    max_side: int | None
    network: str


@dataclass(frozen=True)
class LabelsGiven:
    """What boundary labels depend on, beside the maps.

    Attributes:
        confident: None: around that of the maps, `threshold`.
        method: of which the walk's settings stand at their defaults.
    """

    maps: MapFolder
    confident: tuple[float, float] | None
    threshold: ThresholdSource | None
    by: str
    method: BesSettings


@dataclass(frozen=True)
class NetworkGiven:
    """What the network depends on, beside the labels; settings of labels and walk stand at their defaults."""

    settings: BesStepSettings
    labels: str
    backbone: BackboneSettings
    weights: str | None
    seed: int
    max_side: int | None


@dataclass(frozen=True)
class BoundaryMaker(LabelMaker):
    """Reads an image's maps and writes where labels of them meet; picklable, for processes."""

    method: BesSettings

    def finish(self, labels: Mask) -> Mask:
        return boundary_labels(labels, self.method)


@refiner_steps.register("bes")
@dataclass(frozen=True)
class BesStep(RefinerStep):
    """The walk of `recam.methods.irn.IrnRefiner` with boundaries learned from the maps that it will refine."""

    title, Settings = "BES", BesStepSettings
    needs_background = True

    @classmethod
    def plan(cls, name: str, place: Place) -> BesStep:
        own, network = place.recipe.section(BesStepSettings), f"bes/{place.before.stem}/network"
        return cls(name, WalkGiven(own.walk_radius, own.beta, own.steps, place.max_side, network))

    def make(self, context: RefineContext) -> IrnRefiner:
        return self._refiner(load_irnet(context.inputs[self.settings.network].weights), context.device)

    def _refiner(self, network: IrNet, device: torch.device) -> IrnRefiner:
        own: WalkGiven = self.settings
        fold_batchnorm(network.backbone)
        walk = IrnSettings(walk_radius=own.walk_radius, beta=own.beta, steps=own.steps)
        return IrnRefiner(partial(find_edges, network.to(device), max_side=own.max_side), walk)

    def untrained(self, bench: Bench) -> Callable[[Sample], IrnRefiner]:
        refiner = self._refiner(_untrained(bench, bench.recipe.section(BackboneSettings)).eval(), bench.device)
        return lambda sample: refiner

    def threshold(self, place: Place) -> float | None:
        own = place.recipe.section(BesStepSettings).background_threshold
        return None if own == "auto" else own

    def problems(self, place: Place) -> list[str]:
        found = []
        own, backbone = place.recipe.section(BesStepSettings), place.recipe.section(BackboneSettings)
        if own.labels_by == "crf":
            try:
                require_densecrf()
            except RecamError as error:
                found.append(f"{error} For BES's labels that is bes.labels_by = 'pamr'.")
        try:
            try_network(make_irnet, replace(backbone, weights="none"), False)
        except RecamError as error:
            found.append(str(error))
        return found

    def preparations(self, place: Place) -> tuple[Stage, ...]:
        recipe, before = place.recipe, place.before
        own, walk = recipe.section(BesStepSettings), BesSettings()
        found = own.confident == "auto"
        source = before.source(recipe.section(MaskSettings).oracle) if found else None
        walk_only = {name: getattr(walk, name) for name in ("walk_radius", "beta", "steps")}
        method = replace(own.method(), **walk_only)
        levels = None if own.confident == "auto" else own.confident
        labels = Stage(
            f"bes/{before.stem}/labels",
            "refine",
            make_labels,
            LabelsGiven(before.folder, levels, source, own.labels_by, method),
            (before.folder.stage, *(source.needs if source else ())),
            ("train",),
            label={"title": f"BES's labels from {before.title}"},
            amounts=label_amounts,
            shared=True,
        )
        default = BesStepSettings()
        elsewhere = (*(each.name for each in fields(BesSettings)), "confident", "labels_by", "background_threshold")
        trained = replace(own, **{name: getattr(default, name) for name in elsewhere})
        backbone = recipe.section(BackboneSettings)
        given = NetworkGiven(trained, labels.name, backbone, place.weights, recipe.seed, place.max_side)
        network = Stage(
            self.settings.network,
            "refine",
            train_network,
            given,
            (labels.name,),
            ("train",),
            label={"title": f"BES on {before.title}", "kind": REFINER_NETWORK},
            rehearse=lambda data: backbone.make(data.channels),
            amounts=network_amounts,
        )
        return labels, network


def make_labels(given: LabelsGiven, work: Work) -> dict[str, Any]:
    """Boundary labels of every training image, in processes of their own."""
    level = given.threshold.find(work)[0] if given.threshold else None
    confident = given.confident or (PUBLISHED if level is None else confident_around(level))
    make = _label_maker(given, confident, work.inputs[given.maps.stage].path / given.maps.inner, work.folder)
    work.each(work.data.train, Plain(HasMask(work.folder), make), processes=True)
    return {"images": len(work.data.train), "confident": list(confident)}


def label_amounts(given: LabelsGiven, data: RunData) -> list[Amount]:
    """Every training image gets its labels."""

    def set_up(bench: Bench) -> Turn:
        folder = StageFolder("labels", bench.folder / "labels", "")
        return _label_maker(given, given.confident or PUBLISHED, bench.seeds, folder)

    return [Amount("boundary labels of an image", len(data.train), set_up, (given.by, given.method.window), "pool")]


def _label_maker(
    given: LabelsGiven, confident: tuple[float, float], maps: Path, folder: StageFolder
) -> Callable[[Sample], None]:
    return BoundaryMaker(maps, folder, *confident, given.method).cleaned(given.by)


class BesObjective(nn.Module):
    """BES's loss on boundary labels; the backbone stays frozen."""

    def __init__(self, network: IrNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        # The middle pixel of each 4×4 block stands for it, as the nearest one did in the published reduction.
        labels = batch["masks"][:, MIDDLE::STRIDE, MIDDLE::STRIDE]  # (B, h, w)
        loss = bes_loss(self.network(batch["images"]).edge_logits, labels)
        return {"loss": loss.total, "ground": loss.ground, "boundary": loss.boundary}


def train_network(given: NetworkGiven, work: Work) -> dict[str, Any]:
    """Train the boundary branch on the labels."""
    torch.manual_seed(given.seed)
    own = given.settings
    network = make_irnet(given.backbone, False, work.data.channels)
    fitted = _fitted(given, network, MaskedImages(
        work.data.train, PseudoMasks(work.inputs[given.labels]), _augment(given, network), given.seed
    ))  # fmt: skip
    schedule = Schedule(own.epochs, own.batch, work.compute.workers, work.compute.save_minutes)
    result = fit_stage(work, fitted.objective, fitted.dataset, fitted.optimizer, own.power, schedule, given.seed)
    if work.accelerator.is_main_process:
        save_irnet(work.folder.path / WEIGHTS, network, given.backbone, work.data.settings.reading)
    return {"history": result.history, "images": len(work.data.train)}


def network_amounts(given: NetworkGiven, data: RunData) -> list[Amount]:
    """Steps on images with labels."""

    def begin(bench: Bench) -> Fitted:
        network = _untrained(bench, given.backbone)
        dataset = MaskedImages(bench.samples, bench.mask, _augment(given, network), given.seed)
        return _fitted(given, network, dataset)

    return fit_amounts(len(data.train), Schedule(given.settings.epochs, given.settings.batch), begin, given)


def _augment(given: NetworkGiven, network: IrNet) -> Augment:
    own, backbone = given.settings, network.backbone
    return Augment(own.crop, backbone.mean, backbone.std, scale=own.scale, max_side=given.max_side)


def _fitted(given: NetworkGiven, network: IrNet, dataset: MaskedImages) -> Fitted:
    own = given.settings
    groups = split_parameters(network, network.edge, own.lr, own.lr)
    optimizer = make_sgd(groups, momentum=own.momentum, weight_decay=own.weight_decay)
    return Fitted(BesObjective(network), dataset, optimizer)


def _untrained(bench: Bench, backbone: BackboneSettings) -> IrNet:
    return make_irnet(replace(backbone, weights="none"), False, bench.channels)
