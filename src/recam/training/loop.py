"""The one training loop: any objective, one process or many, killed and resumed at will.

Accelerate brings devices, mixed precision and several processes. What a step sees follows from (seed, step) alone (`recam.data.loader`),
the learning rate from the step (`recam.training.optim`), so a checkpoint needs weights, optimizer, random generators and the step.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import Dataset

from recam.data.loader import Batch, EpochBatches, make_loader
from recam.errors import RecamError
from recam.progress import Progress
from recam.training.checkpoint import load_checkpoint, save_checkpoint


class TrainingError(RecamError):
    """Training that cannot go on, such as a loss that is no number."""


@dataclass(frozen=True)
class Schedule:
    """How long, in what portions, and how it is saved.

    Attributes:
        epochs: passes over the data.
        batch: images a step over all processes.
        workers: decoding processes, -1 chooses; see `recam.data.loader.make_loader`.
        save_minutes: a checkpoint at the latest after so many minutes, besides one an epoch.
    """

    epochs: int
    batch: int
    workers: int = -1
    save_minutes: float = 5.0


@dataclass
class Trained:
    """What a training leaves behind: one record an epoch, e.g. ``{"epoch": 1, "loss": 0.31, "seconds": 12.0, …}``."""

    history: list[dict[str, float]] = field(default_factory=list)


def fit(
    what: str,
    objective: nn.Module,
    dataset: Dataset[Batch],
    optimizer: torch.optim.Optimizer,
    set_step: Callable[[int, int], None],
    schedule: Schedule,
    seed: int,
    checkpoint: Path,
    accelerator: Accelerator,
) -> Trained:
    """Train `objective` in place, from the checkpoint where there is one.

    Args:
        what: name shown beside the progress.
        objective: batch → losses by name; ``"loss"`` is what is minimised. A module, so that several processes share its gradients.
        dataset: answers (epoch, index) positions.
        optimizer: over the objective's parameters.
        set_step: told (step, steps in all) before each step; sets the learning rates.
        seed: decides order and, with the data set, augmentation.
        checkpoint: safetensors file of the state; written each epoch and every `schedule.save_minutes`.

    Raises:
        TrainingError: the loss is no longer finite; the last checkpoint stays.
    """
    batches = EpochBatches(
        n=len(dataset),  # type: ignore[arg-type]
        batch=schedule.batch,
        epochs=schedule.epochs,
        seed=seed,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
    )
    per_epoch, total = batches.steps_per_epoch, batches.steps_per_epoch * schedule.epochs
    meta: dict[str, Any] = {"step": 0, "history": [], "sums": {}}
    if checkpoint.is_file():
        meta = load_checkpoint(checkpoint, objective, optimizer)
    trained = Trained(meta["history"])
    start, sums = int(meta["step"]), dict(meta["sums"])
    if start >= total:
        return trained

    model, prepared = accelerator.prepare(objective, optimizer)
    _move_state(optimizer, accelerator.device)
    loader = make_loader(
        dataset, EpochBatches(**{**batches.__dict__, "start": start}), schedule.workers, pin=accelerator.device.type == "cuda"
    )
    model.train()
    last_save = time.monotonic()
    images_done = start * schedule.batch
    with Progress(what, total * schedule.batch, images_done, quiet=not accelerator.is_main_process) as progress:
        for step, batch in enumerate(loader, start=start):
            set_step(step, total)
            losses = _step(model, prepared, batch, accelerator)
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value
            if not sums["loss"] < float("inf"):
                raise TrainingError(f"{what}: the loss is {losses['loss']} at step {step + 1} of {total}. Lower the learning rate.")
            ends_epoch = (step + 1) % per_epoch == 0
            if ends_epoch:
                means = {name: value / per_epoch for name, value in sums.items()}
                trained.history.append({"epoch": (step + 1) // per_epoch, **means, "images_per_second": progress.speed})
                sums = {}
            progress.advance(schedule.batch, note=f"loss {losses['loss']:.4f}")
            # All processes save at the same steps: the main one's clock decides.
            if ends_epoch or _main_says(time.monotonic() - last_save > 60 * schedule.save_minutes, accelerator):
                last_save = time.monotonic()
                if accelerator.is_main_process:
                    state = {"step": step + 1, "history": trained.history, "sums": sums}
                    save_checkpoint(checkpoint, accelerator.unwrap_model(model), optimizer, state)
    accelerator.wait_for_everyone()
    accelerator.free_memory()  # else every network of the run stays on the device
    return trained


def _step(model: nn.Module, optimizer: Any, batch: Batch, accelerator: Accelerator) -> dict[str, float]:
    moved = {name: _to_device(value, accelerator.device) for name, value in batch.items()}
    with accelerator.autocast():
        losses: dict[str, Tensor] = model(moved)
    optimizer.zero_grad(set_to_none=True)
    accelerator.backward(losses["loss"])
    optimizer.step()
    return dict(zip(losses, torch.stack([value.detach().float() for value in losses.values()]).tolist(), strict=True))


def _to_device(value: Tensor, device: torch.device) -> Tensor:
    # Channels-last halves the time of 1×1 and depthwise convolutions on a CPU, and mixed precision on a GPU wants it as well.
    layout = torch.channels_last if value.ndim == 4 else torch.preserve_format
    return value.to(device, non_blocking=True, memory_format=layout)


def _move_state(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    for state in optimizer.state.values():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.ndim:
                state[name] = value.to(device)


def _main_says(flag: bool, accelerator: Accelerator) -> bool:
    if accelerator.num_processes == 1:
        return flag
    answer = torch.tensor([float(flag and accelerator.is_main_process)], device=accelerator.device)
    return bool(accelerator.reduce(answer, "sum").item())
