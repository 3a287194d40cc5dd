"""A training in float64, for as many processes as there are; the test of distribution runs it in one and in two."""

from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from recam.training.loop import Schedule, fit
from recam.training.optim import make_sgd


@dataclass(frozen=True)
class Waves:
    """Sixteen points of a curve; what a batch holds does not depend on how many processes share it."""

    def __len__(self) -> int:
        return 16

    def __getitem__(self, position: tuple[int, int]) -> dict[str, Tensor]:
        epoch, index = position
        x = torch.tensor([index / 16, 0.1 * epoch, 1.0], dtype=torch.float64)
        return {"x": x, "y": torch.sin(7 * x[:1]) + x[1:2]}


class Objective(nn.Module):
    """A small network without batch statistics: the mean over a batch is that over its halves."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.net = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 1)).double()

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"loss": (self.net(batch["x"]) - batch["y"]).square().mean()}


def train(checkpoint: Path) -> None:
    """Two epochs of two steps; the checkpoint then holds weights and momentum."""
    objective = Objective()
    optimizer = make_sgd([{"params": objective.parameters(), "lr": 0.05}], momentum=0.9)
    schedule = Schedule(epochs=2, batch=8, workers=0)
    fit(
        "waves", objective, Waves(), optimizer, lambda step, total: None, schedule, 5, checkpoint, Accelerator(cpu=True)
    )
