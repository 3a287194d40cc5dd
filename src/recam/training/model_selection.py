"""Which weights of a training are kept: their running average, the best by a score, and when to stop.

All of it follows from the weights and from the history of epochs, so that a training that is resumed decides as if it
had never stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

History = list[dict[str, float]]


@dataclass(frozen=True)
class Validation:
    """How weights are judged while training.

    Attributes:
        score: objective in evaluation mode → a number, the higher the better, or several by name, the score under
            `name`; called by all processes, the same in all.
        name: what the score is called in the history.
        every: epochs between two validations; the last epoch is always judged.
        patience: stop after so many validations without a new best; 0: never.
    """

    score: Callable[[nn.Module], float | Mapping[str, float]]
    name: str = "score"
    every: int = 1
    patience: int = 0

    def best(self, history: History) -> dict[str, float] | None:
        """The epoch's record that scored best, the first of equals; None before the first validation."""
        judged = [record for record in history if self.name in record]
        return max(judged, key=lambda record: record[self.name], default=None)

    def is_over(self, history: History) -> bool:
        """Whether patience has run out."""
        best = self.best(history)
        since = [record for record in history if self.name in record and best and record["epoch"] > best["epoch"]]
        return 0 < self.patience <= len(since)


def make_average(model: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of a model's weights and statistics; call its ``update_parameters(model)`` after
    each step.

    The first update copies; after n of them average ← d · average + (1 − d) · weights with d = min(decay, (1 + n) /
    (10 + n)), so that the fresh weights of the start are soon forgotten. Counters are copied.
    """

    def blend(average: Sequence[Tensor], current: Sequence[Tensor], n: Tensor | int) -> None:
        share = 1 - min(decay, (1 + int(n)) / (10 + int(n)))
        for kept, new in zip(average, current, strict=True):
            if kept.is_floating_point():
                kept.lerp_(new, share)
            else:
                kept.copy_(new)

    return AveragedModel(model, multi_avg_fn=blend, use_buffers=True)


@torch.no_grad()
def judge(validation: Validation, model: nn.Module, accelerator: Accelerator) -> dict[str, float]:
    """The score of `model`, and what comes with it, by name; the model is left in evaluation mode."""
    found = validation.score(for_evaluation(model))
    return dict(found) if isinstance(found, Mapping) else {validation.name: found}


def for_evaluation(model: nn.Module) -> nn.Module:
    """The model in evaluation mode, on all processes alike: statistics of the main process count, as they do in what is
    saved."""
    for buffer in model.buffers():
        broadcast(buffer)
    return model.eval()


def copy_state(model: nn.Module) -> dict[str, Tensor]:
    """A model's state on the CPU, which later steps do not change."""
    return {name: value.detach().to("cpu", copy=True) for name, value in model.state_dict().items()}
