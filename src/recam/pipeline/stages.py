"""The pipeline as a table: which stages there are, in order, what each reads and what its result depends on.

A stage that is not wanted is left out of the `needs` of others. A setting that no stage names here changes nothing that was made.
"""

from __future__ import annotations

from typing import Any

from recam.engine.work import RunData, Stage
from recam.errors import RecipeError, near_matches
from recam.pipeline.chains import Link, mask_link
from recam.pipeline.given import given_settings, take_given
from recam.pipeline.picture_stage import make_pictures
from recam.pipeline.refine_stages import chain_stages
from recam.pipeline.result_stages import make_masks, make_seed_files, predict_val, score_seeds
from recam.pipeline.saliency import MAPS, VIEWS, eps_key, saliency_stages, wants_eps
from recam.pipeline.scoring import VERSION as SCORES
from recam.pipeline.scoring import score_masks
from recam.pipeline.thresholds import threshold_key
from recam.pipeline.training_stages import classify, control, make_features, reactivate, segment
from recam.recipe.recipe import Recipe
from recam.recipe.sections import CLASSIFIER
from recam.runfolder.supervision import GIVEN, LABELS, SALIENCY, TRUTH

SEGMENT = 2
"""Version of the stages that train segmentation models: 2 since DeepLabV2's rates follow its output stride and dropout draws by step."""


def _training(recipe: Recipe, data: RunData) -> dict[str, Any]:
    """The classifier's data and network."""
    settings = recipe.classify.model_dump(include={"long_side", "crop", "cache_features"})
    return {"seed": recipe.seed, "backbone": recipe.backbone.model_dump(), **data.weights_key(recipe.backbone.weights), **settings}


def _classify(recipe: Recipe, data: RunData) -> dict[str, Any]:
    own = recipe.classify.model_dump(exclude={"cache_gb", "saliency_loss"})
    return {**_training(recipe, data), **own, **eps_key(recipe, data)}


def _reactivate(recipe: Recipe, data: RunData) -> dict[str, Any]:
    return {"seed": recipe.seed, **recipe.reactivate.model_dump(exclude={"enabled", "control"})}


def _control(recipe: Recipe, data: RunData) -> dict[str, Any]:
    return {"seed": recipe.seed, **recipe.reactivate.model_dump(include={"epochs", "lr"})}


def _seeds(recipe: Recipe, data: RunData) -> dict[str, Any]:
    return {"max_side": recipe.data.max_side, **recipe.seeds.model_dump(include={"scales", "flip", "bits"})}


def _seed_scores(recipe: Recipe, data: RunData) -> dict[str, Any]:
    return recipe.masks.model_dump(include={"threshold"})


def _recam_seed_scores(recipe: Recipe, data: RunData) -> dict[str, Any]:
    return {**_seed_scores(recipe, data), "weightings": recipe.seeds.weightings}


def _masks(recipe: Recipe, data: RunData) -> dict[str, Any]:
    link = mask_link(recipe)
    own = recipe.masks.class_thresholds
    used = {"threshold": threshold_key(recipe, data, link), "weighting": link.weighting(recipe)}
    return {**used, "class_thresholds": own} if own else used


def _segment(recipe: Recipe, data: RunData) -> dict[str, Any]:
    own = recipe.segment.weights == CLASSIFIER
    return {
        "seed": recipe.seed,
        "max_side": recipe.data.max_side,
        **recipe.segment.model_dump(exclude={"enabled", "upper_bound", "labels"}),
        **data.weights_key(recipe.segment.weights),
        # Scores while training choose weights, or at least name the best.
        "val": data.fingerprint("val") if recipe.segment.validate_epochs else None,
        "classifier": [_classify(recipe, data), recipe.reactivate.enabled and _reactivate(recipe, data)] if own else None,
    }


def _predict(recipe: Recipe, data: RunData) -> dict[str, Any]:
    seen = recipe.predict.model_dump(include={"scales", "flip"})
    # At their defaults these are left out: runs made before they were there stay up to date.
    return {"max_side": recipe.data.max_side, **seen, **recipe.predict.model_dump(exclude={"scales", "flip"}, exclude_defaults=True)}


def _nothing(recipe: Recipe, data: RunData) -> dict[str, Any]:
    return {}


def _classifier_wanted(recipe: Recipe, data: RunData) -> bool:
    return not recipe.seeds.source


def _features_wanted(recipe: Recipe, data: RunData) -> bool:
    return recipe.classify.cache_features > 0 and _classifier_wanted(recipe, data)


def _labels(recipe: Recipe) -> tuple[str, ...]:
    return (LABELS, SALIENCY) if wants_eps(recipe) else (LABELS,)


def _elsewhere(recipe: Recipe) -> tuple[str, ...]:
    return (GIVEN,)


def _truth(recipe: Recipe) -> tuple[str, ...]:
    # Features of the classifier bring what that had learned from.
    return (*(_labels(recipe) if recipe.segment.weights == CLASSIFIER else ()), TRUTH)


def _recam_wanted(recipe: Recipe, data: RunData) -> bool:
    return recipe.reactivate.enabled and _classifier_wanted(recipe, data)


def _given_wanted(recipe: Recipe, data: RunData) -> bool:
    return bool(recipe.seeds.source)


def _control_wanted(recipe: Recipe, data: RunData) -> bool:
    return recipe.reactivate.control and _recam_wanted(recipe, data) and bool(data.score)


def _has_truth(recipe: Recipe, data: RunData) -> bool:
    return bool(data.score)


def _cam_scored(recipe: Recipe, data: RunData) -> bool:
    return _classifier_wanted(recipe, data) and bool(data.score)


def _recam_scored(recipe: Recipe, data: RunData) -> bool:
    return _recam_wanted(recipe, data) and bool(data.score)


def _given_scored(recipe: Recipe, data: RunData) -> bool:
    return _given_wanted(recipe, data) and bool(data.score)


def _pseudo_wanted(recipe: Recipe, data: RunData) -> bool:
    return recipe.segment.enabled and recipe.segment.labels == "pseudo"


def _truth_wanted(recipe: Recipe, data: RunData) -> bool:
    return recipe.segment.enabled and (recipe.segment.labels == "truth" or recipe.segment.upper_bound)


_BEFORE: tuple[Stage, ...] = (
    Stage("features", "classify", make_features, _training, roles=("train",), wanted=_features_wanted),
    Stage(
        "classify", "classify", classify, _classify, ("features",), ("train",), _classifier_wanted, reads=(MAPS, VIEWS), supervision=_labels
    ),
    Stage("control", "reactivate", control, _control, ("classify", "features"), ("train",), _control_wanted, reads=(MAPS, VIEWS)),
    Stage("reactivate", "reactivate", reactivate, _reactivate, ("classify", "features"), ("train",), _recam_wanted, reads=(MAPS, VIEWS)),
    Stage("seeds/given", "seeds", take_given, given_settings, (), ("seeded",), _given_wanted, supervision=_elsewhere),
    Stage("seeds/cam", "seeds", make_seed_files, _seeds, ("classify",), ("seeded",), _classifier_wanted),
    Stage("seeds/control", "seeds", make_seed_files, _seeds, ("control",), ("score",), _control_wanted),
    Stage(
        "seeds/recam",
        "seeds",
        make_seed_files,
        _seeds,
        ("reactivate",),
        ("seeded",),
        _recam_wanted,
        # Weightings are made side by side: one more does not change the others.
        holds_enough=lambda recipe, data, results: set(recipe.seeds.weightings) <= set(results["weightings"]),
    ),
    Stage("scores/given", "seeds", score_seeds, _seed_scores, ("seeds/given",), ("score",), _given_scored, SCORES),
    Stage("scores/cam", "seeds", score_seeds, _seed_scores, ("seeds/cam",), ("score",), _cam_scored, SCORES),
    Stage("scores/control", "seeds", score_seeds, _seed_scores, ("seeds/control",), ("score",), _control_wanted, SCORES),
    Stage("scores/recam", "seeds", score_seeds, _recam_seed_scores, ("seeds/recam",), ("score",), _recam_scored, SCORES),
)

_AFTER: tuple[Stage, ...] = (
    Stage("scores/masks", "masks", score_masks, _nothing, ("masks",), ("score",), _has_truth, SCORES),
    Stage(
        "segment/pseudo", "segment", segment, _segment, ("masks",), ("train",), _pseudo_wanted, SEGMENT, reads=("classify", "reactivate")
    ),
    Stage(
        "segment/truth",
        "segment",
        segment,
        _segment,
        (),
        ("train",),
        _truth_wanted,
        SEGMENT,
        reads=("classify", "reactivate"),
        supervision=_truth,
    ),
    Stage(
        "predictions/pseudo",
        "segment",
        predict_val,
        _predict,
        ("segment/pseudo",),
        ("val",),
        lambda recipe, data: _pseudo_wanted(recipe, data) and bool(data.val),
        SCORES,
    ),
    Stage(
        "predictions/truth",
        "segment",
        predict_val,
        _predict,
        ("segment/truth",),
        ("val",),
        lambda recipe, data: _truth_wanted(recipe, data) and bool(data.val),
        SCORES,
    ),
)

GROUPS = ("classify", "reactivate", "seeds", "refine", "masks", "segment", "pictures")


def list_stages(recipe: Recipe) -> tuple[Stage, ...]:
    """All stages in order; those of refiners are as many as the recipe's chains have links."""
    link = mask_link(recipe)
    seeds = ("seeds/given",) if recipe.seeds.source else ("seeds/cam", "seeds/recam")
    masked = (link.maps_stage,) if link.chain else seeds
    masks = Stage("masks", "masks", make_masks, _masks, masked, ("seeded", "score"), reads=(link.scores_stage,))
    shown = (*seeds, *(Link(link.origin, link.chain[:end]).maps_stage for end in range(1, len(link.chain) + 1)), "masks", "segment/pseudo")
    ranked = ("scores/masks", "predictions/pseudo")
    pictures = Stage("pictures", "pictures", make_pictures, _predict, (*shown, *ranked), ("seeded", "score", "val"), version=2)
    return (*saliency_stages(recipe), *_BEFORE, *chain_stages(recipe), masks, *_AFTER, pictures)


def check_group(until: str | None) -> None:
    """Raises `RecipeError` with near matches where ``--until`` names no group of stages."""
    if until is not None and until not in GROUPS:
        raise RecipeError(f"--until: there is no stage {until!r}.{near_matches(until, GROUPS)}")


def stages_until(stages: tuple[Stage, ...], until: str | None) -> tuple[Stage, ...]:
    """All stages, or those up to the end of a group."""
    return stages if until is None else tuple(stage for stage in stages if GROUPS.index(stage.group) <= GROUPS.index(until))
