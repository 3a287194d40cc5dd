"""Features of a frozen network as a refiner's place in a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from importlib.util import find_spec

import torch
from torch import Tensor

from recam.engine.bench import Bench
from recam.errors import RecipeError
from recam.methods.feature_affinity import FeatureRefiner, FeatureSettings
from recam.methods.refine import EVEN
from recam.methods.superpixels import EXTRA
from recam.models.backbones import Backbone, BackboneSettings
from recam.pipeline.refiner import Place, RefineContext, RefinerStep, refiner_steps
from recam.pipeline.refiners.frozen import FrozenSettings, as_view, make_frozen, network_problems
from recam.settings import Settings, section
from recam.types import Image, Sample


@section("feature_affinity")
@dataclass(frozen=True)
class FeatureStepSettings(FeatureSettings, FrozenSettings):
    """Features of a frozen network, `refine = ["feature_affinity"]`: see `recam.methods.feature_affinity`."""

    def method(self) -> FeatureSettings:
        """How maps follow them."""
        return FeatureSettings(**{each.name: getattr(self, each.name) for each in fields(FeatureSettings)})


@dataclass(frozen=True)
class FeatureGiven(Settings):
    """What the step depends on.

    Attributes:
        method: how maps follow features.
        network: the frozen network.
        weights: hash of its weights where they are the run's file.
        max_side: longer side (pixels) to which it reads images reduced.
    """

    method: FeatureSettings
    network: BackboneSettings
    weights: str | None
    max_side: int | None


@refiner_steps.register("feature_affinity")
@dataclass(frozen=True)
class FeatureStep(RefinerStep):
    """`recam.methods.feature_affinity.FeatureRefiner`."""

    title, Settings = "feature affinity", FeatureStepSettings
    uses_threshold = True

    @classmethod
    def plan(cls, name: str, place: Place) -> FeatureStep:
        own, backbone = place.recipe.section(FeatureStepSettings), place.recipe.section(BackboneSettings)
        weights = None if own.name else place.weights
        return cls(name, FeatureGiven(own.method(), own.network(backbone), weights, place.max_side))

    def make(self, context: RefineContext) -> FeatureRefiner:
        return self._refiner(self.settings.network, context.device, context.threshold)

    def untrained(self, bench: Bench) -> Callable[[Sample], FeatureRefiner]:
        blank = replace(self.settings.network, weights="none")
        refiner = self._refiner(blank, bench.device, EVEN / 2 if bench.background else None)
        return lambda sample: refiner

    def _refiner(self, network: BackboneSettings, device: torch.device, threshold: float | None) -> FeatureRefiner:
        own, frozen = self.settings, make_frozen(network, device)

        def levels_of(image: Image) -> Sequence[Tensor]:
            return read_levels(frozen, as_view(frozen, image, own.max_side), own.method.levels)

        return FeatureRefiner(levels_of, threshold, own.method, device)

    def problems(self, place: Place) -> list[str]:
        own = place.recipe.section(FeatureStepSettings)
        missing = own.superpixels and find_spec("skimage") is None
        lacks = [f"feature_affinity.superpixels: {EXTRA}."] if missing else []
        return [*network_problems(own, "feature_affinity", place), *lacks]


@torch.inference_mode()
def read_levels(network: Backbone, view: Tensor, levels: Sequence[int]) -> list[Tensor]:
    """Features (D_l, h_l, w_l) of a view (1, 3, H, W) at the levels 1…5; of a network without them its last alone."""
    try:
        found = network.levels(view)
    except RecipeError:
        return [network(view)[0]]
    return [found[level - 1][0] for level in sorted(set(levels))]
