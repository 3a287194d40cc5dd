"""Stages that train: cached features, classifier, control, reactivation, segmentation model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import nn
from torch.utils.data import Dataset

from recam.engine.work import Work
from recam.errors import DataError, RecipeError
from recam.models.classifier import Classifier
from recam.models.encoders import encoder_normalisation
from recam.models.saved import build_segmenter, load_classifier, make_classifier, save_classifier, save_segmenter
from recam.pipeline.objectives import ClassifierObjective, EpsTerm, ReactivationObjective, SegmentationObjective
from recam.pipeline.saliency import VIEWS, read_saliency, wants_eps
from recam.pipeline.segment_parts import (
    VAL_MIOU,
    PseudoMasks,
    TrueMasks,
    make_optimizer,
    make_validation,
    state_of_network,
    weigh_classes,
)
from recam.recipe.recipe import Recipe
from recam.recipe.sections import CLASSIFIER
from recam.training.augment import Augment
from recam.training.cached_features import CachedFeatures, feature_path, save_features, view_generator
from recam.training.loader import Batch, LabelledImages, MaskedImages
from recam.training.loop import Schedule, Trained, fit
from recam.training.model_selection import Validation
from recam.training.optim import make_sgd, poly_decay, split_parameters

CHECKPOINT = "training.safetensors"
WEIGHTS = "weights.safetensors"


def make_features(work: Work) -> dict[str, Any]:
    """Features of the frozen trunk for some augmented views of each training image."""
    torch.manual_seed(work.recipe.seed)  # without pretrained weights the trunk is drawn, and must be the one that `classify` draws
    classifier = make_classifier(work.recipe.backbone, len(work.data.catalog.classes), second_head=False)
    backbone, settings = classifier.backbone.eval().to(work.accelerator.device), work.recipe.classify
    if not backbone.has_frozen_trunk:
        raise RecipeError(
            f"classify.cache_features: {backbone.name} has no frozen trunk. Set backbone.freeze_until, or cache_features to 0."
        )
    augment = _augment(work.recipe, classifier)
    probe = backbone.trunk(torch.zeros(1, 3, settings.crop, settings.crop, device=work.accelerator.device))
    need = probe.numel() * 2 * settings.cache_features * len(work.data.train) / 2**30
    if need > settings.cache_gb:
        raise RecipeError(
            f"classify.cache_features = {settings.cache_features} needs {need:.1f} GiB of disk, cache_gb allows {settings.cache_gb}. "
            "Cache fewer views, freeze more stages (the features of later ones are smaller), or raise cache_gb."
        )
    index = {sample.id: position for position, sample in enumerate(work.data.train)}
    for sample in work.share(work.data.train, lambda sample: feature_path(work.folder.path, sample.id).is_file()):
        image = sample.image.read()
        views = [augment(image, view_generator(work.recipe.seed, view, index[sample.id]))[0] for view in range(settings.cache_features)]
        batch = torch.stack(views).to(work.accelerator.device, memory_format=torch.channels_last)
        save_features(feature_path(work.folder.path, sample.id), backbone.trunk(batch))
    return {"gib": round(need, 3), "views": settings.cache_features}


def classify(work: Work) -> dict[str, Any]:
    """Train the multi-label classifier (eq. 1)."""
    torch.manual_seed(work.recipe.seed)
    settings = work.recipe.classify
    classifier = make_classifier(work.recipe.backbone, len(work.data.catalog.classes), False, wants_eps(work.recipe))
    groups = split_parameters(classifier, classifier.backbone, settings.lr, settings.head_lr)
    return _train_classifier(work, classifier, ClassifierObjective(classifier, settings.loss, _eps(work.recipe)), groups, settings.epochs)


def reactivate(work: Work) -> dict[str, Any]:
    """Train on with BCE + λ·SCE, FC2 fresh (eq. 8)."""
    torch.manual_seed(work.recipe.seed)
    settings = work.recipe.reactivate
    classifier = load_classifier(_weights(work, "classify"), second_head=True)
    groups = split_parameters(classifier, classifier.fc2 or classifier, settings.fc2_lr, settings.lr)
    objective = ReactivationObjective(classifier, settings.loss_settings(), _eps(work.recipe))
    return _train_classifier(work, classifier, objective, groups, settings.epochs, first_view=work.recipe.classify.epochs)


def control(work: Work) -> dict[str, Any]:
    """Train on with BCE alone, as many epochs at the same rates as reactivation: what more training gives without ReCAM."""
    torch.manual_seed(work.recipe.seed)
    settings = work.recipe.reactivate
    classifier = load_classifier(_weights(work, "classify"))
    groups = split_parameters(classifier, classifier.backbone, settings.lr, settings.lr)
    objective = ClassifierObjective(classifier, work.recipe.classify.loss, _eps(work.recipe))
    return _train_classifier(work, classifier, objective, groups, settings.epochs, first_view=work.recipe.classify.epochs)


def segment(work: Work) -> dict[str, Any]:
    """Train a segmentation model on pseudo masks, or on true masks (eq. 3)."""
    torch.manual_seed(work.recipe.seed)
    settings, truth = work.recipe.segment, work.folder.name.endswith("truth")
    samples = [sample for sample in work.data.train if sample.mask is not None] if truth else work.data.train
    if not samples:
        raise DataError("no training image has a true mask, so there is no upper bound to train. Set segment.labels to 'pseudo'.")
    classes = work.data.catalog.classes.names
    if settings.weights == CLASSIFIER:
        source = _weights(work, "reactivate" if work.recipe.reactivate.enabled else "classify")
        own = load_classifier(source).backbone
        weights, mean, std = str(source), own.mean, own.std
    else:
        weights, (mean, std) = settings.weights, encoder_normalisation(settings.encoder, settings.weights)
    network = build_segmenter(settings, len(classes), weights)
    optimizer = make_optimizer(network, settings)
    read = TrueMasks() if truth else PseudoMasks(work.inputs["masks"])
    augment = Augment(
        settings.crop,
        mean,
        std,
        scale=settings.scale,
        max_side=work.recipe.data.max_side,
        frame=settings.frame,
        jitter=settings.jitter,
    )
    dataset = MaskedImages(samples, read, augment, work.recipe.seed)
    objective = SegmentationObjective(network, weigh_classes(work, samples, read))
    schedule = replace(_schedule(work, settings.epochs, settings.batch), steps=settings.steps, average=settings.ema)
    validation = make_validation(work, mean, std)
    trained = _train(work, objective, dataset, optimizer, settings.power, schedule, validation)
    results: dict[str, Any] = {"history": trained.history, "images": len(samples), "images_seen": trained.images}
    if validation:
        best = validation.best(trained.history) or {}
        results["best"] = {"epoch": best["epoch"], "miou": best[VAL_MIOU]}
        results |= {"kept": settings.keep, "stopped_early": trained.stopped}
    if work.accelerator.is_main_process:
        names = {"last": WEIGHTS, "best": "best.safetensors"} if settings.keep == "last" else {"last": "last.safetensors", "best": WEIGHTS}
        save_segmenter(work.folder.path / names["last"], network, settings, classes, mean, std)
        if trained.best:
            network.load_state_dict(state_of_network(trained.best))
            save_segmenter(work.folder.path / names["best"], network, settings, classes, mean, std)
    return results


def _weights(work: Work, stage: str) -> Any:
    return work.inputs[stage].path / WEIGHTS


def _eps(recipe: Recipe) -> EpsTerm | None:
    return EpsTerm(recipe.eps.weight, recipe.eps.method()) if wants_eps(recipe) else None


def _augment(recipe: Recipe, classifier: Classifier) -> Augment:
    settings, backbone = recipe.classify, classifier.backbone
    return Augment(settings.crop, backbone.mean, backbone.std, long_side=settings.long_side)


def _train_classifier(
    work: Work, classifier: Classifier, objective: nn.Module, groups: list[dict[str, Any]], epochs: int, first_view: int = 0
) -> dict[str, Any]:
    n_classes = len(work.data.catalog.classes)
    eps = wants_eps(work.recipe)
    dataset: Dataset[Batch]
    if "features" in work.inputs:
        saliency = work.inputs[VIEWS].path if eps else None
        dataset = CachedFeatures(work.inputs["features"].path, work.data.train, n_classes, first_view, saliency)
    else:
        # Other draws of augmentation than those the classifier began with.
        augment, seed = _augment(work.recipe, classifier), work.recipe.seed + first_view
        dataset = LabelledImages(work.data.train, augment, n_classes, seed, read_saliency(work) if eps else None)
    results = train(work, objective, dataset, groups, work.recipe.classify, epochs, work.recipe.classify.batch)
    if work.accelerator.is_main_process:
        save_classifier(work.folder.path / WEIGHTS, classifier, work.recipe.backbone, work.data.catalog.classes.names)
    return {**results, "images": len(work.data.train)}


def _schedule(work: Work, epochs: int, batch: int) -> Schedule:
    return Schedule(epochs, batch, work.recipe.compute.workers, work.recipe.compute.save_minutes)


class TrainingSettings(Protocol):
    """What a training reads of its section of the recipe beside epochs, batch and learning rates."""

    @property
    def momentum(self) -> float: ...

    @property
    def weight_decay(self) -> float: ...

    @property
    def power(self) -> float: ...


def train(
    work: Work,
    objective: nn.Module,
    dataset: Dataset[Batch],
    groups: list[dict[str, Any]],
    settings: TrainingSettings,
    epochs: int,
    batch: int,
) -> dict[str, Any]:
    """Train with SGD and polynomial decay, resuming from the stage's checkpoint; results are the history."""
    optimizer = make_sgd(groups, momentum=settings.momentum, weight_decay=settings.weight_decay)
    trained = _train(work, objective, dataset, optimizer, settings.power, _schedule(work, epochs, batch))
    return {"history": trained.history}


def _train(
    work: Work,
    objective: nn.Module,
    dataset: Dataset[Batch],
    optimizer: torch.optim.Optimizer,
    power: float,
    schedule: Schedule,
    validation: Validation | None = None,
) -> Trained:
    rates = [group["lr"] for group in optimizer.param_groups]

    def set_step(step: int, total: int) -> None:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * poly_decay(step, total, power)

    name, checkpoint = work.folder.name, work.folder.path / CHECKPOINT
    return fit(name, objective, dataset, optimizer, set_step, schedule, work.recipe.seed, checkpoint, work.accelerator, validation)
