"""Trained networks on disk: weights with all that is needed to build the network again, in one safetensors file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from recam.data.transforms import Triple
from recam.errors import StoreError
from recam.models.backbones import Backbone
from recam.models.classifier import Classifier
from recam.models.irnet import IrNet
from recam.models.segmenters import make_segmenter, segmenter_options
from recam.pipeline.settings import BackboneSettings, SegmentSettings
from recam.pipeline.store import check_content
from recam.tensors import load_tensors, save_tensors


@dataclass(frozen=True)
class TrainedSegmenter:
    """A segmentation network with its classes (without background) and the normalisation of its images."""

    network: nn.Module
    classes: tuple[str, ...]
    mean: Triple
    std: Triple


def make_classifier(settings: BackboneSettings, n_classes: int, second_head: bool, background: bool = False) -> Classifier:
    """A classifier with the settings' backbone, channels-last. Heads are fresh: seed torch before."""
    backbone = Backbone(settings.name, settings.weights, settings.output_stride, settings.dilate, settings.freeze_until)
    return Classifier(backbone, n_classes, second_head, background).to(memory_format=torch.channels_last)


def save_classifier(path: Path, classifier: Classifier, settings: BackboneSettings, classes: Sequence[str]) -> None:
    """Write a classifier; `load_classifier` gives it back."""
    backbone = classifier.backbone
    meta = {
        "kind": "classifier",
        "backbone": settings.model_dump(),
        "classes": list(classes),
        "second_head": classifier.fc2 is not None,
        "background": classifier.background is not None,
        "mean": backbone.mean,
        "std": backbone.std,
    }
    save_tensors(path, classifier.state_dict(), meta)


def load_classifier(path: Path, second_head: bool = False, freeze_until: int | str | None = None) -> Classifier:
    """A classifier in evaluation mode, needing neither network nor data set.

    Args:
        path: what `save_classifier` wrote.
        second_head: add a fresh FC2 where the file has none.
        freeze_until: other stages frozen than in training; 0 lets gradients reach the images.
    """
    tensors, meta = _load(path, "classifier")
    changed = {} if freeze_until is None else {"freeze_until": freeze_until}
    settings = BackboneSettings.model_validate({**meta["backbone"], "weights": "none", **changed})
    classifier = make_classifier(settings, len(meta["classes"]), second_head or meta["second_head"], meta.get("background", False))
    classifier.load_state_dict(tensors, strict=meta["second_head"] or not second_head)
    classifier.backbone.mean, classifier.backbone.std = _triple(meta["mean"]), _triple(meta["std"])
    return classifier.eval()


def make_irnet(settings: BackboneSettings, displacement: bool) -> IrNet:
    """IRN's network on the settings' backbone, channels-last. Its branches are fresh: seed torch before.

    Raises:
        RecipeError: a backbone without the five levels that it reads.
    """
    backbone = Backbone(settings.name, settings.weights, settings.output_stride, settings.dilate, freeze_until=0)
    return IrNet(backbone, displacement).to(memory_format=torch.channels_last)


def save_irnet(path: Path, network: IrNet, settings: BackboneSettings) -> None:
    """Write IRN's network; `load_irnet` gives it back."""
    meta = {
        "kind": "irnet",
        "backbone": settings.model_dump(),
        "displacement": network.displacement is not None,
        "mean": network.backbone.mean,
        "std": network.backbone.std,
    }
    save_tensors(path, network.state_dict(), meta)


def load_irnet(path: Path) -> IrNet:
    """IRN's network in evaluation mode."""
    tensors, meta = _load(path, "irnet")
    network = make_irnet(BackboneSettings.model_validate({**meta["backbone"], "weights": "none"}), meta["displacement"])
    network.load_state_dict(tensors)
    network.backbone.mean, network.backbone.std = _triple(meta["mean"]), _triple(meta["std"])
    return network.eval()


def build_segmenter(settings: SegmentSettings, n_classes: int, weights: str) -> nn.Module:
    """The settings' segmentation network, channels-last; its decoder is fresh: seed torch before."""
    takes = segmenter_options(settings.model)
    chosen = settings.model_dump(include={"output_stride", "decoder_channels"}, exclude_none=True)
    options = {name: value for name, value in chosen.items() if name in takes} | settings.options
    network = make_segmenter(settings.model, settings.encoder, n_classes, weights, **options)
    return network.to(memory_format=torch.channels_last)


def save_segmenter(path: Path, network: nn.Module, settings: SegmentSettings, classes: Sequence[str], mean: Triple, std: Triple) -> None:
    """Write a segmentation network; `load_segmenter` gives it back."""
    meta = {"kind": "segmenter", "segment": settings.model_dump(), "classes": list(classes), "mean": mean, "std": std}
    save_tensors(path, network.state_dict(), meta)


def load_segmenter(path: Path) -> TrainedSegmenter:
    """A segmentation network in evaluation mode, needing neither network nor data set."""
    tensors, meta = _load(path, "segmenter")
    network = build_segmenter(SegmentSettings.model_validate(meta["segment"]), len(meta["classes"]), "none")
    network.load_state_dict(tensors)
    return TrainedSegmenter(network.eval(), tuple(meta["classes"]), _triple(meta["mean"]), _triple(meta["std"]))


def _load(path: Path, kind: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    check_content(path)
    tensors, meta = load_tensors(path)
    if meta.get("kind") != kind:
        raise StoreError(f"{path} holds {meta.get('kind', 'something else')}, not a {kind}.")
    return tensors, meta


def _triple(values: Sequence[float]) -> Triple:
    return values[0], values[1], values[2]
