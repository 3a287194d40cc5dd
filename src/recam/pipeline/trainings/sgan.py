"""SGAN's place in a run: seeds from the class maps of another training, attention guided by saliency, maps of both
branches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from recam.data.roles import DataSettings
from recam.engine.stage import Stage
from recam.inference.class_maps import MapsOf
from recam.methods.cam import bce_loss, classify
from recam.methods.recam import Weighting
from recam.methods.sgan import SganSettings, at_size, salient_positions, seed_map, seed_targets, sgan_loss
from recam.models.classifier import Classifier
from recam.pipeline.stages.maps import plan_maps
from recam.pipeline.stored_maps import StoredMaps
from recam.pipeline.training import Training, trainings
from recam.recipe.recipe import Recipe
from recam.runfolder.store import StageFolder
from recam.settings import Count, Positive, section
from recam.training.loader import Batch, Extra
from recam.types import Grey

CLASS_MAPS = "class_maps"


@section("sgan")
@dataclass(frozen=True)
class SganTrainingSettings(SganSettings):
    """SGAN, `training = "sgan"`: attention among positions of the object alone, as a saliency map parts them."""

    starts_from: str = "cam"
    """The training whose class maps give the seeds; its weights are not taken over."""
    epochs: Count = 12
    """Passes over the training split. Published: 8000 steps of 15 images."""
    lr: Positive = 1e-3
    """Learning rate of the backbone."""
    head_lr: Positive = 1e-2
    """Learning rate of attention and classifiers."""


@trainings.register("sgan")
@dataclass(frozen=True)
class Sgan(Training):
    """`recam.methods.sgan`. FC1 learns beside it, from features that it does not change: trainings that start from it
    continue that."""

    title, Settings = "SGAN", SganTrainingSettings
    heads = ("sgan",)
    hands_on_heads = False
    takes_weights = False
    reads_images = True  # class maps lie on the image
    uses_saliency = maps_on_saliency = True

    @classmethod
    def start(cls, recipe: Recipe) -> str:
        return recipe.section(SganTrainingSettings).starts_from

    @property
    def head_options(self) -> dict[str, dict[str, Any]]:
        return {"sgan": {"width": self.settings.width, "dropout": self.settings.dropout}}

    def preparations(self, recipe: Recipe, weights: str | None) -> tuple[Stage, ...]:
        assert self.base is not None
        max_side = recipe.section(DataSettings).max_side
        (made, *_), (maps, *_) = plan_maps(recipe, self.base, None, max_side, None, False)
        given = replace(made.given, weightings=(maps.folder.inner,))
        label = {"title": f"class maps for {self.title}"}
        return (replace(made, name=f"{CLASS_MAPS}/{self.name}", group="train", given=given, label=label),)

    def extras(self, inputs: Mapping[str, StageFolder], n_classes: int) -> dict[str, Extra]:
        folder = inputs.get(f"{CLASS_MAPS}/{self.name}")
        inner = folder.path / folder.record["results"]["weightings"][0] if folder else None
        return {CLASS_MAPS: Extra(StoredMaps(inner, n_classes), "planes")}

    def losses(self, network: Classifier, batch: Batch) -> dict[str, Tensor]:
        own, labels = self.settings, batch["labels"]
        features = network.encode(batch)  # (B, D, h, w)
        saliency = at_size(batch["saliency"], features.shape[2:])  # (B, 1, h, w)
        head = network.heads["sgan"]
        fused = head.attend(features, salient_positions(saliency, own.saliency_threshold))  # type: ignore[operator]
        maps, segmentation = head(fused)  # (B, K, h, w)
        cams = F.interpolate(batch[CLASS_MAPS], features.shape[2:], mode="bilinear", align_corners=True)
        seeds = seed_map(cams > own.seed_threshold, saliency < own.saliency_threshold)  # (B, h, w)
        loss = sgan_loss(maps.float(), segmentation.float(), labels, seed_targets(seeds), own)
        bce = bce_loss(classify(features.detach(), network.weight_1), labels)
        return {"loss": loss.total + bce, "classification": loss.classification, "seed": loss.seed, "bce": bce}

    def maps(
        self,
        network: Classifier,
        images: Tensor,
        classes: Sequence[int],
        weightings: Sequence[Weighting],
        saliency: Grey | None = None,
    ) -> dict[Weighting, Tensor]:
        """Without the saliency of the image attention is left out."""
        features, head = network.backbone(images), network.heads["sgan"]  # (V, D, h, w)
        if saliency is not None:
            view = torch.from_numpy(saliency).to(features.device)[None, None]  # (1, 1, H, W)
            views = torch.cat([view, view.flip(-1)])[: len(images)]
            salient = salient_positions(at_size(views, features.shape[2:]), self.settings.saliency_threshold)
            features = head.attend(features, salient)  # type: ignore[operator]
        maps = sum(head(features))[:, list(classes)]
        return dict.fromkeys(weightings, maps)

    def maps_with(self, saliency: Grey | None) -> MapsOf:
        return partial(self.maps, saliency=saliency)
