"""OAA's place in a run: a classifier whose maps accumulate after each epoch, and a network that learns what has
accumulated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from recam.data.roles import RunData
from recam.engine.amount import Amount, Turn
from recam.engine.bench import Bench
from recam.engine.work import Work
from recam.errors import RecipeError
from recam.files import named_file
from recam.inference.class_maps import view_pairs
from recam.labels import multi_hot
from recam.methods.cam import bce_loss, class_maps, classify, strided_size, upsample
from recam.methods.oaa import AccumulationSettings, IntegralSettings, accumulate, integral_loss, predicted, stretch
from recam.models.classifier import Classifier
from recam.pipeline.stored_maps import StoredMaps
from recam.pipeline.train_amounts import untrained_classifier
from recam.pipeline.training import Training, trainings
from recam.runfolder.maps import save_seed
from recam.runfolder.store import StageFolder
from recam.settings import Count, Positive, section
from recam.tensors import load_tensors, save_tensors
from recam.training.loader import Batch, Extra
from recam.types import Image, Sample, SeedMaps

CLASSIFIER, ACCUMULATED, SEEDS = "oaa_classifier", "accumulated", "seeds"


@section(CLASSIFIER)
@dataclass(frozen=True)
class OaaClassifierSettings(AccumulationSettings):
    """The classifier whose maps OAA accumulates, which `training = "oaa"` learns from."""

    epochs: Count = 15
    """Passes over the training split."""
    lr: Positive = 1e-3
    """Learning rate of the backbone."""
    head_lr: Positive = 1e-2
    """Learning rate of FC1."""

    def __post_init__(self) -> None:
        if self.skip_epochs >= self.epochs:
            raise RecipeError(
                f"OAA: skip_epochs {self.skip_epochs} leaves none of the {self.epochs} epochs whose maps accumulate:"
                " lower it, or raise epochs."
            )


@section("oaa")
@dataclass(frozen=True)
class OaaSettings(IntegralSettings):
    """OAA, `training = "oaa"`: the maps of all epochs of a classifier, learned by a second network."""

    epochs: Count = 15
    """Passes over the training split."""
    lr: Positive = 1e-3
    """Learning rate of the backbone."""
    head_lr: Positive = 1e-2
    """Learning rate of FC1."""


@trainings.register(CLASSIFIER)
@dataclass(frozen=True)
class OaaClassifier(Training):
    """The classifier of `recam.methods.oaa`. Its stage also holds ``seeds/ID.npz``, the accumulated maps of each
    training image, which `maps.source` takes."""

    title, Settings = "OAA's classifier", OaaClassifierSettings
    after_each = "maps of all training images"

    def losses(self, network: Classifier, batch: Batch) -> dict[str, Tensor]:
        return {"loss": bce_loss(classify(network.encode(batch), network.weight_1), batch["labels"])}

    def scores(self, network: Classifier, features: Tensor) -> Tensor:
        """Raw maps (B, K, h, w) of features (B, D, h, w)."""
        return class_maps(features, network.weight_1)

    def accepts(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Of which classes maps are kept: (B, K), (B, K) → (B, K) bool."""
        return predicted(logits, labels)

    def after_epoch(self, network: Classifier, epoch: int, max_side: int | None, work: Work) -> None:
        if epoch <= self.settings.skip_epochs:
            return
        for sample in work.own(work.data.train):
            path = named_file(work.folder.path / ACCUMULATED, f"{sample.id}.safetensors")
            image = sample.image.read()
            stored = self._advance(network, sample, image, path, epoch, max_side)
            if epoch == self.epochs:
                seeds = self._seeds(stored, sample, (image.shape[0], image.shape[1]))
                save_seed(named_file(work.folder.path / SEEDS, f"{sample.id}.npz"), seeds)

    def epoch_amounts(self, max_side: int | None, data: RunData) -> list[Amount]:
        count = len(data.train) * (self.epochs - self.settings.skip_epochs)

        def set_up(bench: Bench) -> Turn:
            network = bench.once(("pooled", self), lambda: untrained_classifier(bench, self))

            @torch.inference_mode()
            def turn(sample: Sample) -> None:
                path = bench.folder / ACCUMULATED / f"{sample.id}.safetensors"
                self._advance(network, sample, sample.image.read(), path, self.epochs, max_side)

            return turn

        return [Amount("maps of an image accumulated", count, set_up, (max_side, self.all_heads))]

    def _advance(
        self, network: Classifier, sample: Sample, image: Image, path: Path, epoch: int, max_side: int | None
    ) -> Tensor:
        """Accumulated maps (n, h, w) of a sample after this epoch; those of its file where they are that already."""
        before, meta = load_tensors(path) if path.is_file() else ({}, {})
        if meta.get("epoch") == epoch:
            return before["maps"]
        if not sample.labels:
            return torch.zeros(0, 1, 1, dtype=torch.uint8)
        (view,) = view_pairs(network, image, (1.0,), False, max_side)  # (1, 3, H, W)
        maps = self.scores(network, network.backbone(view)).float().cpu()  # (1, K, h, w)
        labels, classes = torch.from_numpy(multi_hot(sample.labels, network.n_classes))[None], list(sample.labels)
        accepted, maps = self.accepts(maps.mean((2, 3)), labels)[0, classes], maps[0, classes]
        stored, known = torch.zeros_like(maps, dtype=torch.uint8), torch.zeros(len(classes), dtype=torch.bool)
        if meta.get("epoch") == epoch - 1:  # any other is of a training that has begun anew since
            stored, known = before["maps"], before["known"]
        if self.settings.rule == "maximum" and epoch == self.epochs:
            accepted = accepted | ~known
        stored, known = accumulate(stored, known, maps, accepted, self.settings.rule)
        save_tensors(path, {"maps": stored, "known": known}, {"epoch": epoch})
        return stored

    def _seeds(self, stored: Tensor, sample: Sample, size: tuple[int, int]) -> SeedMaps:
        """Accumulated maps as class maps of an image of this size (H, W)."""
        maps = stored / 255
        maps = stretch(maps) if self.settings.rule == "caffe" and len(maps) else maps
        return SeedMaps(upsample(maps, strided_size(size)).numpy(), np.array(sample.labels, np.int64), size)


@trainings.register("oaa")
@dataclass(frozen=True)
class Oaa(Training):
    """The second network of `recam.methods.oaa`, whose class maps are the integral ones. It begins as the classifier
    began, not where that ended."""

    title, Settings = "OAA", OaaSettings
    starts_from = CLASSIFIER
    takes_weights = False
    reads_images = True  # accumulated maps lie on the image

    def extras(self, inputs: Mapping[str, StageFolder], n_classes: int) -> dict[str, Extra]:
        folder = inputs.get(f"train/{self.starts_from}")
        return {ACCUMULATED: Extra(StoredMaps(folder.path / SEEDS if folder else None, n_classes), "planes")}

    def scores(self, network: Classifier, features: Tensor) -> Tensor:
        """Raw maps (B, K, h, w) of features (B, D, h, w)."""
        return class_maps(features, network.weight_1)

    def losses(self, network: Classifier, batch: Batch) -> dict[str, Tensor]:
        scores = self.scores(network, network.encode(batch)).float()  # (B, K, h, w)
        targets = F.interpolate(batch[ACCUMULATED], scores.shape[2:], mode="area")  # (B, K, h, w)
        return {"loss": integral_loss(scores, targets, self.settings.least)}
