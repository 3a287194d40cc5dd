"""CAM's training, with what BCE and SCE ask of held-out logits recorded after each epoch (Fig. 4)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from recam.methods.gradients import mean_gradients
from recam.pipeline.training import trainings
from recam.pipeline.trainings.cam import Cam


@trainings.register("cam_gradients")
@dataclass(frozen=True)
class CamGradients(Cam):
    """`recam.methods.gradients` along the training of section ``[cam]``, which is not changed by it; needs
    `train.held_out`."""

    title, colour = "CAM, gradients recorded", "blue"
    only_scored = True

    def recorded(self, logits: Tensor, labels: Tensor) -> dict[str, float]:
        return {f"gradient_{name}": value for name, value in mean_gradients(logits, labels).items()}
