"""The dense CRF's place in a run: it follows the edges of the image and needs nothing but the maps."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Literal

from recam.errors import RecamError, RecipeError, near_matches
from recam.methods.crf import CrfRefiner, CrfSettings, LabelCrfSettings, require_densecrf
from recam.pipeline.refiner import Place, RefineContext, RefinerStep, refiner_steps
from recam.settings import Settings, section


@section("crf")
@dataclass(frozen=True)
class CrfStepSettings(Settings):
    """The dense CRF, `refine = ["crf"]`, which needs the extra crf: see `recam.methods.crf`."""

    on: Literal["labels", "probabilities"] = "labels"
    """What it reads: ``labels``, the mask at the threshold in force, by IRN's settings; or ``probabilities``, the maps
    beside a background plane of that height, by DeepLabV2's settings."""
    terms: dict[str, float] = field(default_factory=dict)
    """Settings that differ from the published ones, e.g. ``{bilateral_srgb = 10, iterations = 5}``; see
    `CrfSettings`."""

    def __post_init__(self) -> None:
        self.method()

    def method(self) -> CrfSettings:
        """The pairwise terms, published ones with `terms` laid over them. Raises `RecipeError` for one that does not
        exist."""
        kind = LabelCrfSettings if self.on == "labels" else CrfSettings
        known = {each.name for each in fields(kind)}
        unknown = [name for name in self.terms if name not in known]
        if unknown:
            raise RecipeError(f"crf.terms: there is no {unknown[0]!r} on {self.on}.{near_matches(unknown[0], known)}")
        if self.terms.get("iterations", 0) % 1:
            raise RecipeError(f"crf.terms: iterations must be a whole number, got {self.terms['iterations']:g}.")
        terms: dict[str, Any] = {
            name: int(value) if name == "iterations" else value for name, value in self.terms.items()
        }
        return kind(**terms)


@refiner_steps.register("crf")
@dataclass(frozen=True)
class CrfStep(RefinerStep):
    """`recam.methods.crf.CrfRefiner`, one image per process."""

    title, Settings, instead = "CRF", CrfStepSettings, "pamr"
    uses_threshold = True
    in_processes = True

    def make(self, context: RefineContext) -> CrfRefiner:
        terms = self.settings.method()
        if isinstance(terms, LabelCrfSettings):
            return CrfRefiner(context.threshold, "labels", label_settings=terms)
        return CrfRefiner(context.threshold, "probabilities", settings=terms)

    @classmethod
    def lacks(cls) -> str:
        try:
            require_densecrf()
        except RecamError as error:
            return str(error)
        return ""

    def problems(self, place: Place) -> list[str]:
        return [missing] if (missing := self.lacks()) else []
