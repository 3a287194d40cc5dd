"""Trainings of classifiers: the cached features of a frozen trunk, and the training itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from recam.data.held_out import hold_out
from recam.data.roles import DataSettings, RunData
from recam.data.spread import spread_evenly
from recam.engine.amount import Amount
from recam.engine.stage import Stage
from recam.engine.work import Work
from recam.errors import RecipeError
from recam.evaluation.label_scores import LabelScores, score_labels
from recam.methods.cam import classify
from recam.models.backbones import Backbone, BackboneSettings
from recam.models.classifier import Classifier
from recam.models.pretrained import published
from recam.models.saved import fill_classifier, save_classifier
from recam.pipeline.stages.saliency import VIEWS, SaliencyGiven
from recam.pipeline.train_amounts import classifier_amounts, feature_amounts
from recam.pipeline.training import Objective, Training
from recam.progress import log_line
from recam.recipe.recipe import Recipe
from recam.runfolder.kinds import CLASSIFIER
from recam.runfolder.store import WEIGHTS, StageFolder
from recam.runfolder.summary import FEW
from recam.runfolder.supervision import LABELS, SALIENCY
from recam.training.augment import Augment
from recam.training.cached_features import CachedFeatures, feature_path, save_features, view_generator
from recam.training.loader import Batch, LabelledImages
from recam.training.loop import AfterEpoch, Schedule, Trained, fit, plan_batches
from recam.training.model_selection import Validation
from recam.training.optim import poly_rates
from recam.training.settings import TrainSettings
from recam.types import Sample

FEATURES = "features"
CHECKPOINT = "training.safetensors"
HELD_OUT = "held_out_map"
"""Name of the mAP on held-out labels, in [0, 1], in the history of a training."""
SLACK = 0.02
"""By so much mAP may fall through a training before its weights are given up: a fifth of the images judges no finer."""
JUDGED = 300
"""Training images whose labels judge a finished classifier, at most."""


@dataclass(frozen=True)
class ViewsGiven:
    """What augmented views depend on: of images for cached features, and of saliency maps beside them."""

    seed: int
    crop: int
    long_side: tuple[int, int]
    views: int
    transforms: tuple[str, ...] = ()

    def augment(self, backbone: Backbone) -> Augment:
        """The augmentation of images for this backbone."""
        return Augment(self.crop, backbone.mean, backbone.std, long_side=self.long_side, transforms=self.transforms)


@dataclass(frozen=True)
class FeaturesGiven:
    """What cached features depend on."""

    views: ViewsGiven
    backbone: BackboneSettings
    weights: str | None
    """What the file of weights holds, as a hash; None for published ones."""


@dataclass(frozen=True)
class TrainGiven:
    """What a trained classifier depends on."""

    training: Training
    views: ViewsGiven
    backbone: BackboneSettings
    weights: str | None
    batch: int
    momentum: float
    weight_decay: float
    power: float
    saliency: SaliencyGiven | None
    max_side: int | None
    """Of images that are read whole; None for trainings on crops."""
    held_out: float


def plan_training(
    recipe: Recipe, training: Training, weights: str | None, saliency: SaliencyGiven | None
) -> list[Stage]:
    """The training's stage, and before it what it needs: cached features, and the training that it starts from."""
    own, backbone = recipe.section(TrainSettings), recipe.section(BackboneSettings)
    cached = 0 if training.reads_images else own.cache_features
    views = ViewsGiven(recipe.seed, own.crop, own.long_side, cached, own.transforms)
    stages, needs = [], []
    if cached and training.train is None:
        given = FeaturesGiven(views, backbone, weights)
        features = Stage(FEATURES, "train", cache(own.cache_gb), given, roles=("train",))
        stages.append(replace(features, label={"title": "cached features"}, amounts=feature_amounts))
        needs.append(FEATURES)
    if training.base:
        stages += plan_training(recipe, training.base, weights, saliency)
        needs.append(stage_of(training.base))
    prepared = training.preparations(recipe, weights)
    stages += prepared
    needs += [each.name for each in prepared]
    if training.is_on_saliency and saliency:  # None where planning has found problems with it, and reports them
        needs += [saliency.stage, VIEWS] if cached else [saliency.stage]
    trained = TrainGiven(
        training, views, backbone, weights, own.batch, own.momentum, own.weight_decay, own.power,
        saliency if training.is_on_saliency else None,
        recipe.section(DataSettings).max_side if training.train or training.after_each else None,
        0.0 if training.train else own.held_out,
    )  # fmt: skip
    label = {
        "title": training.stage_title,
        "colour": training.colour,
        "kind": CLASSIFIER,
        "training": training.name,
        "base": training.base and training.base.name,
        "network": {"name": backbone.name, "output_stride": backbone.output_stride},
        "pretrained": backbone.weights,
        "licence": tagged.licence if (tagged := published(backbone.name, backbone.weights)) else "",
    }
    supervision = (LABELS, SALIENCY) if training.is_on_saliency else (LABELS,)
    stages.append(
        Stage(
            stage_of(training),
            "train",
            training.train or train_classifier,
            trained,
            tuple(needs),
            ("train",),
            training.version,
            supervision,
            label,
            amounts=training.amounts if training.train else train_amounts,
        )
    )
    return stages


def stage_of(training: Training) -> str:
    """Name of the stage that trains it."""
    return f"train/{training.name}"


def cache(gigabytes: float) -> Any:
    """`make_features` with a bound on the disk that it may take, which changes no result."""

    def make(given: FeaturesGiven, work: Work) -> dict[str, Any]:
        return make_features(given, work, gigabytes)

    return make


def make_features(given: FeaturesGiven, work: Work, gigabytes: float) -> dict[str, Any]:
    """Features of the frozen trunk for some augmented views of each training image."""
    torch.manual_seed(
        given.views.seed
    )  # without pretrained weights the trunk is drawn, and must be the one that trainings draw
    backbone = (
        given.backbone.make(work.data.channels).to(memory_format=torch.channels_last).eval().to(work.accelerator.device)
    )
    backbone.check_trunk()
    count, augment = given.views.views, given.views.augment(backbone)
    shape = (1, backbone.bands, given.views.crop, given.views.crop)
    probe = backbone.trunk(torch.zeros(shape, device=work.accelerator.device))
    need = probe.numel() * 2 * count * len(work.data.train) / 2**30
    if need > gigabytes:
        raise RecipeError(
            f"train.cache_features = {count} needs {need:.1f} GiB of disk, cache_gb allows {gigabytes}. "
            "Cache fewer views, freeze more stages (the features of later ones are smaller), or raise cache_gb."
        )
    index = {sample.id: position for position, sample in enumerate(work.data.train)}
    for sample in work.share(work.data.train, lambda sample: feature_path(work.folder.path, sample.id).is_file()):
        image = sample.image.read()
        drawn = (view_generator(given.views.seed, view, index[sample.id]) for view in range(count))
        batch = torch.stack([augment(image, rng)[0] for rng in drawn])
        features = backbone.trunk(batch.to(work.accelerator.device, memory_format=torch.channels_last))
        save_features(feature_path(work.folder.path, sample.id), features)
    return {"gib": round(need, 3), "views": count, "images": len(work.data.train)}


def train_classifier(given: TrainGiven, work: Work) -> dict[str, Any]:
    """Train from the backbone's weights, or from those of the training that it starts from."""
    torch.manual_seed(given.views.seed)
    training, classes = given.training, work.data.catalog.classes.names
    start = work.inputs[stage_of(training.base)] if training.base and training.takes_weights else None
    backbone = replace(given.backbone, weights="none") if start else given.backbone
    network = training.network(backbone.make(work.data.channels), len(classes)).to(memory_format=torch.channels_last)
    network.backbone.recompute(work.compute.recompute)
    if start:
        training.begin(network, start)
        network.eval()
    training.fill(network, work.inputs)
    kept, held = hold_out(work.data.train, given.held_out, given.views.seed)
    optimizer = training.optimizer(network, given.momentum, given.weight_decay)
    schedule = Schedule(
        training.epochs, given.batch, work.compute.workers, work.compute.save_minutes, steps=training.steps
    )
    judge = LabelJudge(_dataset(given, work, network.backbone, held), work) if held else None
    before = judge.score(network).mean_ap if judge and start else None
    trained = fit_stage(
        work,
        Objective(network, training),
        _dataset(given, work, network.backbone, kept),
        optimizer,
        given.power,
        schedule,
        given.views.seed,
        judge.validation(training) if judge else None,
        training.warmup,
        _after_epoch(given, work),
    )
    results: dict[str, Any] = {"history": trained.history, "images": len(kept)}
    if judge and start and before is not None:
        results["kept"] = _keep_learned(judge, network, start, before, trained)
    if work.accelerator.is_main_process:
        save_classifier(work.folder.path / WEIGHTS, network, given.backbone, classes, work.data.settings.reading)
        learned = LabelJudge(_dataset(given, work, network.backbone, kept), work, JUDGED)
        results["labels"] = _report_labels(judge or learned, network, "held-out" if judge else "training", work)
    return results


def train_amounts(given: TrainGiven, data: RunData) -> list[Amount]:
    """Steps on the images that are learned from, and how often images judge: those held out before the first step,
    after each epoch and at the end; without them, some that were learned from at the end."""
    kept, held = hold_out(data.train, given.held_out, given.views.seed)
    training = given.training
    epochs = plan_batches(len(kept), Schedule(training.epochs, given.batch, steps=training.steps)).epochs
    judged = (
        len(held) * (epochs + 1 + (training.base is not None and training.takes_weights))
        if held
        else min(len(kept), JUDGED)
    )
    return [*classifier_amounts(given, len(kept), judged), *training.epoch_amounts(given.max_side, data)]


@dataclass(frozen=True)
class LabelJudge:
    """Scores a classifier by the labels of images: of those that it has not learned from, or, where it has, to see
    whether it has learned anything at all."""

    dataset: Dataset[Batch]
    work: Work
    most: int | None = None

    def score(self, network: Classifier) -> LabelScores:
        """The network is left in evaluation mode, on the device."""
        return self._scored(*self._read(network))

    def validation(self, training: Training) -> Validation:
        """mAP after each epoch, and what the training records; the weights of the best are kept beside the last."""

        def score(objective: nn.Module) -> dict[str, float]:
            logits, labels = self._read(objective.get_submodule("network"))  # type: ignore[arg-type]
            return {HELD_OUT: self._scored(logits, labels).mean_ap, **training.recorded(logits, labels)}

        return Validation(score, HELD_OUT)

    def _read(self, network: Classifier) -> tuple[Tensor, Tensor]:
        """Logits and labels, both (N, K)."""
        # Moved before inference mode begins: weights that are moved within it can no longer be trained.
        network.to(self.work.accelerator.device).eval()
        return self._read_with(network)

    @torch.inference_mode()
    def _read_with(self, network: Classifier) -> tuple[Tensor, Tensor]:
        n, device = len(self.dataset), self.work.accelerator.device  # type: ignore[arg-type]
        logits, labels = [], []
        for index in spread_evenly(n, self.most or n):
            one = self.dataset[0, index]
            batch = {name: value[None].to(device) for name, value in one.items()}
            logits.append(classify(network.encode(batch), network.weight_1, network.bias)[0].float().cpu())
            labels.append(one["labels"])
        return torch.stack(logits), torch.stack(labels)

    def _scored(self, logits: Tensor, labels: Tensor) -> LabelScores:
        return score_labels(logits.numpy(), labels.numpy(), self.work.data.catalog.classes.names)


def _keep_learned(judge: LabelJudge, network: Classifier, start: StageFolder, before: float, trained: Trained) -> str:
    """Leave in the network what held-out labels speak for: the last weights; where they have become worse than what it
    started from, the best; where these have too, the start. Maps go on to improve where mAP no longer does, so the last
    of equals is the best."""
    found = {"last": trained.history[-1][HELD_OUT], "best": max(each[HELD_OUT] for each in trained.history)}
    kept = next((name for name, value in found.items() if value >= before - SLACK), "start")
    if kept == "best":
        network.load_state_dict({name.removeprefix("network."): value for name, value in trained.best.items()})
    if kept == "start":
        fill_classifier(network, start.weights)
    if kept != "last" and judge.work.accelerator.is_main_process:
        fell = f"mAP on held-out labels fell from {100 * before:.1f} to {100 * found['last']:.1f}"
        whose = "its best epoch" if kept == "best" else start.name
        log_line(f"{judge.work.folder.name}: {fell}: the weights of {whose} are kept.")
    return kept


def _report_labels(judge: LabelJudge, network: Classifier, of: str, work: Work) -> dict[str, Any]:
    """How well labels are predicted. On images that it has learned from that is no praise, but a classifier that fails
    there has learned nothing, which is reported before masks are made with it."""
    scores = judge.score(network)
    if not scores.is_learned and scores.images >= FEW:
        reached, chance = 100 * scores.mean_ap, 100 * scores.chance
        log_line(
            f"{work.folder.name}: the classifier has learned nothing: mAP {reached:.1f} on the labels of {of} images,"
            f" {chance:.1f} by chance (p = {scores.p_value:.2f}). Masks made with it mean nothing. Its"
            " rates may not fit these images: try --recipe auto, or other rates and more epochs."
        )
    return {"of": f"{of} images", **scores.as_dict()}


def fit_stage(
    work: Work,
    objective: nn.Module,
    dataset: Dataset[Batch],
    optimizer: torch.optim.Optimizer,
    power: float,
    schedule: Schedule,
    seed: int,
    validation: Validation | None = None,
    warmup: int = 0,
    after_epoch: AfterEpoch | None = None,
) -> Trained:
    """`recam.training.loop.fit` with polynomial decay, behind a linear rise over `warmup` steps, resuming from the
    stage's checkpoint."""
    set_step = poly_rates(optimizer, power, warmup)
    checkpoint = work.folder.path / CHECKPOINT
    name = work.folder.name
    return fit(
        name, objective, dataset, optimizer, set_step, schedule, seed, checkpoint, work.accelerator, validation,
        after_epoch,
    )  # fmt: skip


def _after_epoch(given: TrainGiven, work: Work) -> AfterEpoch | None:
    training = given.training
    if not training.after_each:
        return None

    @torch.inference_mode()
    def do(objective: nn.Module, epoch: int) -> None:
        training.after_epoch(objective.get_submodule("network"), epoch, given.max_side, work)  # type: ignore[arg-type]

    return AfterEpoch(training.after_each, do)


def _dataset(given: TrainGiven, work: Work, backbone: Backbone, samples: list[Sample]) -> Dataset[Batch]:
    n_classes, first_view = len(work.data.catalog.classes), given.training.first_view
    on_saliency = given.saliency is not None
    extras = given.training.extras(work.inputs, n_classes)
    if FEATURES in work.inputs:
        views = work.inputs[VIEWS].path if on_saliency else None
        return CachedFeatures(work.inputs[FEATURES].path, samples, n_classes, first_view, views, extras)
    # Other draws of augmentation than those of the trainings before.
    read = given.saliency.reader(work) if given.saliency else None
    augment, seed = given.views.augment(backbone), given.views.seed + first_view
    return LabelledImages(samples, augment, n_classes, seed, read, extras)
