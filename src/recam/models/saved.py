"""Trained networks on disk: weights with all that is needed to build the network again, in one safetensors file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StrictBool, model_validator
from torch import nn

from recam.data.reading import COLOURS, PLAIN, Reading
from recam.errors import RecamError, StoreError
from recam.labels import MAX_CLASSES, output_values
from recam.models.affinitynet import AffinityNet
from recam.models.backbones import BackboneSettings
from recam.models.classifier import Classifier
from recam.models.irnet import IrNet
from recam.models.segmenters import SegmenterSettings
from recam.preprocess import PerBand
from recam.settings import as_json
from recam.tensors import load_meta, load_tensors, save_tensors

Deviation = Annotated[float, Field(gt=0)]
"""Images are divided by it."""
Classes = Annotated[tuple[str, ...], Field(min_length=1, max_length=MAX_CLASSES)]


class _Facts(BaseModel):
    """What every file of a network describes; other fields are passed over."""

    model_config = ConfigDict(allow_inf_nan=False)

    mean: PerBand
    std: tuple[Deviation, ...]
    reading: Reading = PLAIN

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not len(self.mean) == len(self.std) == self.reading.channels:
            raise ValueError(f"{len(self.mean)} means, {len(self.std)} deviations for {self.reading.channels} bands")
        return self


class _ClassifierFacts(_Facts):
    backbone: BackboneSettings
    classes: Classes
    heads: tuple[str, ...]
    head_options: dict[str, dict[str, Any]] = {}

    @property
    def all_heads(self) -> dict[str, dict[str, Any]]:
        return {name: self.head_options.get(name, {}) for name in self.heads}


class _IrNetFacts(_Facts):
    backbone: BackboneSettings
    displacement: StrictBool


class _AffinityNetFacts(_Facts):
    backbone: BackboneSettings


class _SegmenterFacts(_Facts):
    segmenter: SegmenterSettings
    classes: Classes
    background: StrictBool = True


@dataclass(frozen=True)
class TrainedSegmenter:
    """A segmentation network with its classes (without background), the normalisation of its images, and how files of
    them are read.

    Attributes:
        background: whether its first output is the background; else all outputs are classes.
    """

    network: nn.Module
    classes: tuple[str, ...]
    mean: PerBand
    std: PerBand
    reading: Reading = PLAIN
    background: bool = True

    @property
    def values(self) -> NDArray[np.uint8]:
        """Mask values of its outputs."""
        return output_values(len(self.classes), self.background)


def save_classifier(
    path: Path,
    classifier: Classifier,
    settings: BackboneSettings,
    classes: Sequence[str],
    reading: Reading = PLAIN,
) -> None:
    """Write a classifier, with how the images that it learned from were read; `load_classifier` gives it back."""
    backbone = classifier.backbone
    meta = {
        "kind": "classifier",
        "backbone": as_json(settings),
        "classes": list(classes),
        "heads": list(classifier.heads),
        "head_options": {name: options for name, options in classifier.head_options.items() if options},
        "mean": backbone.mean,
        "std": backbone.std,
        **reading.described(),
    }
    save_tensors(path, classifier.state_dict(), meta)


def load_classifier(path: Path, freeze_until: int | str | None = None) -> Classifier:
    """A classifier in evaluation mode, needing neither network access nor data set.

    Args:
        path: what `save_classifier` wrote.
        freeze_until: other stages frozen than in training; 0 lets gradients reach the images.

    Raises:
        StoreError: no such file, or one that holds no classifier that can be built.
    """
    meta = _load(path, "classifier")[1]
    with _fitting(path):
        facts = _ClassifierFacts.model_validate(meta)
        frozen = facts.backbone.freeze_until if freeze_until is None else freeze_until
        backbone = replace(facts.backbone, weights="none", freeze_until=frozen).make(facts.reading.channels)
        classifier = Classifier(backbone, len(facts.classes), facts.all_heads).to(memory_format=torch.channels_last)
    return fill_classifier(classifier, path).eval()


def fill_classifier(classifier: Classifier, path: Path) -> Classifier:
    """Put the tensors of a saved classifier into one of the same backbone; heads that the file does not have stay
    fresh.

    Raises:
        StoreError: no such file, or one whose tensors do not fit.
    """
    tensors, meta = _load(path, "classifier")
    with _fitting(path):
        facts = _ClassifierFacts.model_validate(meta)
        missing, _ = classifier.load_state_dict(tensors, strict=False)
        wrong = [name for name in missing if not name.startswith("heads.") or name.split(".")[1] in facts.heads]
        if wrong:
            raise ValueError(f"it lacks {', '.join(wrong[:3])}")
    classifier.backbone.mean, classifier.backbone.std = facts.mean, facts.std
    return classifier


def load_reading(path: Path) -> Reading:
    """How files of the images that a saved network learned from were read. Raises `StoreError` as `load_classifier`
    does."""
    meta = load_meta(path)
    with _fitting(path):
        return _Facts.model_validate(meta).reading


def make_irnet(settings: BackboneSettings, displacement: bool, channels: int = COLOURS) -> IrNet:
    """IRN's network on the settings' backbone, channels-last, for images of `channels` bands. Its branches are fresh:
    seed torch before.

    Raises:
        RecipeError: a backbone without the five levels that it reads.
    """
    return IrNet(replace(settings, freeze_until=0).make(channels), displacement).to(memory_format=torch.channels_last)


def save_irnet(path: Path, network: IrNet, settings: BackboneSettings, reading: Reading = PLAIN) -> None:
    """Write IRN's network; `load_irnet` gives it back."""
    meta = {
        "kind": "irnet",
        "backbone": as_json(settings),
        "displacement": network.displacement is not None,
        "mean": network.backbone.mean,
        "std": network.backbone.std,
        **reading.described(),
    }
    save_tensors(path, network.state_dict(), meta)


def load_irnet(path: Path) -> IrNet:
    """IRN's network in evaluation mode. Raises `StoreError` as `load_classifier` does."""
    tensors, meta = _load(path, "irnet")
    with _fitting(path):
        facts = _IrNetFacts.model_validate(meta)
        network = make_irnet(replace(facts.backbone, weights="none"), facts.displacement, facts.reading.channels)
        network.load_state_dict(tensors)
    network.backbone.mean, network.backbone.std = facts.mean, facts.std
    return network.eval()


def save_affinitynet(path: Path, network: AffinityNet, settings: BackboneSettings, reading: Reading = PLAIN) -> None:
    """Write PSA's network; `load_affinitynet` gives it back."""
    backbone = network.backbone
    meta = {"kind": "affinitynet", "backbone": as_json(settings), "mean": backbone.mean, "std": backbone.std}
    save_tensors(path, network.state_dict(), {**meta, **reading.described()})


def load_affinitynet(path: Path) -> AffinityNet:
    """PSA's network in evaluation mode. Raises `StoreError` as `load_classifier` does."""
    tensors, meta = _load(path, "affinitynet")
    with _fitting(path):
        facts = _AffinityNetFacts.model_validate(meta)
        network = AffinityNet(replace(facts.backbone, weights="none").make(facts.reading.channels))
        network.to(memory_format=torch.channels_last).load_state_dict(tensors)
    network.backbone.mean, network.backbone.std = facts.mean, facts.std
    return network.eval()


def save_segmenter(
    path: Path,
    network: nn.Module,
    settings: SegmenterSettings,
    classes: Sequence[str],
    mean: PerBand,
    std: PerBand,
    reading: Reading = PLAIN,
    background: bool = True,
) -> None:
    """Write a segmentation network; `load_segmenter` gives it back."""
    meta = {
        "kind": "segmenter",
        "segmenter": as_json(settings.network_only()),
        "classes": list(classes),
        "mean": mean,
        "std": std,
        "background": background,
        **reading.described(),
    }
    save_tensors(path, network.state_dict(), meta)


def load_segmenter(path: Path) -> TrainedSegmenter:
    """A segmentation network in evaluation mode. Raises `StoreError` as `load_classifier` does."""
    tensors, meta = _load(path, "segmenter")
    with _fitting(path):
        facts = _SegmenterFacts.model_validate(meta)
        network = facts.segmenter.make(len(facts.classes), "none", facts.reading.channels, facts.background)
        network.load_state_dict(tensors)
    return TrainedSegmenter(network.eval(), facts.classes, facts.mean, facts.std, facts.reading, facts.background)


def _load(path: Path, kind: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    tensors, meta = load_tensors(path)
    if meta.get("kind") != kind:
        raise StoreError(f"{path} holds {meta.get('kind', 'something else')}, not a {kind}.")
    return tensors, meta


@contextmanager
def _fitting(path: Path) -> Iterator[None]:
    """A file's description of its network must be complete, and its tensors must fit: else `StoreError` with the
    file."""
    try:
        yield
    except (
        RecamError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        RuntimeError,
        MemoryError,
        ArithmeticError,
    ) as error:
        reason = str(error).replace("\n", " ")[:300]
        raise StoreError(
            f"{path} holds no network that can be built ({type(error).__name__}: {reason}). Delete it; the same command"
            " makes it again."
        ) from error
