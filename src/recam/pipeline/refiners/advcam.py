"""AdvCAM in a run: with the classifier that the seeds come from, and their weighting."""

from __future__ import annotations

from typing import Any

from recam.engine.work import RunData
from recam.methods.advcam import AdvCamRefiner
from recam.models.folding import fold_batchnorm
from recam.models.saved import load_classifier
from recam.pipeline.chains import Link
from recam.pipeline.refiner import RefineContext, RefinerStep, refiner_steps
from recam.pipeline.seeds import view_pairs, weight_of
from recam.pipeline.training_stages import WEIGHTS
from recam.recipe.recipe import Recipe
from recam.types import Image


@refiner_steps.register("advcam")
class AdvCamStep(RefinerStep):
    """`recam.methods.advcam.AdvCamRefiner`."""

    makes_maps = True

    def make(self, context: RefineContext) -> AdvCamRefiner:
        recipe = context.recipe
        section, scales = recipe.advcam, _scales(recipe)
        # Frozen units would build no graph to the image; what must not learn here are the parameters.
        path = context.inputs[context.link.training].path / WEIGHTS
        classifier = fold_batchnorm(load_classifier(path, freeze_until=0).requires_grad_(False)).to(context.device)

        def pairs_of(image: Image) -> list[Any]:
            return view_pairs(classifier, image, scales, True, recipe.data.max_side)

        weight = weight_of(classifier, context.link.weighting(recipe))
        return AdvCamRefiner(classifier.backbone, pairs_of, scales, weight, section.method(), section.classes_at_once)

    def settings(self, recipe: Recipe, link: Link) -> dict[str, Any]:
        own = recipe.advcam.model_dump(exclude={"classes_at_once"})
        return {**own, "scales": _scales(recipe), "max_side": recipe.data.max_side, "weighting": link.weighting(recipe)}

    def threshold(self, recipe: Recipe, before: float) -> float:
        return before

    def problems(self, recipe: Recipe, data: RunData) -> list[str]:
        return (
            ["it climbs with the classifier that the maps come from, and with seeds.source none is trained."] if recipe.seeds.source else []
        )

    def reads(self, link: Link) -> tuple[str, ...]:
        return (link.training,)


def _scales(recipe: Recipe) -> tuple[float, ...]:
    return recipe.seeds.scales if recipe.advcam.scales is None else recipe.advcam.scales
