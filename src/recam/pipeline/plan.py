"""What a recipe and a data set come to: the stages of a run in order, each with exactly the object that its result
depends on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from recam.data.roles import DataSettings, Role, RunData, in_every_image
from recam.engine.stage import Stage, unique
from recam.errors import DataError, RecipeError, near_matches
from recam.inference.saliency_model import SaliencySettings
from recam.inference.settings import InferenceSettings
from recam.methods.refinements import make_refinement
from recam.models.backbones import BackboneSettings
from recam.pipeline.maker import make_maker, makers
from recam.pipeline.map_set import MapSet
from recam.pipeline.refiner import Place, RefinerStep, refiner_steps, whole_chain
from recam.pipeline.segment_loss import segment_losses
from recam.pipeline.stages.external_maps import check_external, plan_external
from recam.pipeline.stages.external_masks import corrected_masks
from recam.pipeline.stages.held_out import plan_held_out
from recam.pipeline.stages.largest import plan_largest
from recam.pipeline.stages.maps import MapSettings, plan_maps, trial_maps
from recam.pipeline.stages.masks import MaskSettings, masks_of, plan_masks
from recam.pipeline.stages.pictures import plan_pictures
from recam.pipeline.stages.pixels import STAGE as PIXELS_STAGE
from recam.pipeline.stages.pixels import plan_pixels
from recam.pipeline.stages.predict import inference_settings
from recam.pipeline.stages.quality import plan_quality
from recam.pipeline.stages.refine import plan_refiner
from recam.pipeline.stages.saliency import plan_saliency, saliency_given, saliency_problems
from recam.pipeline.stages.score import VERSION as SCORES
from recam.pipeline.stages.score import plan_scores, score_amounts, score_masks
from recam.pipeline.stages.segment import SegmentGiven, plan_segmentation
from recam.pipeline.stages.segment_settings import SegmentSettings
from recam.pipeline.stages.threshold import images_judged, plan_threshold
from recam.pipeline.stages.train import ViewsGiven, plan_training, stage_of
from recam.pipeline.stages.unlabelled import plan_unlabelled
from recam.pipeline.training import Training, make_training, trainings
from recam.recipe.recipe import Recipe
from recam.registry import Registry
from recam.runfolder.kinds import MASK_SCORES, MASKS
from recam.training.settings import TrainSettings

GROUPS = ("train", "maps", "refine", "masks", "segment", "pictures")
"""What ``--until`` names, in order."""


@dataclass(frozen=True)
class Plan:
    """The stages of a run.

    Attributes:
        stages: in order, each after those that it needs.
        maps: the set that pseudo masks are made of.
        seeds: the set before any refiner.
        classifier: the stage that trained the classifier of these maps; empty for external ones.
        thresholds: by training, the stage that finds its threshold and records how well its masks agree with the
            images, where trainings are chosen from.
    """

    stages: tuple[Stage, ...]
    maps: MapSet
    seeds: MapSet
    classifier: str
    thresholds: Mapping[str, str] = field(default_factory=dict)


def make_plan(recipe: Recipe, data: RunData) -> Plan:
    """The stages of the recipe on this data set.

    Raises:
        RecipeError: everything that the data set, the machine or the recipe itself has against it, at once.
        DataError: external class maps that do not fit, all that is wrong with them.
    """
    own, masks = recipe.section(MapSettings), recipe.section(MaskSettings)
    backbone, max_side = recipe.section(BackboneSettings), recipe.section(DataSettings).max_side
    weights = data.content(backbone.weights)
    unknown, problems = _unknown_names(recipe), _chain_problems(recipe)
    if unknown:
        raise _refused([*unknown, *problems])
    trainings = (
        []
        if own.source
        else [
            make_training(recipe, name)
            for name in dict.fromkeys((*recipe.compare, *recipe.candidates, recipe.training))
        ]
    )
    trainings = [each for each in trainings if data.score or not each.only_scored or each.name == recipe.training]
    steps: list[RefinerStep] = []
    users = [f"the training {each.name!r}" for each in trainings if each.is_on_saliency]
    users += [f"the refiner {name!r}" for name in dict.fromkeys(recipe.refine) if refiner_steps[name].uses_saliency]
    saliency, role = recipe.section(SaliencySettings), _saliency_role(recipe, trainings)
    problems += saliency_problems(saliency, users, data, role)
    problems += [problem for each in trainings for problem in each.problems(len(data.catalog.classes))]
    if trainings and len(data.catalog.classes) == 1 and (why := in_every_image(data.train, data.catalog.classes.names)):
        problems.append(why)
    if recipe.maker:
        made_by = make_maker(recipe, recipe.maker, data.catalog.classes.names)
        problems += [f"maker {recipe.maker}: {each}" for each in made_by.problems(recipe)]
    problems += _background_problems(recipe, data, trainings, masks)
    problems += [
        f"masks.class_thresholds: there is no class {name!r}.{near_matches(name, data.catalog.classes.names)}"
        for name in masks.class_thresholds
        if name not in (*data.catalog.classes.names, *data.left_out)
    ]
    problems += _loss_problems(recipe, data.catalog.classes.background)
    if recipe.section(SegmentSettings).validate_epochs and not data.val:
        problems.append(
            "segment.validate_epochs needs true masks of a held-out split. Name one as data.val, or set it to 0."
        )
    if own.held_out and (own.source or not data.val):
        lacks = "a training, and external maps have none" if own.source else "true masks of a held-out split, data.val"
        problems.append(f"maps.held_out needs {lacks}. Set it to false.")
    learned = refined = None
    stages: list[Stage] = []
    if not problems and any(each.is_on_saliency for each in trainings):
        train = recipe.section(TrainSettings)
        views = (
            ViewsGiven(recipe.seed, train.crop, train.long_side, train.cache_features) if train.cache_features else None
        )
        learned = saliency_given(saliency, data, "train")
        stages += plan_saliency(saliency, learned, views, True)
    if not problems and role == "seeded":
        refined = saliency_given(saliency, data, role)
        stages += plan_saliency(saliency, refined, None, any(each.maps_on_saliency for each in trainings))
    shown: list[MapSet] = []
    classifier = ""
    thresholds: dict[str, str] = {}
    if own.source:
        check_external(own.source, data)
        stage, seeds = plan_external(own, data, masks.fixed)
        stages.append(stage)
        if seeds.scores:
            stages.append(plan_scores(stage, [seeds]))
        shown.append(seeds)
        label = dict(stage.label)
    for training in trainings:
        stages += [_with_rehearsal(each, data, training) for each in plan_training(recipe, training, weights, learned)]
        final = training.name == recipe.training
        maker = make_maker(recipe, recipe.maker, data.catalog.classes.names) if recipe.maker and final else None
        made, sets = plan_maps(recipe, training, maker, max_side, masks.fixed, bool(data.score), refined)
        *prepared, stage = made
        stages += prepared
        if training.name in recipe.candidates:
            first = _first_step(recipe, Place(recipe, sets[0], max_side, weights, data=data))
            trial, folder = trial_maps(stage, sets, images_judged(first))
            judge = (
                plan_threshold(recipe, sets[0], masks.oracle, weights, first, folder)
                if sets[0].background
                else plan_largest(recipe, sets[0], weights, first, folder)
            )
            stages += [trial, *judge]
            thresholds[training.name] = judge[-1].name if judge else ""
            if not final:
                continue
        stages.append(stage)
        if data.score:
            stages.append(plan_scores(stage, sets))
        if own.held_out and final:
            stages.append(plan_held_out(stage))
        if not training.only_scored:
            shown.append(sets[0])
        if final:
            seeds, classifier, label = sets[0], stage_of(training), dict(stage.label)
    maps = seeds
    chain = [maps]
    for name in whole_chain(recipe):
        content = data.content(recipe.section(SegmentSettings).weights)
        place = Place(recipe, maps, max_side, weights, content, data)
        step = refiner_steps[name].plan(name, place)
        problems += [f"{name}: {problem}" for problem in step.problems(place)]
        steps.append(step)
        stages += plan_threshold(recipe, maps, masks.oracle, weights, step)
        made, maps = plan_refiner(step, place, masks.oracle, refined, own.bits, label)
        stages += made
        if data.score:
            stages.append(plan_scores(made[-1], [maps]))
        shown.append(maps)
        chain.append(maps)
    stages += plan_threshold(recipe, maps, masks.oracle, weights)
    if problems:
        raise _refused(problems)
    before = chain[len(recipe.refine)] if masks.rounds == "auto" else None
    # Where a threshold is found, that brings the pixels along.
    judged = not maps.background and masks.fixed is None and not (masks.oracle and maps.scores)
    stages += [plan_pixels(recipe, weights)] if before or judged else []
    stages += plan_masks(recipe, maps, before)
    model = _model_on(masks_of(before), stages) if before else None
    if any(stage.name == PIXELS_STAGE for stage in stages):
        stages.append(plan_quality(classifier))
    if data.score:
        scores_label = {"title": "pseudo masks", "kind": MASK_SCORES, "colour": "red"}
        scored = Stage("scores/masks", "masks", score_masks, None, ("masks",), ("score",), SCORES, label=scores_label)
        stages.append(replace(scored, amounts=lambda given, data: [score_amounts(len(data.score))]))
    unlabelled = ""
    if model and data.unlabelled:
        stages.append(plan_unlabelled(model.name, inference_settings(recipe), recipe.section(SegmentSettings)))
        unlabelled = stages[-1].name
    taught = MASKS
    if masks.corrected:
        stages.append(corrected_masks(masks.corrected))
        taught, model = stages[-1].name, None  # one that learned from the masks before has not seen the corrections
    stages += plan_segmentation(recipe, data, classifier, maps, model, unlabelled, taught)
    stages = [_with_check(stage, recipe) for stage in stages]
    stages.append(plan_pictures(shown, inference_settings(recipe), stages))
    return Plan(unique(stages), maps, seeds, classifier, thresholds)


def check_group(until: str | None) -> None:
    """Raises `RecipeError` with near matches where ``--until`` names no group of stages."""
    if until is not None and until not in GROUPS:
        raise RecipeError(f"--until: there is no stage {until!r}.{near_matches(until, GROUPS)}")


def stages_until(stages: Sequence[Stage], until: str | None) -> list[Stage]:
    """All stages, or those up to the end of a group, and whatever of later groups these need."""
    kept = {stage.name for stage in stages if until is None or GROUPS.index(stage.group) <= GROUPS.index(until)}
    for stage in reversed(stages):
        if stage.name in kept:
            kept.update(stage.needs)
    return [stage for stage in stages if stage.name in kept]


def _first_step(recipe: Recipe, place: Place) -> RefinerStep | None:
    return refiner_steps[recipe.refine[0]].plan(recipe.refine[0], place) if recipe.refine else None


def _model_on(masks: str, stages: Sequence[Stage]) -> Stage | None:
    """The stage of a segmentation model that learns from these masks; None: none does."""
    models = (each for each in stages if isinstance(each.given, SegmentGiven) and each.given.masks == masks)
    return next(models, None)


def _unknown_names(recipe: Recipe) -> list[str]:
    """Trainings, makers and refiners that do not exist."""
    problems = []
    named: list[tuple[Registry[Any], str]] = [(trainings, name) for name in (recipe.training, *recipe.compare)]
    named += [(makers, recipe.maker)] if recipe.maker else []
    named += [(segment_losses, recipe.section(SegmentSettings).loss)]
    for registry, name in (*named, *((refiner_steps, name) for name in whole_chain(recipe))):
        try:
            registry[name]
        except RecipeError as error:
            is_maker = registry is refiner_steps and name in makers
            hint = f" {name!r} makes maps from the image and refines none: set maker = {name!r}." if is_maker else ""
            problems.append(f"{error}{hint}")
    return list(dict.fromkeys(problems))


def _chain_problems(recipe: Recipe) -> list[str]:
    """Makers and refiners that stand where they are of no use."""
    problems = []
    chain = " → ".join(recipe.refine)
    for position, name in enumerate(recipe.refine):
        if name in recipe.refine[:position]:
            problems.append(f"the chain {chain} has {name!r} twice: it refines what it has refined. Leave one out.")
    if recipe.maker and recipe.section(MapSettings).source:
        problems.append(
            f"maker = {recipe.maker!r} makes maps with a trained classifier, and with maps.source none is trained."
        )
    return list(dict.fromkeys(problems))


def _loss_problems(recipe: Recipe, background: bool) -> list[str]:
    """What stands in the way of the segmentation model's loss."""
    own, masks = recipe.section(SegmentSettings), recipe.section(MaskSettings)
    loss = segment_losses[own.loss].plan(recipe, own.loss)
    what = f"segment.loss = {own.loss!r}"
    problems = [f"{what}: {problem}" for problem in loss.problems(recipe)]
    if own.class_balance and not loss.weighs_classes:
        problems.append(f"{what} weighs its pixels itself: set segment.class_balance to 0.")
    if loss.needs_background and not background:
        problems.append(f"{what} parts classes from a background, and data.background = 'none': take another one.")
    if masks.corrected and (loss.from_maps or own.labels == "truth"):
        other = f"segment.labels = {own.labels!r}" if own.labels == "truth" else what
        problems.append(
            f"masks.corrected are learned from beside pseudo masks, and {other} learns from neither: drop one."
        )
    if loss.from_maps and masks.rounds == "auto":
        problems.append(
            f"{what} learns from the last maps, and masks.rounds = 'auto' may keep the masks before: set it to 0 or 1."
        )
    return problems


def _background_problems(recipe: Recipe, data: RunData, chosen: Sequence[Training], masks: MaskSettings) -> list[str]:
    """What makes no sense where every pixel belongs to one of the image's classes."""
    if data.catalog.classes.background:
        return []
    none = "data.background = 'none'"
    problems = [
        f"{none}: the training {each.name!r} learns a background. Choose another one, such as 'recam'."
        for each in chosen
        if each.is_on_saliency
    ]
    problems += [
        f"{none}: the refiner {name!r} parts classes from a background. Leave it out of refine."
        for name in dict.fromkeys(recipe.refine)
        if refiner_steps[name].needs_background
    ]
    if masks.class_thresholds:
        problems.append(f"{none}: masks.class_thresholds are heights of a background. Leave them out.")
    return problems


def _refused(problems: Sequence[str]) -> RecipeError:
    return RecipeError("the recipe cannot be followed:\n" + "\n".join(f"  {problem}" for problem in problems))


def _saliency_role(recipe: Recipe, chosen: Sequence[Training]) -> Role:
    """Whose maps are used: trainings read those of training images, refiners and some trainings' class maps those of
    all images that maps are made for."""
    in_refiners = any(refiner_steps[name].uses_saliency for name in recipe.refine)
    return "seeded" if in_refiners or any(each.maps_on_saliency for each in chosen) else "train"


def _with_rehearsal(stage: Stage, data: RunData, training: Training) -> Stage:
    """Networks that are still to be trained are built, so that an unknown name or weights out of reach stop the run
    now."""

    def rehearse(data: RunData) -> None:
        if not any(sample.labels for sample in data.train):
            raise DataError(f"no image of the split {data.split('train')!r} has a label, so there is nothing to learn.")
        backbone = stage.given.backbone.make(data.channels)
        if stage.name == "features":
            backbone.check_trunk()

    starts_fresh = stage.name == "features" or (stage.name.startswith("train/") and stage.given.training.base is None)
    return replace(stage, rehearse=rehearse) if starts_fresh else stage


def _with_check(stage: Stage, recipe: Recipe) -> Stage:
    if isinstance(stage.given, SegmentGiven):
        settings = stage.given.settings
        weights = "none" if stage.given.classifier else settings.weights

        def rehearse(data: RunData) -> None:
            classes = data.catalog.classes
            settings.make(len(classes), weights, data.channels, classes.background)

        return replace(stage, rehearse=rehearse)
    if stage.name.startswith("predictions/"):
        return replace(stage, rehearse=lambda data: make_refinement(recipe.section(InferenceSettings).refine))
    return stage
