"""A finished run's own chain of refiners, for images that the run has never seen."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from recam.methods.refine import Chain, Refiner
from recam.pipeline.chains import Link, mask_link
from recam.pipeline.refiner import RefineContext, step_of
from recam.pipeline.thresholds import recipe_threshold
from recam.recipe.recipe import Recipe
from recam.runfolder.store import StageFolder


@dataclass(frozen=True)
class RunChain:
    """The chain that the run's pseudo masks come from.

    Attributes:
        chain: seeds of a run's weighting → refined maps.
        threshold: that of the refined maps, as the run's own masks have it.
    """

    chain: Chain
    threshold: float


def load_chain(recipe: Recipe, done: dict[str, StageFolder], device: torch.device) -> RunChain | None:
    """The chain with its trained networks; None for a run that has none, has not come so far, or whose chain wants saliency maps.

    Args:
        recipe: the run's settings.
        done: its finished stages by name; see `recam.inference.run_models.RunModels`.
        device: where to compute.
    """
    final = mask_link(recipe)
    links = [Link(final.origin, final.chain[:end]) for end in range(1, len(final.chain) + 1)]
    if not links or any(link.maps_stage not in done or step_of(link).uses_saliency for link in links) or "masks" not in done:
        return None
    made: list[Refiner] = []
    for link in links:
        # The threshold that this refiner worked with, where it matters.
        own = done[link.maps_stage].record["results"].get("threshold_before", recipe_threshold(recipe, link.before))
        made.append(step_of(link).make(RefineContext(recipe, done, device, link, float(own))))
    return RunChain(Chain(tuple(made)), float(done["masks"].record["results"]["threshold"]))
