"""Self-training's place in a run: a segmentation model learns from the masks so far, and its own masks of the same
images, restricted to their image labels, take their place.

What single masks got wrong by chance is not what all of them have in common, and that alone a model learns; a class
that an image is known not to show is no answer there. ``masks.rounds`` puts rounds of it behind the refiners.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from recam.data.large_photos import working_copy
from recam.engine.bench import Bench
from recam.engine.stage import Stage
from recam.inference.settings import InferenceSettings
from recam.inference.tta import predict_probabilities
from recam.methods.cam import strided_size, upsample
from recam.methods.refine import with_background, without_background
from recam.models.folding import fold_batchnorm
from recam.models.saved import TrainedSegmenter, load_segmenter
from recam.pipeline.refiner import Place, RefineContext, RefinerStep, refiner_steps
from recam.pipeline.segment_amounts import untrained_segmenter
from recam.pipeline.stages.masks import masks_of, masks_stage
from recam.pipeline.stages.predict import inference_settings
from recam.pipeline.stages.segment import model_stages
from recam.pipeline.stages.segment_settings import CLASSIFIER, SegmentSettings
from recam.recipe.recipe import Recipe
from recam.runfolder.kinds import REFINER_NETWORK
from recam.settings import Settings, Share, section
from recam.types import Image, Maps, Sample, SeedMaps


@section("self_training")
@dataclass(frozen=True)
class SelfTrainingSettings(Settings):
    """Self-training, a refiner."""

    class_balance: Share | None = None
    """`segment.class_balance` of the round's model; None: as it is there. What it calls a class too often, labels of
    the image forbid; a model for new images has none, and should not be balanced as much."""


@dataclass(frozen=True)
class ModelMaps:
    """What maps of a segmentation model depend on: its stage, and how it is applied."""

    model: str
    inference: InferenceSettings


@refiner_steps.register("self_training")
@dataclass(frozen=True)
class SelfTrainingStep(RefinerStep):
    """A segmentation model of the recipe's section ``segment``, trained on the masks of the maps that it replaces."""

    title, Settings = "self-training", SelfTrainingSettings

    @classmethod
    def plan(cls, name: str, place: Place) -> SelfTrainingStep:
        inference = replace(inference_settings(place.recipe), window=None, refine="none")
        return cls(name, ModelMaps(f"rounds/{place.before.stem}/model", inference))

    def make(self, context: RefineContext) -> ModelRefiner:
        segmenter = load_segmenter(context.inputs[self.settings.model].weights)
        fold_batchnorm(segmenter.network).to(context.device)
        return ModelRefiner(predictor_of(segmenter, self.settings.inference), segmenter.background)

    def untrained(self, bench: Bench) -> Callable[[Sample], ModelRefiner]:
        segmenter = untrained_segmenter(bench, bench.recipe.section(SegmentSettings))
        refiner = ModelRefiner(predictor_of(segmenter, self.settings.inference), segmenter.background)
        return lambda sample: refiner

    def class_balance(self, recipe: Recipe) -> float | None:
        """That of the model; None: the recipe's."""
        return recipe.section(SelfTrainingSettings).class_balance

    def problems(self, place: Place) -> list[str]:
        if place.recipe.section(SegmentSettings).weights == CLASSIFIER and place.before.origin == "external":
            return ["segment.weights = 'classifier' takes the run's own, and with maps.source none is trained."]
        return []

    def preparations(self, place: Place) -> tuple[Stage, ...]:
        recipe, before = place.recipe, place.before
        masks = masks_stage(recipe, before, masks_of(before), "refine")
        label: dict[str, Any] = {
            "title": f"segmentation model on masks of {before.title}",
            "kind": REFINER_NETWORK,
        }
        classifier = f"train/{before.origin}"
        *seeds, model = model_stages(
            recipe, place.segmenter, self.settings.model, masks.name, before, classifier, "refine", label
        )
        balance = self.class_balance(recipe)
        if balance is not None:
            settings = replace(model.given.settings, class_balance=balance)
            model = replace(model, given=replace(model.given, settings=settings))
        return masks, *seeds, model


@dataclass(frozen=True)
class ModelRefiner:
    """Maps of a segmentation model for the classes of an image: those that it is known not to show have no say.

    Attributes:
        probabilities_of: (H, W, 3) uint8 → (K+1, h, w) float32 in [0, 1] that sum to 1, background first, at any size;
            (K, h, w) without a background.
        background: whether there is one.
    """

    probabilities_of: Callable[[Image], torch.Tensor]
    background: bool = True

    def __call__(self, image: Image, seed: SeedMaps) -> SeedMaps:
        """Maps (n, ⌈H/4⌉, ⌈W/4⌉), above 0.5 where a class is more probable than the background; without one, the
        probabilities of the image's classes against each other."""
        size = strided_size(seed.size)
        if not len(seed.class_indices):
            return SeedMaps(np.zeros((0, *size), np.float32), seed.class_indices, seed.size, seed.ignore)
        if not self.background:
            kept: Maps = upsample(self.probabilities_of(image)[seed.class_indices.tolist()], size).numpy()
            return SeedMaps(with_background(kept, None), seed.class_indices, seed.size, seed.ignore)
        planes = [0, *(seed.class_indices + 1).tolist()]
        maps: Maps = without_background(upsample(self.probabilities_of(image)[planes], size).numpy())
        return SeedMaps(maps, seed.class_indices, seed.size, seed.ignore)


def predictor_of(segmenter: TrainedSegmenter, own: InferenceSettings) -> Callable[[Image], torch.Tensor]:
    """A function from images (H, W, 3) to the probabilities of their working copies."""

    def probabilities_of(image: Image) -> torch.Tensor:
        copy = working_copy(image, own.max_side)
        return predict_probabilities(segmenter, copy, own.scales, own.flip, own.max_side)

    return probabilities_of
