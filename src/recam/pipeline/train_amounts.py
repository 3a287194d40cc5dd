"""How much work trainings of classifiers are (`recam.engine.amount`), and their networks as they are before any step,
which is all that a trial needs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils.data import Dataset

from recam.data.roles import RunData
from recam.data.saliency import AllSalient
from recam.engine.amount import Amount, Turn
from recam.engine.bench import Bench
from recam.models.backbones import Backbone, BackboneSettings
from recam.models.classifier import Classifier
from recam.pipeline.fit_amounts import Fitted, fit_amounts
from recam.pipeline.training import Objective, Training
from recam.training.cached_features import SALIENCY_STRIDE, feature_path, save_features, view_generator
from recam.training.loader import Batch, LabelledImages, Position
from recam.training.loop import Schedule
from recam.types import Sample


def feature_amounts(given: Any, data: RunData) -> list[Amount]:
    """Views of every training image go through the trunk."""

    def set_up(bench: Bench) -> Turn:
        trunk = untrained_backbone(bench, given.backbone)
        augment = given.views.augment(trunk)

        def turn(sample: Sample) -> None:
            image = sample.image.read()
            drawn = (view_generator(given.views.seed, view, 0) for view in range(given.views.views))
            batch = torch.stack([augment(image, rng)[0] for rng in drawn])
            features = trunk.trunk(batch.to(bench.device, memory_format=torch.channels_last))
            save_features(feature_path(bench.folder / "features", sample.id), features)

        return turn

    return [Amount("features of an image", len(data.train), set_up, given)]


def untrained_backbone(bench: Bench, settings: BackboneSettings) -> Backbone:
    """The backbone without its weights, which change no time, on the device of the bench, in evaluation mode."""
    network = bench.once(("backbone", settings), lambda: replace(settings, weights="none").make(bench.channels))
    return network.to(memory_format=torch.channels_last).eval().to(bench.device)


def untrained_classifier(bench: Bench, training: Training, freeze_until: int | str | None = None) -> Classifier:
    """A training's network as it is before any step, on the device of the bench, in evaluation mode.

    Args:
        freeze_until: other stages frozen than the recipe has.
    """
    settings = replace(bench.recipe.section(BackboneSettings), weights="none")
    settings = settings if freeze_until is None else replace(settings, freeze_until=freeze_until)
    network = training.network(settings.make(bench.channels), bench.n_classes)
    return network.to(memory_format=torch.channels_last).eval().to(bench.device)


def classifier_amounts(given: Any, images: int, judged: int) -> list[Amount]:
    """The work of `recam.pipeline.stages.train.train_classifier`: steps on augmented images, or on features of the
    frozen trunk.

    Args:
        given: `recam.pipeline.stages.train.TrainGiven`.
        images: that are learned from.
        judged: images that judge, each as often as it does.
    """
    training = given.training

    def begin(bench: Bench) -> Fitted:
        network = training.network(replace(given.backbone, weights="none").make(bench.channels), bench.n_classes)
        network = network.to(memory_format=torch.channels_last)
        optimizer = training.optimizer(network, given.momentum, given.weight_decay)
        augment = given.views.augment(network.backbone)
        read = AllSalient(bench.root) if training.is_on_saliency else None
        extras, seed = training.extras({}, bench.n_classes), given.views.seed
        dataset: Dataset[Batch] = LabelledImages(bench.samples, augment, bench.n_classes, seed, read, extras)
        if given.views.views:
            with torch.no_grad():
                items = [dataset[0, index] for index in range(len(bench.samples))]
                dataset = _Trunked([_through_trunk(network.backbone, item) for item in items])
        return Fitted(Objective(network, training), dataset, optimizer)

    def judges(bench: Bench) -> Turn:
        network = untrained_classifier(bench, training)
        image = torch.zeros(1, bench.channels, given.views.crop, given.views.crop, device=bench.device)

        @torch.inference_mode()
        def turn(sample: Sample) -> None:
            network.backbone.top(network.backbone.trunk(image)) if given.views.views else network.backbone(image)

        return turn

    schedule = Schedule(training.epochs, given.batch, steps=training.steps)
    fitted = fit_amounts(images, schedule, begin, given)
    return [*fitted, Amount("image judged", judged, judges, (given.backbone, given.views))]


@dataclass(frozen=True)
class _Trunked(Dataset[Batch]):
    """Items that are here already, as cached features are."""

    items: list[Batch]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, position: Position) -> Batch:
        return self.items[position[1]]


def _through_trunk(backbone: Backbone, item: Batch) -> Batch:
    features = backbone.trunk(item.pop("images")[None])[0].half()
    if "saliency" in item:
        item["saliency"] = item["saliency"][:, ::SALIENCY_STRIDE, ::SALIENCY_STRIDE]
    return {**item, "features": features}
