"""CONTA's place in a run: rounds of a segmentation model on the masks so far, what it predicts of each class, and a
classifier that reads the context of that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recam.data.roles import DataSettings, RunData
from recam.digests import digest_file
from recam.engine.amount import Amount
from recam.engine.stage import Stage
from recam.engine.work import Work, sum_over_processes
from recam.errors import RecipeError
from recam.inference.settings import InferenceSettings
from recam.inference.tta import predict_mask
from recam.methods.cam import bce_loss, class_maps
from recam.methods.conta import ContaSettings, ContextHead, reduce_mask
from recam.methods.recam import Weighting
from recam.models.classifier import Classifier
from recam.models.folding import fold_batchnorm
from recam.models.saved import load_segmenter
from recam.models.segmenters import SegmenterSettings
from recam.pipeline.segment_amounts import predict_amount
from recam.pipeline.segment_loss import segment_losses
from recam.pipeline.stages.external_masks import external_masks
from recam.pipeline.stages.maps import plan_maps
from recam.pipeline.stages.masks import MaskSettings, masks_stage
from recam.pipeline.stages.segment import model_stages
from recam.pipeline.stages.segment_settings import SegmentSettings
from recam.pipeline.stages.threshold import plan_threshold
from recam.pipeline.stages.train import stage_of
from recam.pipeline.training import Training, make_training, trainings
from recam.recipe.recipe import Recipe
from recam.runfolder.kinds import REFINER_NETWORK
from recam.runfolder.store import StageFolder
from recam.settings import Count, Positive, as_json, section
from recam.tensors import load_tensors, save_tensors
from recam.training.loader import Batch
from recam.training.optim import split_parameters

FILE, HEAD = "confounders.safetensors", "context"
PART = 1_000_000
"""Parts of one that shares are counted in, so that processes can add them up exactly."""


@section("conta")
@dataclass(frozen=True)
class ContaTrainingSettings(ContaSettings):
    """CONTA, `training = "conta"`: classifiers that read what usually surrounds their classes, in rounds."""

    starts_from: str = "cam"
    """The training whose masks the first round begins with; its weights are not taken over."""
    masks: str = ""
    """Folder of masks made elsewhere, ``ID.png`` of each training image, such as those of another run, that the first
    round's segmentation model learns from; empty: those of the maps of `starts_from`."""
    rounds: Count = 3
    """How often masks are made, a segmentation model learns from them, and a classifier is trained anew."""
    epochs: Count = 5
    """Passes over the training split in each round."""
    lr: Positive = 0.1
    """Learning rate of the backbone."""
    head_lr: Positive = 1.0
    """Learning rate of FC1, of the context's weights and of the attention."""


@dataclass(frozen=True)
class RoundSettings(ContaTrainingSettings):
    """What a round depends on: CONTA's settings, but for where masks lie, whose content counts, and the segmentation
    network."""

    segmenter: SegmenterSettings | None = None
    background: bool = True


@dataclass(frozen=True)
class ConfoundersGiven:
    """What confounders depend on, beside the model that predicts masks."""

    model: str
    side: int
    max_side: int | None


@trainings.register("conta")
@dataclass(frozen=True)
class Conta(Training):
    """`recam.methods.conta`. Rounds before the last are trainings of their own, ``conta-1``, ``conta-2``."""

    title, Settings = "CONTA", ContaTrainingSettings
    heads = (HEAD,)
    hands_on_heads = False
    takes_weights = False
    reads_images = True  # the segmentation network does

    @classmethod
    def start(cls, recipe: Recipe) -> str:
        return recipe.section(ContaTrainingSettings).starts_from

    @classmethod
    def make(cls, recipe: Recipe, name: str) -> Training:
        own = recipe.section(ContaTrainingSettings)
        segmenter = recipe.section(SegmentSettings).network_only()
        background = recipe.section(DataSettings).has_background
        made = make_training(recipe, own.starts_from)
        for number in range(1, own.rounds + 1):
            settings = RoundSettings(
                side=own.side, width=own.width, starts_from=own.starts_from, rounds=number, epochs=own.epochs,
                lr=own.lr, head_lr=own.head_lr, segmenter=segmenter, background=background,
            )  # fmt: skip
            made = cls(name if number == own.rounds else f"{name}-{number}", settings, made)
        return made

    @property
    def stage_title(self) -> str:
        return f"{self.title}, round {self.settings.rounds}"

    @property
    def head_options(self) -> dict[str, dict[str, Any]]:
        own: RoundSettings = self.settings
        options = {"segmenter": as_json(own.segmenter), "background": own.background}
        return {HEAD: options | {"side": own.side, "width": own.width}}

    @property
    def _stage(self) -> str:
        return f"conta/{self.name}/confounders"

    def preparations(self, recipe: Recipe, weights: str | None) -> tuple[Stage, ...]:
        assert self.base is not None
        own, masks, max_side = recipe.section(SegmentSettings), recipe.section(MaskSettings), _max_side(recipe)
        made, (maps, *_) = plan_maps(recipe, self.base, None, max_side, masks.fixed, False)
        named, source = f"conta/{self.name}/masks", recipe.section(ContaTrainingSettings).masks
        if source and self.settings.rounds == 1:
            if segment_losses[own.loss].from_maps:
                raise RecipeError(
                    f"conta.masks are what a model learns from, and segment.loss = {own.loss!r} learns from maps:"
                    " leave one of them out."
                )
            made, found, labels = [], [], external_masks(source, "conta.masks", named, "train")
        else:
            found = plan_threshold(recipe, maps, False, weights)
            labels = masks_stage(recipe, maps, named, "train")
        content = digest_file(Path(own.weights)) if Path(own.weights).is_file() else None
        name, title = f"conta/{self.name}/model", {"title": f"segmentation model for {self.stage_title}"}
        label = {**title, "kind": REFINER_NETWORK}
        model = model_stages(recipe, content, name, labels.name, maps, stage_of(self.base), "train", label)
        given = ConfoundersGiven(name, self.settings.side, max_side)
        label = {"title": f"confounders of {self.stage_title}"}
        means = Stage(self._stage, "train", write_confounders, given, (name,), ("train",), label=label)
        means = replace(means, amounts=mask_amounts(own.network_only()))
        return (*made, *found, labels, *model, means)

    def fill(self, network: Classifier, inputs: Mapping[str, StageFolder]) -> None:
        model = load_segmenter(inputs[f"conta/{self.name}/model"].weights)
        tensors, _ = load_tensors(inputs[self._stage].path / FILE)
        head = network.heads[HEAD]
        assert isinstance(head, ContextHead)
        head.segmenter.load_state_dict(model.network.state_dict())
        head.normalise(network.backbone.mean, network.backbone.std, model.mean, model.std)
        head.confounders.copy_(tensors["confounders"])

    def groups(self, network: Classifier) -> list[dict[str, Any]]:
        return split_parameters(network, network.backbone, self.settings.lr, self.settings.head_lr)

    def losses(self, network: Classifier, batch: Batch) -> dict[str, Tensor]:
        maps = class_maps(network.encode(batch), network.weight_1)  # (B, K, h, w)
        logits = _context(network).add(maps, batch["images"]).mean((2, 3))  # (B, K)
        return {"loss": bce_loss(logits, batch["labels"])}

    def maps(
        self, network: Classifier, images: Tensor, classes: Sequence[int], weightings: Sequence[Weighting]
    ) -> dict[Weighting, Tensor]:
        made = class_maps(network.backbone(images), network.weight_1[list(classes)])
        added = _context(network).add(made, images, classes)
        return dict.fromkeys(weightings, added)


def _context(network: Classifier) -> ContextHead:
    head = network.heads[HEAD]
    assert isinstance(head, ContextHead)
    return head


def _max_side(recipe: Recipe) -> int | None:
    return recipe.section(DataSettings).max_side


def write_confounders(given: ConfoundersGiven, work: Work) -> dict[str, Any]:
    """Of each class, the mean over the training images with its label of what the model predicts to be of it."""
    segmenter = load_segmenter(work.inputs[given.model].weights)
    fold_batchnorm(segmenter.network).to(work.accelerator.device)
    classes = segmenter.classes
    settings = InferenceSettings(flip=False, max_side=given.max_side)
    total = np.zeros((len(classes), given.side**2), np.int64)
    count = np.zeros(len(classes), np.int64)
    for sample in work.share(work.data.train, lambda sample: False):
        with work.accelerator.autocast():
            mask = predict_mask(segmenter, sample.image.read(), settings)
        own = list(sample.labels)
        total[own] += (reduce_mask(mask, len(classes), given.side)[own].numpy() * PART).round().astype(np.int64)
        count[own] += 1
    sum_over_processes(work, total, count)
    means = torch.from_numpy(total / PART / count.clip(1)[:, None]).float()  # (K, side²)
    if work.accelerator.is_main_process:
        save_tensors(work.folder.path / FILE, {"confounders": means}, {})
    shown = means.mean(1).tolist()
    return {"images": len(work.data.train), "area": dict(zip(classes, map(float, shown), strict=True))}


def mask_amounts(settings: SegmenterSettings) -> Any:
    """Every training image is predicted once."""

    def amounts(given: ConfoundersGiven, data: RunData) -> list[Amount]:
        once = InferenceSettings(flip=False, max_side=given.max_side)
        return [predict_amount(settings, once, len(data.train))]

    return amounts
