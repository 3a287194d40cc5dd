"""The threshold in force: which one maps of a run come with, seeds and refined ones alike."""

from __future__ import annotations

from recam.engine.work import RunData, Work
from recam.pipeline.chains import Link
from recam.pipeline.refiner import step_of
from recam.recipe.recipe import Recipe

ORACLE = "oracle"
"""Where a threshold is from that scores best on the true masks."""


def find_threshold(work: Work, link: Link) -> tuple[float, str]:
    """Threshold of a link's maps and where it is from: ``"oracle"`` where truth exists and the recipe wants it, else ``"recipe"``."""
    if work.recipe.masks.oracle and link.scores_stage in work.inputs:
        found = work.inputs[link.scores_stage].record["results"]["seeds"][link.title(work.recipe)]
        return float(found[ORACLE]["threshold"]), ORACLE
    return recipe_threshold(work.recipe, link), "recipe"


def threshold_key(recipe: Recipe, data: RunData, link: Link) -> float | str:
    """What the choice of `find_threshold` depends on beyond maps and truth."""
    # The oracle follows from maps and truth; the recipe's threshold counts where it is used.
    return ORACLE if recipe.masks.oracle and data.score else recipe_threshold(recipe, link)


def recipe_threshold(recipe: Recipe, link: Link) -> float:
    """The recipe's own threshold of a link's maps: that of the seeds, then what each refiner makes of it."""
    if not link.chain:
        return recipe.masks.threshold
    return step_of(link).threshold(recipe, recipe_threshold(recipe, link.before))
