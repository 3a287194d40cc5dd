"""PSA's place in a run: labels of the training images, a network that learns from them which pixels belong together,
the random walk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from recam.data.reading import COLOURS
from recam.data.roles import RunData
from recam.engine.amount import Amount
from recam.engine.bench import Bench
from recam.engine.stage import Stage
from recam.engine.work import Work
from recam.errors import RecamError
from recam.methods.crf import require_densecrf
from recam.methods.irn_paths import reach
from recam.methods.psa import STRIDE, PsaRefiner, PsaSettings, psa_loss
from recam.methods.refine import EVEN
from recam.models.affinitynet import AffinityNet
from recam.models.backbones import BackboneSettings
from recam.models.folding import fold_batchnorm
from recam.models.saved import load_affinitynet, load_classifier, save_affinitynet
from recam.pipeline.fit_amounts import Fitted, fit_amounts
from recam.pipeline.refiner import Place, RefineContext, RefinerStep, refiner_steps, try_network
from recam.pipeline.refiners.psa_labels import LabelsGiven, label_amounts, make_labels
from recam.pipeline.stages.masks import PseudoMasks
from recam.pipeline.stages.train import fit_stage
from recam.runfolder.kinds import REFINER_NETWORK
from recam.runfolder.store import WEIGHTS
from recam.settings import Count, Momentum, NonNegative, Positive, Share, section
from recam.training.augment import Augment, normalise_image, resize_image, scaled_size
from recam.training.loader import Batch, MaskedImages
from recam.training.loop import Schedule
from recam.training.optim import make_sgd, split_parameters
from recam.types import Image, Sample

MIDDLE = STRIDE // 2


@section("psa")
@dataclass(frozen=True)
class PsaStepSettings(PsaSettings):
    """PSA, `refine = ["psa"]`: labels that two backgrounds agree on, a network that learns affinities from them, a
    random walk; see `recam.methods.psa`."""

    labels_by: Literal["crf", "pamr"] = "crf"
    """What cleans the scores that labels are made of: ``crf`` as published (the extra crf), or ``pamr``, which needs
    nothing."""
    weights: Literal["backbone", "classifier"] = "classifier"
    """What the backbone starts from: the trained classifier as published, or ``backbone.weights``."""
    freeze_until: int | str = 1
    """Frozen stages; published: those before stride 4. 5 freezes a backbone of five stages whole."""
    epochs: Count = 8
    """Passes over the training split."""
    batch: Count = 8
    """Images per step, over all processes."""
    lr: Positive = 0.1
    """Learning rate of the backbone."""
    head_lr: Positive = 1.0
    """Learning rate of the rest."""
    momentum: Momentum = 0.0
    """SGD momentum; the published code passes the weight decay in its place, in effect 0, which its rates fit."""
    weight_decay: NonNegative = 5e-4
    """SGD weight decay."""
    power: NonNegative = 0.9
    """Exponent of the polynomial decay."""
    jitter: Share = 0.3
    """Strength of the colour jitter."""
    crop: Annotated[int, Field(ge=80, multiple_of=8)] = 448
    """Side (pixels) of the random square crop."""

    def method(self) -> PsaSettings:
        """What labels, loss and walk depend on."""
        return PsaSettings(**{each.name: getattr(self, each.name) for each in fields(PsaSettings)})


@dataclass(frozen=True)
class WalkGiven:
    """What the walk depends on, beside the network's weights."""

    method: PsaSettings
    max_side: int | None
    network: str


@dataclass(frozen=True)
class NetworkGiven:
    """What the network depends on, beside the labels.

    Attributes:
        settings: those of training; those of labels and walk stand at their defaults.
        classifier: stage whose backbone it starts from; empty: the backbone's own weights.
    """

    settings: PsaStepSettings
    labels: str
    classifier: str
    backbone: BackboneSettings
    weights: str | None
    seed: int


@refiner_steps.register("psa")
@dataclass(frozen=True)
class PsaStep(RefinerStep):
    """`recam.methods.psa.PsaRefiner`, its network trained on the maps that it will refine."""

    title, Settings = "PSA", PsaStepSettings
    needs_background = True

    @classmethod
    def plan(cls, name: str, place: Place) -> PsaStep:
        own = place.recipe.section(PsaStepSettings).method()
        default = PsaSettings()
        # Exponents of the labels change them, and through them the network, but not the walk.
        walk = replace(own, low_alpha=default.low_alpha, high_alpha=default.high_alpha)
        return cls(name, WalkGiven(walk, place.max_side, f"psa/{place.before.stem}/network"))

    def make(self, context: RefineContext) -> PsaRefiner:
        network = load_affinitynet(context.inputs[self.settings.network].weights)
        return self._refiner(network, context.device)

    def _refiner(self, network: AffinityNet, device: torch.device) -> PsaRefiner:
        fold_batchnorm(network.backbone)
        return PsaRefiner(
            partial(find_features, network.to(device), max_side=self.settings.max_side), self.settings.method
        )

    def untrained(self, bench: Bench) -> Callable[[Sample], PsaRefiner]:
        refiner = self._refiner(_untrained(bench, bench.recipe.section(BackboneSettings)).eval(), bench.device)
        return lambda sample: refiner

    def threshold(self, place: Place) -> float:
        return EVEN

    def problems(self, place: Place) -> list[str]:
        found = []
        own, backbone = place.recipe.section(PsaStepSettings), place.recipe.section(BackboneSettings)
        if own.weights == "classifier" and place.before.origin == "external":
            found.append(
                "psa.weights = 'classifier' takes the run's own, and with maps.source none is trained: set it to"
                " 'backbone'."
            )
        if own.labels_by == "crf":
            try:
                require_densecrf()
            except RecamError as error:
                found.append(f"{error} For PSA's labels that is psa.labels_by = 'pamr'.")
        side, r = own.crop // STRIDE, reach(own.radius)
        if side <= 2 * r:
            what = f"psa.crop = {own.crop} holds no pairs within psa.radius = {own.radius:g}"
            found.append(f"{what}: take a crop of at least {STRIDE * (2 * r + 1)} pixels.")
        try:
            own_backbone = replace(backbone, weights="none", freeze_until=own.freeze_until)
            try_network(_make_network, own_backbone, COLOURS)
        except RecamError as error:
            found.append(str(error))
        return found

    def preparations(self, place: Place) -> tuple[Stage, ...]:
        recipe, before = place.recipe, place.before
        own, walk = recipe.section(PsaStepSettings), PsaSettings()
        labels_given = LabelsGiven(before.folder, own.low_alpha, own.high_alpha, own.labels_by)
        labels = Stage(
            f"psa/{before.stem}/labels",
            "refine",
            make_labels,
            labels_given,
            (before.folder.stage,),
            ("train",),
            label={"title": f"PSA's labels from {before.title}"},
            amounts=label_amounts,
            shared=True,
        )
        classifier = f"train/{before.origin}" if own.weights == "classifier" else ""
        unused = {each.name: getattr(walk, each.name) for each in fields(PsaSettings) if each.name != "radius"}
        trained = replace(own, labels_by="crf", **unused)
        given = NetworkGiven(
            trained, labels.name, classifier, recipe.section(BackboneSettings), place.weights, recipe.seed
        )
        network = Stage(
            self.settings.network,
            "refine",
            train_network,
            given,
            (labels.name, *([classifier] if classifier else [])),
            ("train",),
            label={"title": f"PSA on {before.title}", "kind": REFINER_NETWORK},
            rehearse=None if classifier else lambda data: given.backbone.make(data.channels),
            amounts=network_amounts,
        )
        return labels, network


class PsaObjective(nn.Module):
    """PSA's loss on labels at the middle pixel of each 8×8 block."""

    def __init__(self, network: AffinityNet, radius: float) -> None:
        super().__init__()
        self.network, self.radius = network, radius

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        labels = batch["masks"][:, MIDDLE::STRIDE, MIDDLE::STRIDE]  # (B, h, w)
        loss = psa_loss(self.network(batch["images"]), labels, self.radius)
        parts = {"background": loss.background, "foreground": loss.foreground, "negative": loss.negative}
        return {"loss": loss.total, **parts}


def train_network(given: NetworkGiven, work: Work) -> dict[str, Any]:
    """Train PSA's network on the labels."""
    torch.manual_seed(given.seed)
    own = given.settings
    backbone = replace(given.backbone, freeze_until=own.freeze_until)
    network = _make_network(replace(backbone, weights="none") if given.classifier else backbone, work.data.channels)
    if given.classifier:
        trained = load_classifier(work.inputs[given.classifier].weights).backbone
        network.backbone.load_state_dict(trained.state_dict())
        network.backbone.mean, network.backbone.std = trained.mean, trained.std
    augment = Augment(own.crop, network.backbone.mean, network.backbone.std, scale=(1.0, 1.0), jitter=own.jitter)
    dataset = MaskedImages(work.data.train, PseudoMasks(work.inputs[given.labels]), augment, given.seed)
    schedule = Schedule(own.epochs, own.batch, work.compute.workers, work.compute.save_minutes)
    objective, optimizer = PsaObjective(network, own.radius), _optimizer(network, own)
    result = fit_stage(work, objective, dataset, optimizer, own.power, schedule, given.seed)
    if work.accelerator.is_main_process:
        save_affinitynet(work.folder.path / WEIGHTS, network, backbone, work.data.settings.reading)
    return {"history": result.history, "images": len(work.data.train)}


def network_amounts(given: NetworkGiven, data: RunData) -> list[Amount]:
    """Steps on images with labels."""
    own = given.settings

    def begin(bench: Bench) -> Fitted:
        network = _untrained(bench, replace(given.backbone, freeze_until=own.freeze_until))
        augment = Augment(own.crop, network.backbone.mean, network.backbone.std, scale=(1.0, 1.0), jitter=own.jitter)
        dataset = MaskedImages(bench.samples, bench.mask, augment, given.seed)
        return Fitted(PsaObjective(network, own.radius), dataset, _optimizer(network, own))

    return fit_amounts(len(data.train), Schedule(own.epochs, own.batch), begin, given)


def find_features(network: AffinityNet, image: Image, max_side: int | None = None) -> Tensor:
    """PSA's features (448, h, w) of an image (H, W, 3), at an eighth of the size at which it is read."""
    size = scaled_size((image.shape[0], image.shape[1]), 1.0, max_side)
    view = normalise_image(resize_image(image, size), network.backbone.mean, network.backbone.std)
    device = next(network.parameters()).device
    with torch.no_grad():
        features: Tensor = network(view[None].to(device, memory_format=torch.channels_last))[0].float()
    return features


def _optimizer(network: AffinityNet, own: PsaStepSettings) -> torch.optim.Optimizer:
    groups = split_parameters(network, network.backbone, own.lr, own.head_lr)
    return make_sgd(groups, momentum=own.momentum, weight_decay=own.weight_decay)


def _make_network(backbone: BackboneSettings, channels: int) -> AffinityNet:
    return AffinityNet(backbone.make(channels)).to(memory_format=torch.channels_last)


def _untrained(bench: Bench, backbone: BackboneSettings) -> AffinityNet:
    return _make_network(replace(backbone, weights="none"), bench.channels)
