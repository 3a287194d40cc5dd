"""How much work a training is (`recam.engine.amount`): its steps, the images that are loaded for them, and what it
saves. The counterpart of `recam.training.loop.fit`, for whatever stage calls that."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset, default_collate

from recam.engine.amount import Amount, Turn
from recam.engine.bench import Bench
from recam.settings import as_json
from recam.tensors import save_tensors
from recam.training.checkpoint import save_checkpoint
from recam.training.loader import Batch
from recam.training.loop import Schedule, plan_batches, take_step
from recam.types import Sample

FEW = 2
"""Images of a batch that is tried first; fewer cannot be trained on with batch statistics."""
TOO_SLOW = 4.0
"""Seconds: a step that would take longer is tried with `FEW` images and multiplied."""


@dataclass(frozen=True)
class Fitted:
    """What a training steps through, nothing of it trained.

    Attributes:
        objective: batch → losses by name.
        dataset: over the images of the bench.
        optimizer: over the objective's parameters.
    """

    objective: nn.Module
    dataset: Dataset[Batch]
    optimizer: torch.optim.Optimizer


def fit_amounts(images: int, schedule: Schedule, begin: Callable[[Bench], Fitted], given: Any) -> list[Amount]:
    """The work of a training.

    Args:
        images: of its data set.
        schedule: how long and in what portions.
        begin: makes what it steps through.
        given: what the cost depends on, JSON-ready; differs between trainings.
    """
    batches = plan_batches(images, schedule)
    size = math.ceil(images / batches.steps_per_epoch)
    epochs = math.ceil(batches.total / batches.steps_per_epoch)
    key = str(as_json(given))

    def fitted(bench: Bench) -> Fitted:
        return bench.once(("fit", key), lambda: begin(bench))

    def steps(bench: Bench) -> Turn:
        return _try_steps(bench, fitted(bench), math.ceil(size / bench.processes))

    def loads(bench: Bench) -> Turn:
        dataset, place = fitted(bench).dataset, {sample.id: index for index, sample in enumerate(bench.samples)}

        def turn(sample: Sample) -> None:
            dataset[0, place.get(sample.id, 0)]

        return turn

    def saves(bench: Bench) -> Turn:
        made = fitted(bench)

        def turn(sample: Sample) -> None:
            save_checkpoint(bench.folder / "training.safetensors", made.objective, made.optimizer, {})

        return turn

    def ends(bench: Bench) -> Turn:
        made = fitted(bench)

        def turn(sample: Sample) -> None:
            save_tensors(bench.folder / "weights.safetensors", made.objective.state_dict(), {})

        return turn

    return [
        Amount(f"step of {size} images", batches.total, steps, given),
        Amount("image loaded", batches.total * images / batches.steps_per_epoch, loads, given, "loader"),
        Amount("checkpoint", epochs, saves, given, files=1),
        Amount("weights", 1, ends, given),
    ]


def _try_steps(bench: Bench, made: Fitted, size: int) -> Turn:
    """Steps of `size` images; of fewer where those would take too long."""
    made.objective.to(bench.device).train()
    items = [made.dataset[0, index] for index in range(len(bench.samples))]

    def step(count: int) -> Callable[[], float]:
        batch = default_collate([items[index % len(items)] for index in range(count)])

        def take() -> float:
            take_step(made.objective, made.optimizer, batch, bench.accelerator)
            return count / size

        return take

    few = min(FEW, size)
    start = time.perf_counter()
    step(few)()
    bench.sync()
    chosen = step(few if (time.perf_counter() - start) * size / few > TOO_SLOW else size)
    return lambda sample: chosen()
