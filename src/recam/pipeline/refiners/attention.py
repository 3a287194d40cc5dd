"""Attention of a frozen transformer as a refiner's place in a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from recam.engine.bench import Bench
from recam.methods.attention_maps import AttentionRefiner, AttentionSettings
from recam.methods.refine import EVEN
from recam.models.backbones import BackboneSettings
from recam.models.backbones.attention import attention_problems, check_attention, read_attention
from recam.pipeline.refiner import Place, RefineContext, RefinerStep, refiner_steps
from recam.pipeline.refiners.frozen import FrozenSettings, as_view, make_frozen, network_problems
from recam.settings import Settings, section
from recam.types import Image, Sample


@section("attention")
@dataclass(frozen=True)
class AttentionStepSettings(AttentionSettings, FrozenSettings):
    """Attention of a plain transformer, `refine = ["attention"]`: see `recam.methods.attention_maps`."""

    def method(self) -> AttentionSettings:
        """How maps spread."""
        return AttentionSettings(**{each.name: getattr(self, each.name) for each in fields(AttentionSettings)})


@dataclass(frozen=True)
class AttentionGiven(Settings):
    """What the step depends on; as `recam.pipeline.refiners.feature_affinity.FeatureGiven`."""

    method: AttentionSettings
    network: BackboneSettings
    weights: str | None
    max_side: int | None


@refiner_steps.register("attention")
@dataclass(frozen=True)
class AttentionStep(RefinerStep):
    """`recam.methods.attention_maps.AttentionRefiner`."""

    title, Settings = "attention affinity", AttentionStepSettings
    uses_threshold = True

    @classmethod
    def plan(cls, name: str, place: Place) -> AttentionStep:
        own, backbone = place.recipe.section(AttentionStepSettings), place.recipe.section(BackboneSettings)
        weights = None if own.name else place.weights
        return cls(name, AttentionGiven(own.method(), own.network(backbone), weights, place.max_side))

    def make(self, context: RefineContext) -> AttentionRefiner:
        return self._refiner(self.settings.network, context.device, context.threshold)

    def untrained(self, bench: Bench) -> Callable[[Sample], AttentionRefiner]:
        blank = replace(self.settings.network, weights="none")
        refiner = self._refiner(blank, bench.device, EVEN / 2 if bench.background else None)
        return lambda sample: refiner

    def _refiner(self, network: BackboneSettings, device: torch.device, threshold: float | None) -> AttentionRefiner:
        own, frozen = self.settings, make_frozen(network, device)
        check_attention(frozen)

        def attention_of(image: Image, layers: int) -> tuple[Tensor, int, tuple[int, int]]:
            features, attention, prefix = read_attention(frozen, as_view(frozen, image, own.max_side), layers)
            return attention, prefix, (features.shape[2], features.shape[3])

        return AttentionRefiner(attention_of, threshold, own.method)

    def problems(self, place: Place) -> list[str]:
        own = place.recipe.section(AttentionStepSettings)
        if found := network_problems(own, "attention", place):
            return found
        found = attention_problems(own.network(place.recipe.section(BackboneSettings)))
        return [f"{problem} Another network than the backbone is attention.name." for problem in found]
