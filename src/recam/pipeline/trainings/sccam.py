"""SC-CAM's place in a run: sub-classes from features of a finished training, a classifier of both, in rounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from recam.data.roles import DataSettings, RunData
from recam.engine.amount import Amount, Turn
from recam.engine.bench import Bench
from recam.engine.stage import Stage
from recam.engine.work import Work
from recam.errors import StoreError
from recam.inference.class_maps import view_pairs
from recam.labels import multi_hot
from recam.methods.sccam import ABSENT, ScCamSettings, find_sub_classes, sccam_loss, sub_class_rows, sub_labels
from recam.models.classifier import Classifier
from recam.models.saved import load_classifier
from recam.pipeline.stages.train import stage_of
from recam.pipeline.train_amounts import untrained_classifier
from recam.pipeline.training import Training, make_training, trainings
from recam.pipeline.trainings.probe import pool_features
from recam.recipe.recipe import Recipe
from recam.runfolder.store import StageFolder
from recam.settings import Count, Positive, section
from recam.tensors import load_tensors, save_tensors
from recam.training.loader import Batch, Extra
from recam.types import Sample

FILE = "sub_classes.safetensors"
SUB_LABELS = "sub_labels"


@section("sccam")
@dataclass(frozen=True)
class ScCamTrainingSettings(ScCamSettings):
    """SC-CAM, `training = "sccam"`: classes learned together with sub-classes found in their features."""

    starts_from: str = "cam"
    """The training whose features give the first round's sub-classes; its weights are not taken over."""
    rounds: Count = 3
    """How often sub-classes are found and learned; each round trains anew."""
    epochs: Count = 50
    """Passes over the training split in each round. The published rounds have 30, 40 and 50."""
    lr: Positive = 0.01
    """Learning rate of the backbone."""
    head_lr: Positive = 0.1
    """Learning rate of both classifiers."""


@dataclass(frozen=True)
class SubClassesGiven:
    """What sub-classes depend on, beside the network whose features are clustered."""

    origin: Training
    sub_classes: int
    max_side: int | None
    seed: int


@trainings.register("sccam")
@dataclass(frozen=True)
class ScCam(Training):
    """`recam.methods.sccam`. Rounds before the last are trainings of their own, ``sccam-1``, ``sccam-2``."""

    title, Settings = "SC-CAM", ScCamTrainingSettings
    heads = ("sub_classes",)
    hands_on_heads = False
    takes_weights = False

    @classmethod
    def start(cls, recipe: Recipe) -> str:
        return recipe.section(ScCamTrainingSettings).starts_from

    @classmethod
    def make(cls, recipe: Recipe, name: str) -> Training:
        settings: ScCamTrainingSettings = cls.read(recipe)
        made = make_training(recipe, settings.starts_from)
        for number in range(1, settings.rounds + 1):
            made = cls(
                name if number == settings.rounds else f"{name}-{number}", replace(settings, rounds=number), made
            )
        return made

    @property
    def stage_title(self) -> str:
        return f"{self.title}, round {self.settings.rounds}"

    @property
    def head_options(self) -> dict[str, dict[str, Any]]:
        return {"sub_classes": {"k": self.settings.sub_classes}}

    def preparations(self, recipe: Recipe, weights: str | None) -> tuple[Stage, ...]:
        assert self.base is not None
        max_side = recipe.section(DataSettings).max_side
        given = SubClassesGiven(self.base, self.settings.sub_classes, max_side, recipe.seed)
        label = {"title": f"sub-classes for {self.stage_title}"}
        needs = (stage_of(self.base),)
        stage = Stage(f"sub_classes/{self.name}", "train", write_sub_classes, given, needs, ("train",), label=label)
        return (replace(stage, amounts=pool_amounts),)

    def extras(self, inputs: Mapping[str, StageFolder], n_classes: int) -> dict[str, Extra]:
        folder = inputs.get(f"sub_classes/{self.name}")
        found = read_sub_classes(folder) if folder else None
        return {SUB_LABELS: Extra(SubLabels(found, n_classes, self.settings.sub_classes))}

    def losses(self, network: Classifier, batch: Batch) -> dict[str, Tensor]:
        features = F.dropout2d(network.encode(batch), self.settings.dropout, network.training)  # (B, D, h, w)
        rows = sub_class_rows(network.heads["sub_classes"])
        loss = sccam_loss(features, network.weight_1, rows, batch["labels"], batch[SUB_LABELS], self.settings)
        return {"loss": loss.total, "bce": loss.classes, "sub_classes": loss.sub_classes}


@dataclass(frozen=True)
class SubLabels:
    """Labels (K·k,) of a sample's sub-classes; before any are found those of each class's first."""

    found: Mapping[str, NDArray[np.integer]] | None
    n_classes: int
    k: int

    def __call__(self, sample: Sample) -> Tensor:
        if self.found is None:
            own = np.where(multi_hot(sample.labels, self.n_classes) > 0, 0, ABSENT)
        else:
            own = self.found[sample.id]
        return sub_labels(torch.from_numpy(own).long(), self.k)


def write_sub_classes(given: SubClassesGiven, work: Work) -> dict[str, Any]:
    """Cluster pooled features of all training images, class by class."""
    samples, classes = work.data.train, work.data.catalog.classes.names
    network = load_classifier(work.inputs[stage_of(given.origin)].weights).to(work.accelerator.device)
    features = pool_features(network, samples, (1.0,), given.max_side, work)  # (N, D)
    labels = torch.from_numpy(np.stack([multi_hot(sample.labels, len(classes)) for sample in samples]))
    found = find_sub_classes(features.float(), labels, given.sub_classes, given.seed)
    if work.accelerator.is_main_process:
        meta = {"ids": [sample.id for sample in samples]}
        save_tensors(work.folder.path / FILE, {"sub_classes": found.to(torch.int16)}, meta)
    counts = [int(found[:, index].max()) + 1 for index in range(len(classes))]
    return {"images": len(samples), "sub_classes": dict(zip(classes, counts, strict=True))}


def read_sub_classes(folder: StageFolder) -> dict[str, NDArray[np.integer]]:
    """(K,) sub-classes by sample. Raises `StoreError` for a damaged file."""
    path = folder.path / FILE
    tensors, meta = load_tensors(path)
    try:
        return dict(zip(meta["ids"], tensors["sub_classes"].numpy(), strict=True))
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(
            f"{path} holds no sub-classes ({error}). Delete it; the same command makes it again."
        ) from error


def pool_amounts(given: SubClassesGiven, data: RunData) -> list[Amount]:
    """Every training image goes through the network; clustering takes seconds."""

    def set_up(bench: Bench) -> Turn:
        network = bench.once(("pooled", given.origin), lambda: untrained_classifier(bench, given.origin))

        @torch.inference_mode()
        def turn(sample: Sample) -> None:
            for view in view_pairs(network, sample.image.read(), (1.0,), False, given.max_side):
                with bench.accelerator.autocast():
                    network.backbone(view).mean((2, 3))[0].double().cpu()

        return turn

    return [Amount("image pooled", len(data.train), set_up, (given.max_side, given.origin.all_heads))]
