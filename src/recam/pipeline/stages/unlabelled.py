"""Masks of images without labels, by a segmentation model that has learned from those with: the next model learns from
both. With no label to restrict it, a pixel counts where one answer is more probable than all others together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from accelerate import Accelerator

from recam.data.images import write_mask
from recam.data.large_photos import enlarge, working_copy
from recam.data.roles import RunData
from recam.engine.amount import Amount
from recam.engine.stage import Amounts, Stage
from recam.engine.work import Work
from recam.inference.settings import InferenceSettings
from recam.inference.tta import most_probable, predict_probabilities
from recam.labels import IGNORE
from recam.models.folding import fold_batchnorm
from recam.models.saved import load_segmenter
from recam.pipeline.segment_amounts import predict_amount
from recam.pipeline.stages.predict import PredictTask
from recam.pipeline.stages.score import mask_path
from recam.pipeline.stages.segment_settings import SegmentSettings
from recam.types import Sample

SURE = 0.5
"""A pixel whose most probable answer is not more probable than this is left out: 255."""


@dataclass(frozen=True)
class UnlabelledGiven:
    """What these masks depend on: the stage of the model, and how it is applied."""

    model: str
    inference: InferenceSettings


def plan_unlabelled(model: str, inference: InferenceSettings, settings: SegmentSettings) -> Stage:
    """The stage of the masks that this model gives images without labels."""
    name = f"{model.rpartition('/')[0]}/unlabelled"
    label = {"title": "masks of images without labels"}
    stage = Stage(name, "masks", predict, UnlabelledGiven(model, inference), (model,), ("unlabelled",), label=label)
    return replace(stage, amounts=unlabelled_amounts(settings), shared=True)


def unlabelled_amounts(settings: SegmentSettings) -> Amounts:
    """The work of these masks by a model of these settings."""

    def amounts(given: UnlabelledGiven, data: RunData) -> list[Amount]:
        return [predict_amount(settings, given.inference, len(data.unlabelled))]

    return amounts


def predict(given: UnlabelledGiven, work: Work) -> dict[str, Any]:
    """Masks of all images without labels."""
    samples = work.data.unlabelled
    work.each(samples, UnlabelledTask(work.inputs[given.model].weights, given.inference, work.folder))
    return {"images": len(samples)}


@dataclass(frozen=True)
class UnlabelledTask(PredictTask):
    """Writes the mask of an image without labels, with what is not sure left out."""

    def start(self, accelerator: Accelerator) -> Callable[[Sample], None]:
        segmenter, own = load_segmenter(self.weights), self.inference
        fold_batchnorm(segmenter.network).to(accelerator.device)

        def write(sample: Sample) -> None:
            image = sample.image.read()
            copy = working_copy(image, own.max_side)
            with accelerator.autocast():
                probabilities = predict_probabilities(segmenter, copy, own.scales, own.flip, own.max_side)
            mask = most_probable(probabilities, segmenter.background)
            mask[probabilities.amax(0).numpy() <= SURE] = IGNORE
            whole = mask if copy is image else enlarge(mask, image.shape[:2])
            write_mask(mask_path(self.folder, sample.id), own.ignore(image, whole))

        return write
