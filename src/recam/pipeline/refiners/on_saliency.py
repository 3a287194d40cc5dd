"""Refiners that decide each pixel by the maps and a saliency map together: the rules of EDAM, OAA and SGAN."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from recam.data.saliency import SaliencyFolder
from recam.methods.edam import EdamRefiner, EdamSettings
from recam.methods.oaa import OaaMaskSettings, OaaRefiner
from recam.methods.refine import Refiner
from recam.methods.sgan import SganMaskSettings, SganRefiner
from recam.pipeline.refiner import RefineContext, RefinerStep, refiner_steps
from recam.types import Sample


@dataclass(frozen=True)
class OnSaliency(RefinerStep):
    """A refiner that takes how to find an image's saliency map, and its settings; one image per process."""

    in_processes = True
    uses_saliency = True
    needs_background = True
    kind: ClassVar[Callable[..., Refiner]]

    def make_for_each(self, context: RefineContext) -> Callable[[Sample], Refiner]:
        assert context.saliency is not None
        return _RefinerOf(type(self).kind, context.saliency, self.settings)


@dataclass(frozen=True)
class _RefinerOf:
    """The refiner of each sample; picklable, for processes."""

    kind: Callable[..., Refiner]
    read: SaliencyFolder
    settings: Any

    def __call__(self, sample: Sample) -> Refiner:
        return self.kind(lambda _: self.read(sample), self.settings)


@refiner_steps.register("edam")
@dataclass(frozen=True)
class EdamStep(OnSaliency):
    """`recam.methods.edam.EdamRefiner`."""

    title, Settings, kind = "EDAM", EdamSettings, EdamRefiner


@refiner_steps.register("oaa")
@dataclass(frozen=True)
class OaaStep(OnSaliency):
    """`recam.methods.oaa.OaaRefiner`."""

    title, Settings, kind = "OAA", OaaMaskSettings, OaaRefiner


@refiner_steps.register("sgan")
@dataclass(frozen=True)
class SganStep(OnSaliency):
    """`recam.methods.sgan.SganRefiner`."""

    title, Settings, kind = "SGAN", SganMaskSettings, SganRefiner
