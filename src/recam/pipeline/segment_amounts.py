"""How much work segmentation models are (`recam.engine.amount`): to train, and to apply."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from torch import nn

from recam.data.images import write_mask
from recam.data.roles import RunData
from recam.engine.amount import Amount, Turn
from recam.engine.bench import Bench
from recam.engine.stage import Amounts
from recam.inference.settings import InferenceSettings
from recam.inference.tta import predict_mask
from recam.models.folding import fold_batchnorm
from recam.models.saved import TrainedSegmenter
from recam.models.segmenters import SegmenterSettings
from recam.pipeline.fit_amounts import Fitted, fit_amounts
from recam.pipeline.segment_loss import LossContext
from recam.pipeline.stages.score import score_amounts
from recam.pipeline.stages.segment_settings import SegmentSettings, make_optimizer
from recam.training.augment import Augment
from recam.training.loader import MaskedImages
from recam.training.loop import Schedule, plan_batches
from recam.types import Sample

GREY = 0.5
"""Mean and deviation of each band of images in trials, where they change nothing."""


def model_amounts(given: Any, images: int, predicted: int, held_out: int) -> list[Amount]:
    """The work of `recam.pipeline.stages.segment.train_segmenter`.

    Args:
        given: `recam.pipeline.stages.segment.SegmentGiven`.
        images: with masks to learn from.
        predicted: of them that are predicted at the end.
        held_out: that are predicted after epochs, where the settings validate.
    """
    settings = given.settings

    def begin(bench: Bench) -> Fitted:
        network, grey = _untrained(bench, settings), (GREY,) * bench.channels
        augment = Augment(
            settings.crop, grey, grey, scale=settings.scale, max_side=given.max_side, frame=settings.frame,
            jitter=settings.jitter, transforms=settings.transforms,
        )  # fmt: skip
        dataset = MaskedImages(bench.samples, bench.mask, augment, given.seed, given.loss.extras(bench.n_classes))
        objective = given.loss.objective(network, LossContext(grey, grey, bench.background))
        return Fitted(objective, dataset, make_optimizer(network, settings))

    schedule = Schedule(settings.epochs, settings.batch, steps=settings.steps)
    fitted = fit_amounts(images, schedule, begin, ("segment", settings, given.loss, given.max_side))
    once = InferenceSettings(flip=False, max_side=given.max_side)
    more = [predict_amount(settings, once, predicted)]
    if settings.class_balance:
        more.append(Amount("mask counted", images, _try_counts))
    if settings.validate_epochs:
        judged = math.ceil(plan_batches(images, schedule).epochs / settings.validate_epochs)
        more.append(predict_amount(settings, once, judged * held_out))
    return [*fitted, *more]


def untrained_segmenter(bench: Bench, settings: SegmenterSettings) -> TrainedSegmenter:
    """A model of these settings before any step, on the device of the bench, ready to predict."""
    network, grey = _untrained(bench, settings).eval(), (GREY,) * bench.channels
    names = bench.data.catalog.classes.names
    return TrainedSegmenter(fold_batchnorm(network).to(bench.device), names, grey, grey, background=bench.background)


def _untrained(bench: Bench, settings: SegmenterSettings) -> nn.Module:
    return settings.make(bench.n_classes, "none", bench.channels, bench.background)


def _try_counts(bench: Bench) -> Turn:
    def turn(sample: Sample) -> None:
        np.bincount(bench.mask(sample).ravel(), minlength=256)

    return turn


def predict_amounts(settings: SegmentSettings) -> Amounts:
    """The amounts of work of held-out predictions by a model of these settings."""

    def amounts(given: Any, data: RunData) -> list[Amount]:
        return [predict_amount(settings, given.inference, len(data.val)), score_amounts(len(data.val))]

    return amounts


def predict_amount(settings: SegmenterSettings, inference: InferenceSettings, images: int) -> Amount:
    """The masks of so many images by a model of these settings."""

    def set_up(bench: Bench) -> Turn:
        segmenter = untrained_segmenter(bench, settings)

        def turn(sample: Sample) -> None:
            with bench.accelerator.autocast():
                mask = predict_mask(segmenter, sample.image.read(), inference)
            write_mask(bench.folder / "predicted" / f"{sample.id}.png", mask)

        return turn

    return Amount("mask predicted", images, set_up, (settings.network_only(), inference))
