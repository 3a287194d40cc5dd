"""The segmentation model that learns from pseudo masks, or from true masks for an upper bound (eq. 3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recam.data.roles import DataSettings, Role, RunData
from recam.data.spread import spread_evenly
from recam.engine.amount import Amount
from recam.engine.stage import Stage
from recam.engine.work import Work, sum_over_processes
from recam.errors import DataError
from recam.evaluation.metrics import ConfusionMatrix
from recam.inference.settings import InferenceSettings
from recam.inference.tta import most_probable, predict_mask, predict_probabilities
from recam.labels import mask_value, mask_values, output_values
from recam.models.backbones import BackboneSettings
from recam.models.encoders import encoder_normalisation
from recam.models.saved import TrainedSegmenter, load_classifier, load_segmenter, save_segmenter
from recam.pipeline.map_set import MapSet
from recam.pipeline.segment_amounts import model_amounts, predict_amounts
from recam.pipeline.segment_loss import LossContext, SegmentLoss, segment_losses
from recam.pipeline.stages.masks import PseudoMasks
from recam.pipeline.stages.predict import PredictGiven, inference_settings, predict_val
from recam.pipeline.stages.score import VERSION as SCORES
from recam.pipeline.stages.segment_settings import CLASSIFIER, SegmentSettings, make_optimizer
from recam.pipeline.stages.train import CHECKPOINT, fit_stage
from recam.preprocess import PerBand
from recam.progress import log_line
from recam.recipe.recipe import Recipe
from recam.runfolder.kinds import MASKS, PREDICTIONS, SEGMENTER
from recam.runfolder.store import WEIGHTS, link_or_copy
from recam.runfolder.supervision import TRUTH
from recam.training.augment import Augment
from recam.training.loader import MaskedImages
from recam.training.loop import Schedule
from recam.training.model_selection import Validation
from recam.training.segmentation_loss import balance_classes
from recam.types import Mask, Sample

VERSION = 2
"""Of segmentation trainings: 2 since DeepLabV2's rates follow its output stride and dropout draws by step."""
ANSWERS = 60
"""Training images, at most, that a finished model is applied to, to see which classes it predicts at all."""
VAL_MIOU = "val_miou"
"""Name of the held-out mIoU, in [0, 1], in the history of a training."""


@dataclass(frozen=True)
class SegmentGiven:
    """What a segmentation model depends on, beside its masks.

    Attributes:
        settings: those of network and training; what decides whether it is trained at all stands at its default.
        truth: it learns from true masks.
        content: hash of the weights where they are a file.
        classifier: the stage whose weights the encoder starts from; empty: those that the settings name.
        masks: the stage whose masks it learns from, unless from true ones.
        earlier: a model on earlier masks, and the stage of these; where they are the ones that were kept, it is taken.
        unlabelled: the stage with masks of images without labels, which are learned from as well; empty: none.
        loss: how it learns from them.
        loss_version: of the loss's code.
    """

    settings: SegmentSettings
    loss: SegmentLoss
    truth: bool
    content: str | None
    classifier: str
    seed: int
    max_side: int | None
    masks: str = "masks"
    earlier: tuple[str, str] | None = None
    unlabelled: str = ""
    loss_version: int = 1


def plan_segmentation(
    recipe: Recipe,
    data: RunData,
    classifier: str,
    maps: MapSet,
    earlier: Stage | None = None,
    unlabelled: str = "",
    masks: str = MASKS,
) -> list[Stage]:
    """The models of the recipe, and the scores of each on held-out images.

    Args:
        masks: the stage whose masks are learned from.
        classifier: the stage that trained the classifier of the class maps; empty: none.
        maps: those that the pseudo masks are made of.
        earlier: trains a model on earlier masks, which is taken where these were kept and the settings are the same.
        unlabelled: see `SegmentGiven`.
    """
    own = recipe.section(SegmentSettings)
    start = _start_of(own, classifier)
    kinds = [
        kind
        for kind, wanted in (("pseudo", own.labels == "pseudo"), ("truth", own.labels == "truth" or own.upper_bound))
        if wanted
    ]
    stages = []
    for kind in kinds if own.enabled else ():
        truth = kind == "truth"
        name = f"segment/{kind}"
        on = "true masks" if truth else "pseudo masks" if masks == MASKS else "pseudo and corrected masks"
        label = {
            "title": f"segmentation model, trained on {on}",
            "kind": SEGMENTER,
            "colour": "slate" if truth else "blue",
            "network": {"model": own.model, "encoder": own.encoder, "output_stride": own.output_stride},
            "pretrained": recipe.section(BackboneSettings).weights if start else own.weights,
        }
        content = data.content(own.weights)
        *prepared, stage = model_stages(
            recipe, content, name, MASKS if truth else masks, maps, classifier, "segment", label
        )
        if truth:
            if stage.given.loss.from_maps:
                stage, prepared = replace(stage, needs=stage.needs[len(prepared) :]), []
            needs = tuple(need for need in stage.needs if need != "masks")
            given = replace(stage.given, truth=True, masks="masks")
            stage = replace(stage, given=given, needs=needs, supervision=(TRUTH,))
        else:
            stage = _with_rounds(stage, earlier, unlabelled)
        stages += [*prepared, stage]
        if data.val:
            predict = PredictGiven(name, inference_settings(recipe))
            title = "model trained on true masks" if truth else "segmentation model"
            shown = {**label, "title": title, "kind": PREDICTIONS}
            predicted = Stage(f"predictions/{kind}", "segment", predict_val, predict, (name,), ("val",), SCORES)
            amounts = predict_amounts(stage.given.settings)
            stages.append(replace(predicted, label=shown, amounts=amounts, shared=True))
    return stages


def _with_rounds(stage: Stage, earlier: Stage | None, unlabelled: str) -> Stage:
    """The stage of a model that may be spared by an earlier one, and may learn from images without labels as well."""
    given, needs, roles = stage.given, stage.needs, stage.roles
    if earlier and earlier.given.settings == given.settings:
        spared = earlier.name, earlier.given.masks
        given, needs = replace(given, earlier=spared), (*needs, *spared)
    if unlabelled:
        given, needs, roles = replace(given, unlabelled=unlabelled), (*needs, unlabelled), (*roles, "unlabelled")
    return replace(stage, given=given, needs=needs, roles=roles)


def model_stages(
    recipe: Recipe,
    content: str | None,
    name: str,
    masks: str,
    maps: MapSet,
    classifier: str,
    group: str,
    label: dict[str, Any],
) -> list[Stage]:
    """What the loss wants before, and a stage of that name that trains the recipe's segmentation model on the masks of
    the stage `masks`, or on what the loss makes of the maps.

    Args:
        content: hash of `segment.weights` where they are a file.
        maps: those that the masks are made of.
        classifier: the stage that trained the classifier of the class maps; empty: none.
    """
    own, max_side = recipe.section(SegmentSettings), recipe.section(DataSettings).max_side
    start = _start_of(own, classifier)
    settings = replace(own, enabled=True, upper_bound=False, labels="pseudo")
    loss = segment_losses[own.loss].plan(recipe, own.loss)
    prepared = loss.preparations(recipe, maps, group)
    if loss.from_maps:
        masks = prepared[-1].name
    given = SegmentGiven(settings, loss, False, content, start, recipe.seed, max_side, masks, loss_version=loss.version)
    needs = tuple(dict.fromkeys((masks, *(each.name for each in prepared), *([start] if start else []))))
    roles: tuple[Role, ...] = ("train", "val") if own.validate_epochs else ("train",)
    stage = Stage(name, group, train_segmenter, given, needs, roles, VERSION, label=label, amounts=segment_amounts)
    return [*prepared, stage]


def _start_of(own: SegmentSettings, classifier: str) -> str:
    return classifier if own.weights == CLASSIFIER else ""


def train_segmenter(given: SegmentGiven, work: Work) -> dict[str, Any]:
    """Train a segmentation model on pseudo masks, or on true masks (eq. 3)."""
    if given.earlier and not given.unlabelled and (taken := _take_earlier(given, work)):
        return taken
    torch.manual_seed(given.seed)
    settings, truth = given.settings, given.truth
    samples = [sample for sample in work.data.train if sample.mask is not None] if truth else work.data.train
    if not samples:
        raise DataError(
            "no training image has a true mask, so there is no upper bound to train. Set segment.labels to 'pseudo'."
        )
    classes, background = work.data.catalog.classes.names, work.data.catalog.classes.background
    if given.classifier:
        source = work.inputs[given.classifier].weights
        own = load_classifier(source).backbone
        weights, mean, std = str(source), own.mean, own.std
    else:
        weights = settings.weights
        mean, std = encoder_normalisation(settings.encoder, weights, work.data.channels)
    network = settings.make(len(classes), weights, work.data.channels, background)
    optimizer = make_optimizer(network, settings)
    read: Callable[[Sample], Mask] = TrueMasks() if truth else PseudoMasks(work.inputs[given.masks])
    if given.unlabelled:
        others = work.data.unlabelled
        read = JoinedMasks(read, PseudoMasks(work.inputs[given.unlabelled]), frozenset(each.id for each in others))
        samples = [*samples, *others]
    augment = Augment(
        settings.crop,
        mean,
        std,
        scale=settings.scale,
        max_side=given.max_side,
        frame=settings.frame,
        jitter=settings.jitter,
        transforms=settings.transforms,
    )
    dataset = MaskedImages(samples, read, augment, given.seed, given.loss.extras(len(classes)))
    weighted = weigh_classes(work, samples, read, settings.class_balance)
    objective = given.loss.objective(network, LossContext(mean, std, background, weighted))
    compute = work.compute
    schedule = Schedule(
        settings.epochs,
        settings.batch,
        compute.workers,
        compute.save_minutes,
        steps=settings.steps,
        average=settings.ema,
    )
    validation = make_validation(given, work, mean, std)
    trained = fit_stage(work, objective, dataset, optimizer, settings.power, schedule, given.seed, validation)
    results: dict[str, Any] = {"history": trained.history, "images": len(samples), "images_read": trained.images}
    if validation:
        best = validation.best(trained.history) or {}
        results["best"] = {"epoch": best["epoch"], "miou": best[VAL_MIOU]}
        results |= {"kept": settings.keep, "stopped_early": trained.stopped}
    if work.accelerator.is_main_process:
        reading = work.data.settings.reading
        names = (
            {"last": WEIGHTS, "best": "best.safetensors"}
            if settings.keep == "last"
            else {"last": "last.safetensors", "best": WEIGHTS}
        )
        save_segmenter(work.folder.path / names["last"], network, settings, classes, mean, std, reading, background)
        if trained.best:
            network.load_state_dict(state_of_network(trained.best))
            path = work.folder.path / names["best"]
            save_segmenter(path, network, settings, classes, mean, std, reading, background)
        segmenter = load_segmenter(work.folder.path / WEIGHTS)
        segmenter.network.to(work.accelerator.device)
        results["missing"] = _find_missing(segmenter, samples, read, given.max_side, work)
    return results


def segment_amounts(given: SegmentGiven, data: RunData) -> list[Amount]:
    """The work of a training; also of one that is spared where earlier masks are kept, which nobody knows before."""
    images = sum(sample.mask is not None for sample in data.train) if given.truth else len(data.train)
    images += len(data.unlabelled) if given.unlabelled else 0
    return model_amounts(given, images, min(images, ANSWERS), len(data.val))


def _take_earlier(given: SegmentGiven, work: Work) -> dict[str, Any] | None:
    """The results of the earlier model, and its weights, where the masks that were kept are those it learned from."""
    assert given.earlier
    model, masks = (work.inputs[name] for name in given.earlier)
    if work.inputs[given.masks].record["results"]["maps"] != masks.record["results"]["maps"]:
        return None
    if work.accelerator.is_main_process:
        for path in model.path.glob("*.safetensors"):
            if path.name != CHECKPOINT:
                link_or_copy(str(path), str(work.folder.path / path.name))
        log_line(f"{work.folder.name}: taken from {model.name}, which has learned from the same masks.")
    results: dict[str, Any] = model.record["results"]
    return results


def _find_missing(
    segmenter: TrainedSegmenter,
    samples: Sequence[Sample],
    read: Callable[[Sample], Mask],
    max_side: int | None,
    work: Work,
) -> list[str]:
    """Classes that its masks show and that the model predicts nowhere in images it has learned from; reported."""
    learned, predicted = set[int](), set[int]()
    spread = spread_evenly(len(samples), ANSWERS)
    settings = InferenceSettings(flip=False, max_side=max_side)
    for sample in (samples[index] for index in spread):
        learned.update(np.unique(read(sample)).tolist())
        with work.accelerator.autocast():
            predicted.update(np.unique(predict_mask(segmenter, sample.image.read(), settings)).tolist())
    values = sorted((learned - predicted) & set(mask_values(range(len(segmenter.classes)))[1:].tolist()))
    missing = [segmenter.classes[value - mask_value(0)] for value in values]
    if missing:
        log_line(
            f"{work.folder.name}: the model predicts {len(missing)} of its classes nowhere in {len(spread)} images that"
            f" it has learned from: {', '.join(missing)}. Their masks may be too few, too small or too unlike: train"
            " longer, set segment.class_balance, or use the pseudo masks themselves."
        )
    return missing


@dataclass(frozen=True)
class JoinedMasks:
    """Reads masks of some samples by one reader, of those named by another."""

    read: Callable[[Sample], Mask]
    other: Callable[[Sample], Mask]
    ids: frozenset[str]

    def __call__(self, sample: Sample) -> Mask:
        return (self.other if sample.id in self.ids else self.read)(sample)


@dataclass(frozen=True)
class TrueMasks:
    """Reads the true mask of a sample, for the upper bound."""

    def __call__(self, sample: Sample) -> Mask:
        assert sample.mask is not None
        return sample.mask.read()


def weigh_classes(work: Work, samples: Sequence[Sample], read: Callable[[Sample], Mask], power: float) -> Tensor | None:
    """(K+1,) weights of the classes by the pixels that they have in the masks to train on, (K,) without a background;
    None where the recipe balances nothing."""
    if not power:
        return None
    classes = work.data.catalog.classes
    values = output_values(len(classes), classes.background)
    pixels = np.zeros(len(values), np.int64)
    for sample in work.share(samples, lambda sample: False):
        pixels += np.bincount(read(sample).ravel(), minlength=256)[values]
    sum_over_processes(work, pixels)
    return balance_classes(torch.from_numpy(pixels), power)


def make_validation(given: SegmentGiven, work: Work, mean: PerBand, std: PerBand) -> Validation | None:
    """mIoU on the held-out split, each image read once at its own size; None where the recipe does without."""
    settings, classes = given.settings, work.data.catalog.classes
    if not settings.validate_epochs:
        return None

    def score(objective: nn.Module) -> float:
        network = objective.get_submodule("segmenter")
        segmenter = TrainedSegmenter(network, classes.names, mean, std, background=classes.background)
        confusion = ConfusionMatrix(classes)
        for sample in work.data.val[work.accelerator.process_index :: work.accelerator.num_processes]:
            assert sample.mask is not None
            with work.accelerator.autocast():
                probabilities = predict_probabilities(segmenter, sample.image.read(), (1.0,), False, given.max_side)
            confusion.update(most_probable(probabilities, classes.background), sample.mask.read())
        sum_over_processes(work, confusion.counts)
        if not confusion.counts[1:].any():
            raise DataError(
                "the true masks of the val split hold no pixel of any class. Name another data.val, or do not validate."
            )
        return confusion.scores().miou

    return Validation(score, VAL_MIOU, settings.validate_epochs, settings.patience)


def state_of_network(objective_state: dict[str, Tensor]) -> dict[str, Any]:
    """The segmentation network's part of an objective's state."""
    return {name.removeprefix("segmenter."): value for name, value in objective_state.items()}
