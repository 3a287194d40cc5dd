"""The control of ReCAM: trained on with BCE alone for as many epochs at the same rates, which is what more training
gives without it."""

from __future__ import annotations

from dataclasses import dataclass

from recam.pipeline.training import trainings
from recam.pipeline.trainings.cam import Cam, CamSettings
from recam.pipeline.trainings.recam import ReCam, ReCamTrainingSettings
from recam.recipe.recipe import Recipe


@trainings.register("control")
@dataclass(frozen=True)
class Control(Cam):
    """CAM trained on, `compare = ["control"]`: the fair comparison."""

    title, colour = "CAM, trained as long", "violet"
    only_scored = True

    @classmethod
    def read(cls, recipe: Recipe) -> CamSettings:
        own = recipe.section(ReCamTrainingSettings)
        return CamSettings(recipe.section(CamSettings).loss, own.epochs, own.steps, own.lr, own.lr)

    @classmethod
    def start(cls, recipe: Recipe) -> str:
        return ReCam.start(recipe)
