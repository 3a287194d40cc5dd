"""IRN in a run: confident labels of the training images, a network that learns boundaries from them, the random walk."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from recam.data.images import write_mask
from recam.engine.work import RunData, Stage, Work
from recam.errors import RecamError
from recam.labels import BACKGROUND, IGNORE
from recam.methods.advcam import WALK_POWER
from recam.methods.cam import read_full
from recam.methods.crf import confident_labels, require_densecrf
from recam.methods.irn import IrnRefiner
from recam.methods.irn_paths import reach
from recam.methods.pamr import PamrRefiner
from recam.methods.refine import EVEN
from recam.methods.thresholds import apply_threshold
from recam.models.folding import fold_batchnorm
from recam.models.irnet import IrNet
from recam.models.saved import load_classifier, load_irnet, make_irnet, save_irnet
from recam.pipeline.chains import Link
from recam.pipeline.objectives import IrnObjective
from recam.pipeline.refiner import RefineContext, RefinerStep, refiner_steps
from recam.pipeline.segment_parts import PseudoMasks, mask_path
from recam.pipeline.training_stages import WEIGHTS, train
from recam.recipe.recipe import Recipe
from recam.runfolder.store import StageFolder, map_path, read_seed
from recam.training.augment import Augment, normalise_image, resize_image, scaled_size
from recam.training.loader import MaskedImages
from recam.training.optim import split_parameters
from recam.types import Image, Mask, Sample, SeedMaps


@refiner_steps.register("irn")
class IrnStep(RefinerStep):
    """`recam.methods.irn.IrnRefiner`, its network trained on the maps that it will refine."""

    def make(self, context: RefineContext) -> IrnRefiner:
        recipe, link = context.recipe, context.link
        network = load_irnet(context.inputs[_network_stage(link)].path / WEIGHTS)
        fold_batchnorm(network.backbone)
        network.to(context.device)
        power = WALK_POWER if link.before.chain and link.before.refiner == "advcam" else 1.0
        return IrnRefiner(partial(find_edges, network, max_side=recipe.data.max_side), recipe.irn.method(), power)

    def settings(self, recipe: Recipe, link: Link) -> dict[str, Any]:
        return {"max_side": recipe.data.max_side, **recipe.irn.model_dump(include={"walk_radius", "beta", "steps"})}

    def threshold(self, recipe: Recipe, before: float) -> float:
        return recipe.irn.threshold

    def problems(self, recipe: Recipe, data: RunData) -> list[str]:
        found = []
        if recipe.irn.weights == "classifier" and recipe.seeds.source:
            found.append("irn.weights = 'classifier' takes the run's own, and with seeds.source none is trained: set it to 'backbone'.")
        if recipe.irn.labels_by == "crf":
            try:
                require_densecrf()
            except RecamError as error:
                found.append(f"{error} For IRN's confident labels that is irn.labels_by = 'pamr'.")
        side, r = recipe.irn.crop // 4, reach(recipe.irn.radius)
        if side <= 2 * r:
            told = f"irn.crop = {recipe.irn.crop} holds no pairs within irn.radius = {recipe.irn.radius:g}"
            found.append(f"{told}: take a crop of at least {4 * (2 * r + 1)} pixels.")
        try:
            make_irnet(recipe.backbone.model_copy(update={"weights": "none"}), recipe.irn.displacement)
        except RecamError as error:
            found.append(str(error))
        return found

    def preparations(self, link: Link) -> tuple[Stage, ...]:
        before = link.before
        labels = Stage(
            f"irn/{before.name}/labels",
            "refine",
            partial(make_labels, link=before),
            partial(_label_settings, link=before),
            (before.maps_stage,),
            ("train",),
        )
        network = Stage(
            _network_stage(link),
            "refine",
            partial(train_network, labels=labels.name, classifier=before.training),
            partial(_network_settings, link=before),
            (labels.name,),
            ("train",),
            reads=(before.training,),
        )
        return labels, network


def _network_stage(link: Link) -> str:
    return f"irn/{link.before.name}/network"


def is_network_stage(name: str) -> bool:
    """Whether a stage of that name trains a network of IRN's."""
    return name.startswith("irn/") and name.endswith("/network")


def _sure(recipe: Recipe, link: Link) -> tuple[float, float]:
    return recipe.irn.sure_cam if link.origin == "cam" else recipe.irn.sure


def _label_settings(recipe: Recipe, data: RunData, link: Link) -> dict[str, Any]:
    return {"sure": _sure(recipe, link), "by": recipe.irn.labels_by, "weighting": link.weighting(recipe)}


def _network_settings(recipe: Recipe, data: RunData, link: Link) -> dict[str, Any]:
    own = recipe.irn.model_dump(exclude={"sure", "sure_cam", "labels_by", "walk_radius", "beta", "steps", "threshold"})
    backbone = {"backbone": recipe.backbone.model_dump(exclude={"freeze_until"}), **data.weights_key(recipe.backbone.weights)}
    return {"seed": recipe.seed, "max_side": recipe.data.max_side, **backbone, **own}


def make_labels(work: Work, link: Link) -> dict[str, Any]:
    """Confident labels of every training image, in processes of their own."""
    background, foreground = _sure(work.recipe, link)
    label = LabelMaker(work.inputs[link.maps_stage], link.weighting(work.recipe), work.folder, background, foreground)
    make = label.by_crf if work.recipe.irn.labels_by == "crf" else label.by_pamr
    work.each(work.data.train, lambda sample: mask_path(work.folder, sample.id).is_file(), make, processes=True)
    return {"images": len(work.data.train)}


@dataclass(frozen=True)
class LabelMaker:
    """Reads an image's maps and writes its confident labels; picklable, for processes."""

    maps: StageFolder
    weighting: str
    folder: StageFolder
    background: float
    foreground: float

    def by_crf(self, sample: Sample) -> None:
        """As published; see `recam.methods.crf.confident_labels`."""
        seed = read_seed(map_path(self.maps, self.weighting, sample.id))
        labels = confident_labels(sample.image.read(), read_full(seed), seed.class_indices, self.foreground, self.background)
        self._write(sample, seed, labels)

    def by_pamr(self, sample: Sample) -> None:
        """The same with PAMR in the CRF's place."""
        image, seed = sample.image.read(), read_seed(map_path(self.maps, self.weighting, sample.id))
        sure, possible = (
            apply_threshold(read_full(PamrRefiner(threshold)(image, seed)), seed.class_indices, EVEN)
            for threshold in (self.foreground, self.background)
        )  # (H, W)
        sure[(sure == BACKGROUND) & (possible != BACKGROUND)] = IGNORE
        self._write(sample, seed, sure)

    def _write(self, sample: Sample, seed: SeedMaps, labels: Mask) -> None:
        if seed.ignore is not None:
            labels[seed.ignore] = IGNORE
        write_mask(mask_path(self.folder, sample.id), labels)


def train_network(work: Work, labels: str, classifier: str) -> dict[str, Any]:
    """Train IRN's branches on the confident labels, the backbone frozen."""
    torch.manual_seed(work.recipe.seed)
    section, backbone = work.recipe.irn, work.recipe.backbone
    if section.weights == "classifier":
        # A backbone of the same shape that the trained tensors are put into: nothing is downloaded for it.
        backbone = backbone.model_copy(update={"weights": "none"})
    network = make_irnet(backbone, section.displacement)
    if section.weights == "classifier":
        trained = load_classifier(work.inputs[classifier].path / WEIGHTS).backbone
        network.backbone.load_state_dict(trained.state_dict())
        network.backbone.mean, network.backbone.std = trained.mean, trained.std
    mean, std = network.backbone.mean, network.backbone.std
    dataset = MaskedImages(
        work.data.train,
        PseudoMasks(work.inputs[labels]),
        Augment(section.crop, mean, std, scale=section.scale, max_side=work.recipe.data.max_side),
        work.recipe.seed,
    )
    groups = split_parameters(network, network.edge, section.lr, section.displacement_lr)
    results = train(work, IrnObjective(network, section.radius), dataset, groups, section, section.epochs, section.batch)
    if work.accelerator.is_main_process:
        save_irnet(work.folder.path / WEIGHTS, network, backbone)
    return {**results, "images": len(work.data.train)}


def find_edges(network: IrNet, image: Image, max_side: int | None = None) -> Tensor:
    """Probabilities of a class boundary (1, h, w) of an image (H, W, 3), at a quarter of the size at which it is seen."""
    size = scaled_size((image.shape[0], image.shape[1]), 1.0, max_side)
    view = normalise_image(resize_image(image, size), network.backbone.mean, network.backbone.std)
    device = next(network.parameters()).device
    edges: Tensor = network.edges(view[None].to(device, memory_format=torch.channels_last))[0].float()  # (1, h, w)
    return edges
