"""IRN's place in a run: confident labels of the training images, a network that learns boundaries from them, the random
walk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from recam.data.roles import RunData
from recam.engine.amount import Amount
from recam.engine.bench import Bench
from recam.engine.stage import Stage
from recam.engine.work import Work
from recam.errors import RecamError
from recam.methods.advcam import WALK_POWER
from recam.methods.cam import STRIDE
from recam.methods.crf import require_densecrf
from recam.methods.irn import IrnRefiner, IrnSettings, IrnTerms, irn_loss
from recam.methods.irn_paths import reach
from recam.models.backbones import BackboneSettings
from recam.models.folding import fold_batchnorm
from recam.models.irnet import IrNet
from recam.models.saved import load_classifier, load_irnet, make_irnet, save_irnet
from recam.pipeline.fit_amounts import Fitted, fit_amounts
from recam.pipeline.refiner import Place, RefineContext, RefinerStep, refiner_steps, try_network
from recam.pipeline.refiners.irn_labels import PUBLISHED, LabelsGiven, label_amounts, make_labels
from recam.pipeline.stages.masks import MaskSettings, PseudoMasks
from recam.pipeline.stages.train import fit_stage
from recam.recipe.recipe import Recipe
from recam.runfolder.kinds import REFINER_NETWORK
from recam.runfolder.store import WEIGHTS
from recam.settings import Count, Momentum, NonNegative, Positive, Share, section
from recam.training.augment import Augment, normalise_image, resize_image, scaled_size
from recam.training.loader import Batch, MaskedImages
from recam.training.loop import Schedule
from recam.training.optim import make_sgd, split_parameters
from recam.training.settings import ordered
from recam.types import Image, Sample

MIDDLE = STRIDE // 2


@section("irn")
@dataclass(frozen=True)
class IrnStepSettings(IrnTerms):
    """IRN, `refine = ["irn"]`: confident labels, a network that learns boundaries from them, a random walk; see
    `recam.methods.irn`."""

    background_threshold: Share | Literal["auto"] = 0.28
    """A pixel is background unless a walked map exceeds this share of the largest value; published 0.28 for VOC, 0.25
    for COCO. ``auto``: found in the walked maps, as `masks.threshold`."""
    confident: tuple[float, float] | Literal["auto"] = PUBLISHED
    """Confident background threshold and confident foreground threshold; between them nothing is learned. ``auto``: as
    far from the threshold in force as the published ones are from theirs, see `confident_around`. Without a background
    nothing is learned up to the second, of ``auto`` the published one."""
    confident_cam: tuple[float, float] | Literal["auto"] = (0.05, 0.30)
    """The same for plain CAM."""
    labels_by: Literal["crf", "pamr"] = "crf"
    """What cleans the confident labels: ``crf`` as published (the extra crf), or ``pamr``, which needs nothing."""
    weights: Literal["backbone", "classifier"] = "backbone"
    """Features that boundaries are learned from: those of ``backbone.weights`` as published, or the trained
    classifier's."""
    displacement: bool = True
    """Train the displacement branch beside (published); the walk does not need it."""
    epochs: Count = 3
    """Passes over the training split."""
    batch: Count = 32
    """Images per step, over all processes."""
    lr: Positive = 0.1
    """Learning rate of the edge branch."""
    displacement_lr: Positive = 1.0
    """Learning rate of the displacement branch."""
    momentum: Momentum = 0.0
    """SGD momentum; the published rates fit 0."""
    weight_decay: NonNegative = 1e-4
    """SGD weight decay."""
    power: NonNegative = 0.9
    """Exponent of the polynomial decay."""
    scale: tuple[Positive, Positive] = (0.5, 1.5)
    """Range of the factor that a training image is resized by, drawn evenly."""
    crop: Annotated[int, Field(ge=80, multiple_of=4)] = 512
    """Side (pixels) of the random square crop."""

    def conflicts(self, recipe: Recipe) -> list[str]:
        wrong = ordered("irn.scale", self.scale)
        for name, pair in {"irn.confident": self.confident, "irn.confident_cam": self.confident_cam}.items():
            background, foreground = PUBLISHED if pair == "auto" else pair
            if not 0 <= background <= foreground <= 1:
                wrong.append(
                    f"{name} = ({background}, {foreground}): give background first, then foreground, both in [0, 1]"
                )
        return wrong


@dataclass(frozen=True)
class WalkSettings:
    """What the walk depends on, beside the network: radius, exponent and length, size of the images, exponent of the
    maps."""

    walk_radius: float
    beta: float
    steps: int
    max_side: int | None
    power: float
    network: str


@dataclass(frozen=True)
class NetworkGiven:
    """What the network depends on, beside the labels.

    Attributes:
        settings: those of training; those of labels and walk stand at their defaults.
        classifier: stage whose features boundaries are learned from; empty: the backbone's own weights.
    """

    settings: IrnStepSettings
    labels: str
    classifier: str
    backbone: BackboneSettings
    weights: str | None
    seed: int
    max_side: int | None


@refiner_steps.register("irn")
@dataclass(frozen=True)
class IrnStep(RefinerStep):
    """`recam.methods.irn.IrnRefiner`, its network trained on the maps that it will refine."""

    title, Settings = "IRN", IrnStepSettings

    @classmethod
    def plan(cls, name: str, place: Place) -> IrnStep:
        own = place.recipe.section(IrnStepSettings)
        power = WALK_POWER if place.before.chain[-1:] == ("advcam",) else 1.0
        network = f"irn/{place.before.stem}/network"
        return cls(name, WalkSettings(own.walk_radius, own.beta, own.steps, place.max_side, power, network))

    def make(self, context: RefineContext) -> IrnRefiner:
        network = load_irnet(context.inputs[self.settings.network].weights)
        fold_batchnorm(network.backbone)
        return self._refiner(network.to(context.device))

    def _refiner(self, network: IrNet) -> IrnRefiner:
        own = self.settings
        walk = IrnSettings(walk_radius=own.walk_radius, beta=own.beta, steps=own.steps)
        return IrnRefiner(partial(find_edges, network, max_side=own.max_side), walk, own.power)

    def untrained(self, bench: Bench) -> Callable[[Sample], IrnRefiner]:
        network = _untrained_irnet(bench, bench.recipe.section(BackboneSettings), False)
        fold_batchnorm(network.backbone)
        refiner = self._refiner(network.to(bench.device))
        return lambda sample: refiner

    def threshold(self, place: Place) -> float | None:
        own = place.recipe.section(IrnStepSettings).background_threshold
        return None if own == "auto" else own

    def problems(self, place: Place) -> list[str]:
        found = []
        own, backbone = place.recipe.section(IrnStepSettings), place.recipe.section(BackboneSettings)
        if own.weights == "classifier" and place.before.origin == "external":
            found.append(
                "irn.weights = 'classifier' takes the run's own, and with maps.source none is trained: set it to"
                " 'backbone'."
            )
        if own.labels_by == "crf":
            try:
                require_densecrf()
            except RecamError as error:
                found.append(f"{error} For IRN's confident labels that is irn.labels_by = 'pamr'.")
        side, r = own.crop // 4, reach(own.radius)
        if side <= 2 * r:
            what = f"irn.crop = {own.crop} holds no pairs within irn.radius = {own.radius:g}"
            found.append(f"{what}: take a crop of at least {4 * (2 * r + 1)} pixels.")
        try:
            try_network(make_irnet, replace(backbone, weights="none"), own.displacement)
        except RecamError as error:
            found.append(str(error))
        return found

    def preparations(self, place: Place) -> tuple[Stage, ...]:
        recipe, before = place.recipe, place.before
        own = recipe.section(IrnStepSettings)
        confident = own.confident_cam if before.origin == "cam" else own.confident
        found, taken = confident == "auto" and before.background, None if confident == "auto" else confident
        source = before.source(recipe.section(MaskSettings).oracle) if found else None
        levels = taken if before.background else (None, (taken or PUBLISHED)[1])
        labels_given = LabelsGiven(before.folder, levels, source, own.labels_by)
        title = f"IRN's labels from {before.title}"
        labels = Stage(
            f"irn/{before.stem}/labels",
            "refine",
            make_labels,
            labels_given,
            (before.folder.stage, *(source.needs if source else ())),
            ("train",),
            label={"title": title},
            amounts=label_amounts,
            shared=True,
        )
        classifier = f"train/{before.origin}" if own.weights == "classifier" else ""
        trained = replace(
            own,
            **{name: getattr(IrnStepSettings(), name) for name in ("confident", "confident_cam", "labels_by", *_WALK)},
        )
        given = NetworkGiven(
            trained,
            labels.name,
            classifier,
            recipe.section(BackboneSettings),
            place.weights,
            recipe.seed,
            place.max_side,
        )
        needs = (labels.name, *([classifier] if classifier else []))
        label = {"title": f"IRN on {before.title}", "kind": REFINER_NETWORK}

        def rehearse(data: RunData) -> None:
            given.backbone.make(data.channels)

        network = Stage(
            self.settings.network,
            "refine",
            train_network,
            given,
            needs,
            ("train",),
            label=label,
            rehearse=None if classifier else rehearse,
            amounts=network_amounts,
        )
        return labels, network


_WALK = ("walk_radius", "beta", "steps", "background_threshold")


class IrnObjective(nn.Module):
    """IRN's loss on confident labels; the backbone stays frozen, its features are computed once for both branches."""

    def __init__(self, network: IrNet, radius: float) -> None:
        super().__init__()
        self.network, self.radius = network, radius

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        # The middle pixel of each 4×4 block stands for it, as the nearest one did in the published reduction.
        segmentation = batch["masks"][:, MIDDLE::STRIDE, MIDDLE::STRIDE]  # (B, h, w)
        edge_logits, displacement = self.network(batch["images"])
        loss = irn_loss(edge_logits, displacement, segmentation, self.radius)
        parts = {"positive": loss.positive, "negative": loss.negative}
        if loss.displacement_foreground is not None and loss.displacement_background is not None:
            parts["displacement"] = (loss.displacement_foreground + loss.displacement_background) / 2
        return {"loss": loss.total, **parts}


def train_network(given: NetworkGiven, work: Work) -> dict[str, Any]:
    """Train IRN's branches on the confident labels, the backbone frozen."""
    torch.manual_seed(given.seed)
    own = given.settings
    # A backbone of the same shape that the classifier's tensors are put into: nothing is downloaded for it.
    backbone = replace(given.backbone, weights="none") if given.classifier else given.backbone
    network = make_irnet(backbone, own.displacement, work.data.channels)
    if given.classifier:
        trained = load_classifier(work.inputs[given.classifier].weights).backbone
        network.backbone.load_state_dict(trained.state_dict())
        network.backbone.mean, network.backbone.std = trained.mean, trained.std
    augment = Augment(own.crop, network.backbone.mean, network.backbone.std, scale=own.scale, max_side=given.max_side)
    dataset = MaskedImages(work.data.train, PseudoMasks(work.inputs[given.labels]), augment, given.seed)
    optimizer = make_sgd(
        split_parameters(network, network.edge, own.lr, own.displacement_lr),
        momentum=own.momentum,
        weight_decay=own.weight_decay,
    )
    schedule = Schedule(own.epochs, own.batch, work.compute.workers, work.compute.save_minutes)
    result = fit_stage(work, IrnObjective(network, own.radius), dataset, optimizer, own.power, schedule, given.seed)
    if work.accelerator.is_main_process:
        save_irnet(work.folder.path / WEIGHTS, network, backbone, work.data.settings.reading)
    return {"history": result.history, "images": len(work.data.train)}


def network_amounts(given: NetworkGiven, data: RunData) -> list[Amount]:
    """Steps on images with confident labels."""
    own = given.settings

    def begin(bench: Bench) -> Fitted:
        network = _untrained_irnet(bench, given.backbone, own.displacement)
        backbone = network.backbone
        augment = Augment(own.crop, backbone.mean, backbone.std, scale=own.scale, max_side=given.max_side)
        dataset = MaskedImages(bench.samples, bench.mask, augment, given.seed)
        groups = split_parameters(network, network.edge, own.lr, own.displacement_lr)
        optimizer = make_sgd(groups, momentum=own.momentum, weight_decay=own.weight_decay)
        return Fitted(IrnObjective(network, own.radius), dataset, optimizer)

    return fit_amounts(len(data.train), Schedule(own.epochs, own.batch), begin, given)


def _untrained_irnet(bench: Bench, backbone: BackboneSettings, displacement: bool) -> IrNet:
    return make_irnet(replace(backbone, weights="none"), displacement, bench.channels).eval()


def find_edges(network: IrNet, image: Image, max_side: int | None = None) -> Tensor:
    """Probabilities of a class boundary (1, h, w) of an image (H, W, 3), at a quarter of the size at which it is
    read."""
    size = scaled_size((image.shape[0], image.shape[1]), 1.0, max_side)
    view = normalise_image(resize_image(image, size), network.backbone.mean, network.backbone.std)
    device = next(network.parameters()).device
    edges: Tensor = network.edges(view[None].to(device, memory_format=torch.channels_last))[0].float()  # (1, h, w)
    return edges
