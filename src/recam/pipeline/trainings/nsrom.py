"""NSROM's place in a run: OAA's two trainings with graph reasoning behind the backbone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from recam.methods.cam import bce_loss, class_maps
from recam.methods.recam import Weighting
from recam.models.classifier import Classifier
from recam.pipeline.training import trainings
from recam.pipeline.trainings.oaa import Oaa, OaaClassifier, OaaClassifierSettings, OaaSettings
from recam.settings import Count, NonNegative, Share, section
from recam.training.loader import Batch

FIRST, REASONING = "nsrom_classifier", "graph_reasoning"


@section(FIRST)
@dataclass(frozen=True)
class NsromClassifierSettings(OaaClassifierSettings):
    """NSROM's first classifier, whose maps accumulate."""

    nodes: Count = 64
    """Regions that the graph reasons over."""
    least_probability: Share = 0.1
    """Maps of classes that are less probable are not kept."""


@section("nsrom")
@dataclass(frozen=True)
class NsromSettings(OaaSettings):
    """NSROM, `training = "nsrom"`: maps of a classifier that reasons over regions, learned by a second one."""

    least: NonNegative = 0.0  # as the code has it; OAA's is above
    nodes: Count = 64
    """Regions that the graph reasons over."""


@trainings.register(FIRST)
@dataclass(frozen=True)
class NsromClassifier(OaaClassifier):
    """The first classifier of `recam.methods.nsrom`, to OAA's rules but for which maps are kept."""

    title, Settings = "NSROM's classifier", NsromClassifierSettings
    heads = (REASONING,)
    hands_on_heads = False

    @property
    def head_options(self) -> dict[str, dict[str, Any]]:
        return {REASONING: {"nodes": self.settings.nodes}}

    def scores(self, network: Classifier, features: Tensor) -> Tensor:
        reasoned: Tensor = network.heads[REASONING](features)
        return class_maps(reasoned.relu(), network.weight_1)

    def accepts(self, logits: Tensor, labels: Tensor) -> Tensor:
        probable: Tensor = logits.sigmoid() >= self.settings.least_probability
        return probable & (labels > 0)

    def losses(self, network: Classifier, batch: Batch) -> dict[str, Tensor]:
        logits = self.scores(network, network.encode(batch)).mean((2, 3))  # (B, K)
        return {"loss": bce_loss(logits, batch["labels"])}

    def maps(
        self, network: Classifier, images: Tensor, classes: Sequence[int], weightings: Sequence[Weighting]
    ) -> dict[Weighting, Tensor]:
        made = self.scores(network, network.backbone(images))[:, list(classes)]  # (V, n, h, w)
        return dict.fromkeys(weightings, made)


@trainings.register("nsrom")
@dataclass(frozen=True)
class Nsrom(Oaa):
    """The second network of `recam.methods.nsrom`, whose maps become masks by `refine = ["nsrom"]`."""

    title, Settings = "NSROM", NsromSettings
    starts_from = FIRST
    heads = (REASONING,)
    hands_on_heads = False

    @property
    def head_options(self) -> dict[str, dict[str, Any]]:
        return {REASONING: {"nodes": self.settings.nodes}}

    def scores(self, network: Classifier, features: Tensor) -> Tensor:
        reasoned: Tensor = network.heads[REASONING](features)
        return class_maps(reasoned, network.weight_1)

    def maps(
        self, network: Classifier, images: Tensor, classes: Sequence[int], weightings: Sequence[Weighting]
    ) -> dict[Weighting, Tensor]:
        made = self.scores(network, network.backbone(images))[:, list(classes)]  # (V, n, h, w)
        return dict.fromkeys(weightings, made)
