"""NSROM's place in a run, behind its maps: masks by saliency maps without potential objects, and its second round."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recam.data.ignored import find_no_data
from recam.data.saliency import AllSalient, SaliencyFolder
from recam.engine.bench import Bench
from recam.engine.stage import Stage
from recam.methods.nsrom import NsromMaskSettings, NsromRefiner, NsromRoundRefiner, NsromRoundSettings
from recam.methods.refine import EVEN
from recam.pipeline.map_set import MapFolder
from recam.pipeline.refiner import Place, RefineContext, RefinerStep, refiner_steps
from recam.pipeline.refiners.self_training import ModelMaps, ModelRefiner, SelfTrainingStep
from recam.pipeline.stages.maps import plan_maps
from recam.pipeline.stages.masks import MaskSettings
from recam.pipeline.training import Training, make_training, trainings
from recam.recipe.recipe import Recipe
from recam.runfolder.maps import read_seed
from recam.types import Image, Sample


@dataclass(frozen=True)
class PotentialGiven:
    """What the masks depend on, beside the maps: the method's settings, and where those of the first classifier lie;
    None: there is none."""

    method: NsromMaskSettings
    first: MapFolder | None


@refiner_steps.register("nsrom")
@dataclass(frozen=True)
class NsromStep(RefinerStep):
    """`recam.methods.nsrom.NsromRefiner`. The first classifier is the one that the training starts from; for maps of a
    training that starts from none they are their own."""

    title, Settings = "NSROM", NsromMaskSettings
    in_processes = True
    uses_saliency = True
    needs_background = True

    @classmethod
    def plan(cls, name: str, place: Place) -> NsromStep:
        base = _first_classifier(place)
        first = plan_first(place, base)[1] if base else None
        return cls(name, PotentialGiven(place.recipe.section(NsromMaskSettings), first))

    def make_for_each(self, context: RefineContext) -> Callable[[Sample], NsromRefiner]:
        assert context.saliency is not None
        own: PotentialGiven = self.settings
        found = own.first and context.inputs.get(own.first.stage)
        maps = found.path / own.first.inner if found and own.first else None
        return _RefinerOf(context.saliency, own.method, maps)

    def preparations(self, place: Place) -> tuple[Stage, ...]:
        base = _first_classifier(place)
        return (replace(plan_first(place, base)[0], group="refine"),) if base else ()


def _first_classifier(place: Place) -> Training | None:
    origin = place.before.origin
    return make_training(place.recipe, origin).base if origin in trainings else None


def plan_first(place: Place, base: Training) -> tuple[Stage, MapFolder]:
    """The stage of the maps of the first classifier, and where they lie."""
    fixed = place.recipe.section(MaskSettings).fixed
    made, sets = plan_maps(place.recipe, base, None, place.max_side, fixed, False)
    return made[-1], sets[0].folder


@dataclass(frozen=True)
class _RefinerOf:
    """The refiner of each sample; picklable, for processes."""

    read: SaliencyFolder
    method: NsromMaskSettings
    maps: Path | None

    def __call__(self, sample: Sample) -> NsromRefiner:
        first = read_seed(self.maps / f"{sample.id}.npz") if self.maps else None
        return NsromRefiner(lambda _: self.read(sample), self.method, first)


@dataclass(frozen=True)
class RoundGiven(ModelMaps):
    """What the second round's masks depend on, beside the model and the masks that it learned from."""

    method: NsromRoundSettings


@refiner_steps.register("nsrom_round")
@dataclass(frozen=True)
class NsromRoundStep(SelfTrainingStep):
    """`recam.methods.nsrom.NsromRoundRefiner`, by a segmentation model of the recipe's section ``segment``."""

    title, Settings = "NSROM's second round", NsromRoundSettings  # type: ignore[assignment]
    uses_threshold = True
    uses_saliency = True
    needs_background = True
    keeps_ignored = False

    @classmethod
    def plan(cls, name: str, place: Place) -> NsromRoundStep:
        maps: ModelMaps = SelfTrainingStep.plan(name, place).settings
        return cls(name, RoundGiven(maps.model, maps.inference, place.recipe.section(NsromRoundSettings)))

    def class_balance(self, recipe: Recipe) -> float | None:
        return None

    def make_for_each(self, context: RefineContext) -> Callable[[Sample], NsromRoundRefiner]:
        return self._for_each(self.make(context), context.saliency, context.threshold)

    def untrained(self, bench: Bench) -> Callable[[Sample], NsromRoundRefiner]:  # type: ignore[override]
        model = super().untrained(bench)
        saliency = AllSalient(bench.root)
        return lambda sample: self._for_each(model(sample), saliency, EVEN)(sample)

    def _for_each(
        self, model: ModelRefiner, saliency: SaliencyFolder | None, threshold: float | None
    ) -> Callable[[Sample], NsromRoundRefiner]:
        assert saliency is not None
        method = self.settings.method

        def refiner_of(sample: Sample) -> NsromRoundRefiner:
            def without_data(image: Image) -> NDArray[np.bool_] | None:
                return find_no_data(image, sample.no_data)

            return NsromRoundRefiner(model, lambda _: saliency(sample), threshold, method, without_data)

        return refiner_of
