"""LPCAM's place in a run: prototypes of each class from all training images, then maps of similarity to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recam.data.roles import RunData
from recam.engine.amount import Amount, Turn
from recam.engine.bench import Bench
from recam.engine.stage import Stage
from recam.engine.work import Work
from recam.inference.class_maps import make_class_maps, view_pairs
from recam.methods.cam import read_full, strided_size
from recam.methods.kmeans import kmeans
from recam.methods.lpcam import LpcamSettings, Prototypes, draw_rows, find_prototypes, make_lpcams, split_features
from recam.models.classifier import Classifier
from recam.models.folding import fold_batchnorm
from recam.models.saved import load_classifier
from recam.pipeline.maker import MakerContext, MakerPlace, MapMaker, MapsOf, Views, makers
from recam.pipeline.stages.train import stage_of
from recam.pipeline.train_amounts import untrained_classifier
from recam.pipeline.training import Training
from recam.progress import Progress
from recam.settings import section
from recam.tensors import load_tensors, save_tensors
from recam.types import Image, Sample, SeedMaps

TRIED = 2000
"""Features of which a plan tries a k-means."""


@section("lpcam")
@dataclass(frozen=True)
class LpcamMakerSettings(LpcamSettings):
    """LPCAM, `maker = "lpcam"`: see `recam.methods.lpcam`."""


@dataclass(frozen=True)
class PrototypesGiven:
    """What prototypes depend on, beside the trained network."""

    settings: LpcamSettings
    training: Training
    views: Views
    seed: int


@makers.register("lpcam")
@dataclass(frozen=True)
class Lpcam(MapMaker):
    """`recam.methods.lpcam`; a stage before finds the prototypes, a file for each class."""

    title, Settings = "LPCAM", LpcamMakerSettings

    def preparations(self, place: MakerPlace) -> tuple[Stage, ...]:
        given = PrototypesGiven(self.settings, place.training, place.views, place.seed)
        name = _prototypes_of(place.training)
        title = f"prototypes of {place.training.title}"
        needs = (stage_of(place.training),)
        return (
            Stage(name, "maps", cluster, given, needs, ("train",), label={"title": title}, amounts=cluster_amounts),
        )

    def make_with(self, context: MakerContext) -> MapsOf:
        folder = context.inputs[_prototypes_of(context.training)].path
        device = context.network.fc1.weight.device
        known = {index: _load(_file(folder, index), device) for index in range(context.network.n_classes)}
        return self._maps_of(context, known)

    def untrained(self, context: MakerContext) -> MapsOf:
        weight = context.network.weight_1  # (K, D)
        some = weight[:1].expand(self.settings.clusters // 2 + 1, -1)
        return self._maps_of(context, {index: Prototypes(some, some) for index in range(len(weight))})

    def _maps_of(self, context: MakerContext, known: dict[int, Prototypes]) -> MapsOf:
        network, views = context.network, context.views

        @torch.inference_mode()
        def maps_of(image: Image, classes: Sequence[int]) -> SeedMaps:
            size = (image.shape[0], image.shape[1])
            if not len(classes):
                return self.none(size, strided_size(size))
            pairs = view_pairs(network, image, views.scales, views.flip, views.max_side)
            features = [network.backbone(pair).float() for pair in pairs]  # (2, D, h_i, w_i) each
            maps = make_lpcams(features, [known[int(index)] for index in classes], size)
            return SeedMaps(maps.clamp_min(0).cpu().numpy(), np.asarray(classes, np.int64), size)

        return maps_of


def cluster(given: PrototypesGiven, work: Work) -> dict[str, Any]:
    """Prototypes of each class, a file for each; one class at a time, so that memory holds the features of one."""
    network = fold_batchnorm(load_classifier(work.inputs[stage_of(given.training)].weights))
    network = network.to(work.accelerator.device)
    names = work.data.catalog.classes.names
    rank, world = work.accelerator.process_index, work.accelerator.num_processes
    own = [index for index in range(len(names)) if index % world == rank]
    images = {index: [each for each in work.data.train if index in each.labels] for index in own}
    left = [index for index in own if not _file(work.folder.path, index).is_file()]
    total, todo = (sum(len(images[index]) for index in some) for some in (own, left))
    with Progress(work.folder.name, total, total - todo, quiet=not work.accelerator.is_main_process) as progress:
        for index in left:
            inside, outside = _class_features(given, network, images[index], index, progress)
            found = find_prototypes(inside, outside, network.weight_1, index, given.settings, given.seed)
            meta = {"class": names[index], "images": len(images[index])}
            save_tensors(_file(work.folder.path, index), {"centers": found.centers, "context": found.context}, meta)
    work.accelerator.wait_for_everyone()
    every = [_load(_file(work.folder.path, index), torch.device("cpu")) for index in range(len(names))]
    counts = {name: [len(each.centers), len(each.context)] for name, each in zip(names, every, strict=True)}
    return {"images": len(work.data.train), "prototypes_and_context": counts}


def cluster_amounts(given: PrototypesGiven, data: RunData) -> list[Amount]:
    """Each training image is read for each of its classes; two k-means for each class."""

    def reads(bench: Bench) -> Turn:
        network = untrained_classifier(bench, given.training)

        def turn(sample: Sample) -> None:
            for index in sample.labels[:1]:
                _image_features(given, network, sample, index)

        return turn

    def clusters(bench: Bench) -> Turn:
        network = untrained_classifier(bench, given.training)
        points = torch.randn(TRIED, network.backbone.channels, device=bench.device)

        def turn(sample: Sample) -> float:
            kmeans(points, given.settings.clusters, distance="cosine", iterations=20)
            return TRIED / (given.settings.features or 10 * TRIED)

        return turn

    labels = sum(len(sample.labels) for sample in data.train)
    return [
        Amount("features of an image and class", labels, reads, given.views),
        Amount("k-means of a class", 2 * len(data.catalog.classes), clusters, given.settings),
    ]


def _prototypes_of(training: Training) -> str:
    return f"lpcam/{training.name}/prototypes"


def _file(folder: Path, index: int) -> Path:
    return folder / f"{index}.safetensors"


def _load(path: Path, device: torch.device) -> Prototypes:
    tensors, _ = load_tensors(path)
    return Prototypes(tensors["centers"].to(device), tensors["context"].to(device))


def _class_features(
    given: PrototypesGiven, network: Classifier, images: Sequence[Sample], index: int, progress: Progress
) -> tuple[Tensor, Tensor]:
    """Features of a class and of its surroundings from its images, (m, D) and (m', D), on the CPU."""
    most = given.settings.features and max(1, given.settings.features // max(1, len(images)))
    parts: tuple[list[Tensor], list[Tensor]] = ([], [])
    for number, sample in enumerate(images):
        for part, rows in zip(parts, _image_features(given, network, sample, index), strict=True):
            part.append(draw_rows(rows, most, given.seed + number).cpu())
        progress.advance()
    empty = torch.zeros(0, network.backbone.channels)
    inside, outside = (torch.cat([empty, *part]).to(network.fc1.weight.device) for part in parts)
    return inside, outside


@torch.inference_mode()
def _image_features(given: PrototypesGiven, network: Classifier, sample: Sample, index: int) -> tuple[Tensor, Tensor]:
    """`split_features` of an image at its own scale by the fused class map of all scales."""
    image, views = sample.image.read(), given.views
    made = make_class_maps(
        network, image, [index], (views.weighting,), views.scales, views.flip, views.max_side, given.training.maps
    )
    cam = torch.from_numpy(read_full(made[views.weighting])[0])  # (H, W)
    (view,) = view_pairs(network, image, (1.0,), False, views.max_side)
    features = network.backbone(view)[0].float()  # (D, h, w)
    return split_features(features, cam.to(features.device), given.settings.map_threshold)
