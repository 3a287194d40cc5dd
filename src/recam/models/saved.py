"""Trained networks on disk: weights with all that is needed to build the network again, in one safetensors file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from recam.errors import StoreError
from recam.models.backbones import Backbone, BackboneSettings
from recam.models.classifier import Classifier
from recam.models.irnet import IrNet
from recam.models.segmenters import SegmenterSettings
from recam.preprocess import Triple
from recam.settings import as_json, read_settings
from recam.tensors import load_tensors, save_tensors


@dataclass(frozen=True)
class TrainedSegmenter:
    """A segmentation network with its classes (without background) and the normalisation of its images."""

    network: nn.Module
    classes: tuple[str, ...]
    mean: Triple
    std: Triple


def save_classifier(path: Path, classifier: Classifier, settings: BackboneSettings, classes: Sequence[str]) -> None:
    """Write a classifier; `load_classifier` gives it back."""
    backbone = classifier.backbone
    meta = {
        "kind": "classifier",
        "backbone": as_json(settings),
        "classes": list(classes),
        "heads": list(classifier.heads),
        "mean": backbone.mean,
        "std": backbone.std,
    }
    save_tensors(path, classifier.state_dict(), meta)


def load_classifier(path: Path, freeze_until: int | str | None = None) -> Classifier:
    """A classifier in evaluation mode, needing neither network access nor data set.

    Args:
        path: what `save_classifier` wrote.
        freeze_until: other stages frozen than in training; 0 lets gradients reach the images.
    """
    meta = _load(path, "classifier")[1]
    changed = {} if freeze_until is None else {"freeze_until": freeze_until}
    backbone = _backbone(meta, **changed)
    classifier = Classifier(backbone, len(meta["classes"]), meta["heads"]).to(memory_format=torch.channels_last)
    return fill_classifier(classifier, path).eval()


def fill_classifier(classifier: Classifier, path: Path) -> Classifier:
    """Put the tensors of a saved classifier into one of the same backbone; heads that the file does not have stay fresh."""
    tensors, meta = _load(path, "classifier")
    missing, _ = classifier.load_state_dict(tensors, strict=False)
    wrong = [name for name in missing if not name.startswith("heads.")]
    if wrong:
        raise StoreError(f"{path} is no classifier of this backbone: it lacks {', '.join(wrong[:3])}.")
    classifier.backbone.mean, classifier.backbone.std = _triple(meta["mean"]), _triple(meta["std"])
    return classifier


def make_irnet(settings: BackboneSettings, displacement: bool) -> IrNet:
    """IRN's network on the settings' backbone, channels-last. Its branches are fresh: seed torch before.

    Raises:
        RecipeError: a backbone without the five levels that it reads.
    """
    return IrNet(replace(settings, freeze_until=0).make(), displacement).to(memory_format=torch.channels_last)


def save_irnet(path: Path, network: IrNet, settings: BackboneSettings) -> None:
    """Write IRN's network; `load_irnet` gives it back."""
    meta = {
        "kind": "irnet",
        "backbone": as_json(settings),
        "displacement": network.displacement is not None,
        "mean": network.backbone.mean,
        "std": network.backbone.std,
    }
    save_tensors(path, network.state_dict(), meta)


def load_irnet(path: Path) -> IrNet:
    """IRN's network in evaluation mode."""
    tensors, meta = _load(path, "irnet")
    network = IrNet(_backbone(meta, freeze_until=0), meta["displacement"]).to(memory_format=torch.channels_last)
    network.load_state_dict(tensors)
    network.backbone.mean, network.backbone.std = _triple(meta["mean"]), _triple(meta["std"])
    return network.eval()


def save_segmenter(
    path: Path, network: nn.Module, settings: SegmenterSettings, classes: Sequence[str], mean: Triple, std: Triple
) -> None:
    """Write a segmentation network; `load_segmenter` gives it back."""
    meta = {
        "kind": "segmenter",
        "segmenter": as_json(settings.network_only()),
        "classes": list(classes),
        "mean": mean,
        "std": std,
    }
    save_tensors(path, network.state_dict(), meta)


def load_segmenter(path: Path) -> TrainedSegmenter:
    """A segmentation network in evaluation mode, needing neither network access nor data set."""
    tensors, meta = _load(path, "segmenter")
    network = read_settings(SegmenterSettings, meta["segmenter"]).make(len(meta["classes"]), "none")
    network.load_state_dict(tensors)
    return TrainedSegmenter(network.eval(), tuple(meta["classes"]), _triple(meta["mean"]), _triple(meta["std"]))


def _backbone(meta: dict[str, Any], **changed: Any) -> Backbone:
    """The backbone that a file tells of, without weights."""
    return read_settings(BackboneSettings, {**meta["backbone"], "weights": "none", **changed}).make()


def _load(path: Path, kind: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    tensors, meta = load_tensors(path)
    if meta.get("kind") != kind:
        raise StoreError(f"{path} holds {meta.get('kind', 'something else')}, not a {kind}.")
    return tensors, meta


def _triple(values: Sequence[float]) -> Triple:
    return values[0], values[1], values[2]
