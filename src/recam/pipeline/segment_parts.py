"""What the training of a segmentation model is put together from: masks to read, class weights, optimizer, validation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recam.data.images import read_mask
from recam.data.transforms import Triple
from recam.errors import DataError, RecipeError
from recam.metrics import ConfusionMatrix
from recam.pipeline.objectives import balance_classes
from recam.pipeline.predict import most_probable, predict_probabilities
from recam.pipeline.settings import SegmentSettings
from recam.pipeline.store import StageFolder
from recam.pipeline.trained import TrainedSegmenter
from recam.pipeline.work import Work, sum_over_processes
from recam.training.keeping import Validation
from recam.training.optim import make_adamw, make_sgd, split_parameters
from recam.types import Mask, Sample

VAL_MIOU = "val_miou"
"""Name of the held-out mIoU, in [0, 1], in the history of a training."""


def mask_path(folder: StageFolder, sample_id: str) -> Path:
    """Where a mask of a sample lies in a stage's folder."""
    return folder.path / f"{sample_id}.png"


@dataclass(frozen=True)
class PseudoMasks:
    """Reads the mask of a sample that a stage made: a pseudo mask, or a confident label."""

    folder: StageFolder

    def __call__(self, sample: Sample) -> Mask:
        return read_mask(mask_path(self.folder, sample.id))


@dataclass(frozen=True)
class TrueMasks:
    """Reads the true mask of a sample, for the upper bound."""

    def __call__(self, sample: Sample) -> Mask:
        assert sample.mask is not None
        return sample.mask.read()


def weigh_classes(work: Work, samples: Sequence[Sample], read: Callable[[Sample], Mask]) -> Tensor | None:
    """(K+1,) weights of the classes by the pixels that they have in the masks to train on; None where the recipe balances nothing."""
    power = work.recipe.segment.class_balance
    if not power:
        return None
    pixels = np.zeros(len(work.data.catalog.classes) + 1, np.int64)
    for sample in work.share(samples, lambda sample: False):
        pixels += np.bincount(read(sample).ravel(), minlength=256)[: len(pixels)]
    sum_over_processes(work, pixels)
    return balance_classes(torch.from_numpy(pixels), power)


def make_optimizer(network: nn.Module, settings: SegmentSettings) -> torch.optim.Optimizer:
    """The settings' optimizer: the network's `encoder` at one learning rate, the rest at another. Raises `RecipeError`."""
    encoder = getattr(network, "encoder", None)
    if settings.freeze_encoder:
        if encoder is None:
            raise RecipeError(f"segment.freeze_encoder: {settings.model} has no attribute 'encoder'. Set freeze_encoder = false.")
        encoder.requires_grad_(False)
    groups = split_parameters(
        network,
        network if encoder is None else encoder,
        settings.lr,
        settings.decoder_lr,
        rest_bias_factor=settings.decoder_bias_factor,
        decay_biases=settings.decay_biases,
    )
    if settings.optimizer == "adamw":
        return make_adamw(groups, weight_decay=settings.weight_decay)
    return make_sgd(groups, momentum=settings.momentum, weight_decay=settings.weight_decay)


def make_validation(work: Work, mean: Triple, std: Triple) -> Validation | None:
    """mIoU on the held-out split, each image seen once at its own size; None where the recipe does not ask for it."""
    settings, classes = work.recipe.segment, work.data.catalog.classes
    if not settings.validate_epochs:
        return None

    def score(objective: nn.Module) -> float:
        segmenter = TrainedSegmenter(objective.get_submodule("segmenter"), classes.names, mean, std)
        confusion = ConfusionMatrix(classes)
        for sample in work.data.val[work.accelerator.process_index :: work.accelerator.num_processes]:
            assert sample.mask is not None
            with work.accelerator.autocast():
                probabilities = predict_probabilities(segmenter, sample.image.read(), (1.0,), False, work.recipe.data.max_side)
            confusion.update(most_probable(probabilities), sample.mask.read())
        sum_over_processes(work, confusion.counts)
        if not confusion.counts[1:].any():
            raise DataError("the true masks of the val split hold no pixel of any class. Name another data.val, or do not validate.")
        return confusion.scores().miou

    return Validation(score, VAL_MIOU, settings.validate_epochs, settings.patience)


def state_of_network(objective_state: dict[str, Tensor]) -> dict[str, Any]:
    """The segmentation network's part of an objective's state."""
    return {name.removeprefix("segmenter."): value for name, value in objective_state.items()}
