"""Settings of the segmentation model that learns from pseudo masks, and of its training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

from recam.errors import RecipeError
from recam.models.backbones import BackboneSettings
from recam.models.segmenters import SegmenterSettings
from recam.pipeline.stages.maps import MapSettings
from recam.recipe.recipe import Recipe
from recam.settings import Count, CountOrNone, Momentum, NonNegative, Positive, Share, section
from recam.training.optim import make_adamw, make_sgd, split_parameters
from recam.training.settings import ordered
from recam.training.transforms import check_transforms

CLASSIFIER = "classifier"
"""Value of segment.weights that names the run's own classifier."""


@section("segment")
@dataclass(frozen=True)
class SegmentSettings(SegmenterSettings):
    """The segmentation model that learns from the pseudo masks (eq. 3)."""

    enabled: bool = True
    """False: stop at the pseudo masks."""
    weights: str = "imagenet"
    """Weights of the encoder, as for the backbone; or ``classifier``: those of the run's own, where the encoder is
    ``tu-`` and its name."""
    freeze_encoder: bool = False
    """Keep the encoder's weights and train the decoder alone: a third of the time on a CPU."""
    labels: Literal["pseudo", "truth"] = "pseudo"
    """What it is trained on; ``truth`` is the upper bound."""
    loss: str = "cross_entropy"
    """How it learns from them: pixel-wise ``cross_entropy``; ``dsrg``, seeds that grow while it learns; or one of your
    own."""
    upper_bound: bool = False
    """Also train a second model on the true masks and score it."""
    epochs: Count = 30
    """Passes over the training split."""
    steps: Count | None = None
    """How many steps to train instead of `epochs`, as papers count; None: by epochs."""
    batch: Count = 10
    """Images per step, over all processes."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """``sgd`` with `momentum`, or ``adamw`` (β 0.9 and 0.999)."""
    lr: Positive = 7e-3
    """Learning rate of the encoder."""
    decoder_lr: Positive = 7e-2
    """Learning rate of everything else."""
    decoder_bias_factor: Positive = 1.0
    """Biases of everything else learn at so many times `decoder_lr`; published 2 for DeepLabV2."""
    momentum: Momentum = 0.9
    """SGD momentum."""
    weight_decay: NonNegative = 1e-4
    """Weight decay."""
    decay_biases: bool = True
    """False: no weight decay on biases, normalisations and tables of positions, as Swin is trained."""
    power: NonNegative = 0.9
    """Exponent of the polynomial decay; 1 is linear."""
    scale: tuple[Positive, Positive] = (0.5, 1.5)
    """Range of the factor that a training image is resized by, drawn evenly."""
    frame: tuple[Count, Count] | None = None
    """Make a training image as large as fits into (longer, shorter side) pixels before `scale`, whatever
    `data.max_side`; None: not."""
    crop: Annotated[int, Field(ge=32)] = 321
    """Side (pixels) of the random square crop."""
    jitter: Share = 0.0
    """Colour jitter: in every second image each, brightness, contrast and saturation change by a factor of 1 ± this at
    most, and the hue by a fifth of this of its circle."""
    transforms: tuple[str, ...] = ()
    """What changes pixels of training images besides, as `train.transforms`."""
    class_balance: Share = 0.0
    """Weight of a class in the loss: its share of the pixels to the power of minus this. 0: all pixels alike; 1: all
    classes alike."""
    ema: Momentum = 0.0
    """Decay of a running average of the weights, which is what is kept, e.g. 0.999; 0: the weights themselves."""
    validate_epochs: CountOrNone = 0
    """Score the `val` split after every so many epochs and keep the best weights besides the last; 0: never."""
    keep: Literal["last", "best"] = "last"
    """Which weights predictions come from; ``best`` is chosen on `val`, so its score there flatters. The other lie
    beside them."""
    patience: CountOrNone = 0
    """Stop after so many validations without a better one; 0: never."""

    def __post_init__(self) -> None:
        check_transforms(self.transforms)

    def conflicts(self, recipe: Recipe) -> list[str]:
        wrong = ordered("segment.scale", self.scale)
        backbone = recipe.section(BackboneSettings)
        if self.weights == CLASSIFIER and recipe.section(MapSettings).source:
            wrong.append(
                "segment.weights = 'classifier' takes the run's own, and with maps.source there is none: name other"
                " weights"
            )
        if self.weights == CLASSIFIER and self.encoder != f"tu-{backbone.name}":
            wrong.append(
                f"segment.weights = 'classifier' needs the classifier's network: set segment.encoder to"
                f" 'tu-{backbone.name}'"
            )
        if self.upper_bound and (self.labels == "truth" or not self.enabled):
            wrong.append(
                "segment.upper_bound is a second model beside the one on pseudo masks: set segment.labels to 'pseudo'"
            )
        if not self.validate_epochs and (self.keep == "best" or self.patience):
            wrong.append(
                "segment.keep = 'best' and segment.patience go by scores on val: set segment.validate_epochs, e.g. to 1"
            )
        if self.frame and self.frame[1] > self.frame[0]:
            wrong.append(f"segment.frame = {self.frame}: give the longer side first")
        for name in sorted({"decoder_channels", "output_stride"} & set(self.options)):
            wrong.append(f"segment.options: {name} is a setting of its own, segment.{name}")
        return wrong


def make_optimizer(network: nn.Module, settings: SegmentSettings) -> torch.optim.Optimizer:
    """The settings' optimizer: the network's `encoder` at one learning rate, the rest at another. Raises
    `RecipeError`."""
    encoder = getattr(network, "encoder", None)
    if settings.freeze_encoder:
        if encoder is None:
            raise RecipeError(
                f"segment.freeze_encoder: {settings.model} has no attribute 'encoder'. Set freeze_encoder = false."
            )
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
