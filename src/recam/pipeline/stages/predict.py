"""Predictions of a segmentation model in a run: how it is applied, its masks of held-out images and their scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from recam.data.images import write_mask
from recam.data.roles import DataSettings
from recam.engine.work import Work
from recam.inference.settings import InferenceSettings
from recam.inference.tta import predict_mask
from recam.models.folding import fold_batchnorm
from recam.models.saved import load_segmenter
from recam.pipeline.stages.maps import MapSettings
from recam.pipeline.stages.score import mask_path, score_folder
from recam.recipe.recipe import Recipe
from recam.runfolder.store import StageFolder
from recam.types import Sample


@dataclass(frozen=True)
class PredictGiven:
    """What held-out predictions depend on, beside the model."""

    model: str
    inference: InferenceSettings


def inference_settings(recipe: Recipe) -> InferenceSettings:
    """How the run applies its segmentation model."""
    own, data = recipe.section(InferenceSettings), recipe.section(DataSettings)
    no_data = data.no_data if own.no_data is None else own.no_data
    return replace(own, max_side=own.max_side or data.max_side, no_data=no_data)


def map_inference_settings(recipe: Recipe) -> InferenceSettings:
    """How the run's classifier makes class maps of new images: as it made those of the training images."""
    maps, max_side = recipe.section(MapSettings), recipe.section(DataSettings).max_side
    own = inference_settings(recipe)
    return replace(own, scales=maps.scales, flip=maps.flip, window=None, max_side=max_side)


def predict_val(given: PredictGiven, work: Work) -> dict[str, Any]:
    """Masks of the held-out images by the segmentation model, and their scores."""
    work.each(work.data.val, PredictTask(work.inputs[given.model].weights, given.inference, work.folder))
    work.accelerator.wait_for_everyone()
    return score_folder(work, work.folder, work.data.val)


@dataclass(frozen=True)
class PredictTask:
    """Writes the mask that a segmentation model gives an image: a `recam.engine.tasks.ImageTask`."""

    weights: Path
    inference: InferenceSettings
    folder: StageFolder

    def is_done(self, sample: Sample) -> bool:
        return mask_path(self.folder, sample.id).is_file()

    def start(self, accelerator: Accelerator) -> Callable[[Sample], None]:
        segmenter = load_segmenter(self.weights)
        fold_batchnorm(segmenter.network).to(accelerator.device)

        def write(sample: Sample) -> None:
            with accelerator.autocast():
                mask = predict_mask(segmenter, sample.image.read(), self.inference)
            write_mask(mask_path(self.folder, sample.id), mask)

        return write
