"""ICD's place in a run: superpixels of each training image, both branches beside the classifier, maps of the second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from recam.data.images import read_mask, write_mask
from recam.data.roles import DataSettings, RunData
from recam.engine.amount import Amount, Turn
from recam.engine.bench import Bench
from recam.engine.stage import Stage
from recam.engine.work import Work
from recam.files import named_file
from recam.labels import IGNORE
from recam.methods.cam import class_maps
from recam.methods.icd import IcdSettings, direction_loss, refine_by_regions, topdown_loss, warmup_weight
from recam.methods.recam import Weighting
from recam.methods.superpixels import EXTRA, MOST, merge_regions, region_features, segment_graph
from recam.models.backbones import Backbone, BackboneSettings
from recam.models.classifier import Classifier
from recam.pipeline.train_amounts import untrained_backbone
from recam.pipeline.training import Training, trainings
from recam.preprocess import resize_image, scaled_size
from recam.recipe.recipe import Recipe
from recam.runfolder.store import StageFolder
from recam.settings import Count, Positive, section
from recam.training.augment import normalise_image
from recam.training.loader import Batch, Extra
from recam.training.optim import split_parameters
from recam.types import Image, Mask, Sample

STAGE, REGIONS = "superpixels", "regions"


@section("icd")
@dataclass(frozen=True)
class IcdTrainingSettings(IcdSettings):
    """ICD, `training = "icd"`: a class parted from the background of the same images."""

    superpixels: Annotated[int, Field(ge=1, le=MOST)] = 64
    """Superpixels of an image, at most."""
    superpixel_scale: Positive = 75.0
    """Least pixels of a superpixel before they are joined, and how unlike its colours may be."""
    epochs: Count = 20
    """Passes over the training split."""
    lr: Positive = 1e-3
    """Learning rate of the backbone, the directions and the top-down branch."""
    head_lr: Positive = 1e-2
    """Learning rate of FC1 and of the top-down branch's last layer."""


@dataclass(frozen=True)
class RegionsGiven:
    """What superpixels depend on."""

    backbone: BackboneSettings
    weights: str | None
    superpixels: int
    scale: float
    max_side: int | None
    seed: int


@trainings.register("icd")
@dataclass(frozen=True)
class Icd(Training):
    """`recam.methods.icd`, beside the classifier of CAM; trainings that start from it continue that."""

    title, Settings = "ICD", IcdTrainingSettings
    heads = ("icd",)
    hands_on_heads = False
    reads_images = True

    @property
    def head_options(self) -> dict[str, dict[str, Any]]:
        return {"icd": {"width": self.settings.width}}

    def groups(self, network: Classifier) -> list[dict[str, Any]]:
        fast = [network.fc1.weight, network.heads["icd"].get_submodule("logits").get_parameter("weight")]
        return split_parameters(network, fast, self.settings.head_lr, self.settings.lr)

    def preparations(self, recipe: Recipe, weights: str | None) -> tuple[Stage, ...]:
        own, max_side = self.settings, recipe.section(DataSettings).max_side
        backbone = recipe.section(BackboneSettings)
        given = RegionsGiven(backbone, weights, own.superpixels, own.superpixel_scale, max_side, recipe.seed)
        label = {"title": "superpixels"}
        return (Stage(STAGE, "train", write_regions, given, (), ("train",), label=label, amounts=region_amounts),)

    def extras(self, inputs: Mapping[str, StageFolder], n_classes: int) -> dict[str, Extra]:
        folder = inputs.get(STAGE)
        return {REGIONS: Extra(Regions(folder.path if folder else None), "image")}

    def losses(self, network: Classifier, batch: Batch) -> dict[str, Tensor]:
        own, labels = self.settings, batch["labels"]
        features = network.backbone(batch["images"]).float()  # (B, D, h, w)
        maps = class_maps(features, network.weight_1)  # (B, K, h, w)
        bce = F.binary_cross_entropy_with_logits(maps.mean((2, 3)), labels, reduction="sum")
        head = network.heads["icd"]
        normed = head.get_submodule("norm")(features)
        directions = direction_loss(normed, head.get_parameter("directions"), labels, own.direction_scale)
        signed = head.bottom_up(normed, maps.detach(), labels, own.momentum)  # type: ignore[operator]
        regions = torch.where(batch[REGIONS] == IGNORE, own.superpixels, batch[REGIONS])
        even = refine_by_regions(signed, regions, labels)  # (B, K, h, w)
        top_down = topdown_loss(head.top_down(normed), even, labels, own.confident)  # type: ignore[operator]
        passed = (
            batch["progress"] * self.epochs / own.warmup_epochs if own.warmup_epochs and "progress" in batch else 1.0
        )
        top_down = top_down * warmup_weight(passed).to(top_down.device)
        count = len(labels)
        parts = {"bce": bce / count, "directions": directions / count, "top_down": top_down / count}
        return {"loss": sum(parts.values(), bce.new_zeros(())), **parts}

    def maps(
        self, network: Classifier, images: Tensor, classes: Sequence[int], weightings: Sequence[Weighting]
    ) -> dict[Weighting, Tensor]:
        logits = network.heads["icd"](network.backbone(images))  # (V, K, h, w)
        return {weighting: logits[:, list(classes)] for weighting in weightings}

    def problems(self, n_classes: int) -> list[str]:
        return [] if find_spec("skimage") else [f"the training {self.name!r}: {EXTRA}."]


@dataclass(frozen=True)
class Regions:
    """The superpixels (H, W) of a sample; before any are made, one that is the whole image."""

    folder: Path | None

    def __call__(self, sample: Sample) -> Mask:
        if self.folder is None:
            return np.zeros(sample.image.read().shape[:2], np.uint8)
        return read_mask(named_file(self.folder, f"{sample.id}.png"))


@torch.inference_mode()
def find_regions(image: Image, backbone: Backbone, given: RegionsGiven) -> Mask:
    """Superpixels of an image (H, W, 3), found at the size that networks read, numbers (H, W)."""
    size = (image.shape[0], image.shape[1])
    reduced = resize_image(image, scaled_size(size, 1.0, given.max_side))
    view = normalise_image(reduced, backbone.mean, backbone.std)[None]
    device = next(backbone.parameters()).device
    features = backbone(view.to(device, memory_format=torch.channels_last))[0].float().cpu().numpy()  # (D, h, w)
    regions = segment_graph(reduced, given.scale)
    merged = merge_regions(regions, region_features(features, regions), given.superpixels)
    if merged.shape == size:
        return merged
    return np.asarray(PIL.Image.fromarray(merged).resize(size[::-1], PIL.Image.Resampling.NEAREST))


def write_regions(given: RegionsGiven, work: Work) -> dict[str, Any]:
    """Superpixels of every training image, a PNG each."""
    torch.manual_seed(given.seed)  # without pretrained weights the backbone is drawn
    backbone = given.backbone.make(work.data.channels).to(memory_format=torch.channels_last).eval()
    backbone = backbone.to(work.accelerator.device)

    def place(sample: Sample) -> Path:
        return named_file(work.folder.path, f"{sample.id}.png")

    for sample in work.share(work.data.train, lambda sample: place(sample).is_file()):
        write_mask(place(sample), find_regions(sample.image.read(), backbone, given))
    return {"images": len(work.data.train)}


def region_amounts(given: RegionsGiven, data: RunData) -> list[Amount]:
    """Every training image is parted once."""

    def set_up(bench: Bench) -> Turn:
        backbone: nn.Module = untrained_backbone(bench, given.backbone)

        def turn(sample: Sample) -> None:
            regions = find_regions(sample.image.read(), backbone, given)  # type: ignore[arg-type]
            write_mask(named_file(bench.folder / STAGE, f"{sample.id}.png"), regions)

        return turn

    return [Amount("image parted into superpixels", len(data.train), set_up, given)]
