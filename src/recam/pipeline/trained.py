"""Trained networks on disk: weights with all that is needed to build the network again, in one safetensors file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, StrictBool
from torch import nn

from recam.data.transforms import Triple
from recam.errors import RecamError, StoreError
from recam.labels import MAX_CLASSES
from recam.models.backbones import Backbone
from recam.models.classifier import Classifier
from recam.models.irnet import IrNet
from recam.models.segmenters import make_segmenter, segmenter_options
from recam.pipeline.settings import BackboneSettings, SegmentSettings
from recam.pipeline.store import check_content
from recam.tensors import load_tensors, save_tensors

Deviation = Annotated[float, Field(gt=0)]
"""Images are divided by it."""


class _Facts(BaseModel):
    """What every file of a network says of it; fields that are not named are passed over."""

    model_config = ConfigDict(allow_inf_nan=False)

    mean: Triple
    std: tuple[Deviation, Deviation, Deviation]


class _ClassifierFacts(_Facts):
    backbone: BackboneSettings
    classes: tuple[str, ...] = Field(min_length=1, max_length=MAX_CLASSES)
    second_head: StrictBool
    background: StrictBool = False


class _IrNetFacts(_Facts):
    backbone: BackboneSettings
    displacement: StrictBool


class _SegmenterFacts(_Facts):
    segment: SegmentSettings
    classes: tuple[str, ...] = Field(min_length=1, max_length=MAX_CLASSES)


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
    with _fitting(path):
        facts = _ClassifierFacts.model_validate(meta)
        settings = facts.backbone.model_copy(update={"weights": "none", **changed})
        classifier = make_classifier(settings, len(facts.classes), second_head or facts.second_head, facts.background)
        classifier.load_state_dict(tensors, strict=facts.second_head or not second_head)
    classifier.backbone.mean, classifier.backbone.std = facts.mean, facts.std
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
    with _fitting(path):
        facts = _IrNetFacts.model_validate(meta)
        network = make_irnet(facts.backbone.model_copy(update={"weights": "none"}), facts.displacement)
        network.load_state_dict(tensors)
    network.backbone.mean, network.backbone.std = facts.mean, facts.std
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
    with _fitting(path):
        facts = _SegmenterFacts.model_validate(meta)
        network = build_segmenter(facts.segment, len(facts.classes), "none")
        network.load_state_dict(tensors)
    return TrainedSegmenter(network.eval(), facts.classes, facts.mean, facts.std)


def _load(path: Path, kind: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    check_content(path)
    tensors, meta = load_tensors(path)
    if meta.get("kind") != kind:
        raise StoreError(f"{path} holds {meta.get('kind', 'something else')}, not a {kind}.")
    return tensors, meta


@contextmanager
def _fitting(path: Path) -> Iterator[None]:
    """What a file says of its network must be complete, and its tensors must fit that: else `StoreError`, naming the file."""
    try:
        yield
    except (RecamError, ValueError, TypeError, KeyError, AttributeError, RuntimeError, MemoryError, ArithmeticError) as error:
        told = str(error).replace("\n", " ")[:300]
        raise StoreError(
            f"{path} holds no network that can be built ({type(error).__name__}: {told}). Delete it; the same command makes it again."
        ) from error
