"""The one training loop: any objective, one process or many, killed and resumed at will.

Accelerate brings devices, mixed precision and several processes. What a step reads follows from (seed, step) alone
(`recam.training.loader`), the learning rate from the step (`recam.training.optim`), what dropout draws from
(seed, step, process), so a checkpoint needs weights (their average and the best too, where those are kept), optimizer
and the step: the same for every process.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import Dataset

from recam.errors import RecamError
from recam.progress import Progress, log_values
from recam.training.checkpoint import load_checkpoint, save_checkpoint
from recam.training.loader import Batch, EpochBatches, make_loader, read_batches, workers_watched
from recam.training.model_selection import Validation, copy_state, for_evaluation, judge, make_average


class TrainingError(RecamError):
    """Training that cannot go on, such as a loss that is no number."""


@dataclass(frozen=True)
class Schedule:
    """How long, in what portions, and how it is saved.

    Attributes:
        epochs: passes over the data.
        batch: images per step over all processes.
        workers: decoding processes, -1 chooses; see `recam.training.loader.make_loader`.
        save_minutes: a checkpoint at the latest after so many minutes, besides one per epoch.
        steps: how many steps instead of `epochs`; the last epoch may be cut short.
        average: decay of the running average of the weights that the objective ends with, see
            `recam.training.model_selection`; 0: none.
    """

    epochs: int
    batch: int
    workers: int = -1
    save_minutes: float = 5.0
    steps: int | None = None
    average: float = 0.0


@dataclass
class Trained:
    """What a training leaves, besides the objective's weights.

    Attributes:
        history: one record an epoch, e.g. ``{"epoch": 1, "loss": 0.31, "images_per_second": 12.0}``, with the score
            where it was judged.
        best: state of the objective that scored best, on the CPU; empty without validation.
        images: images read, each as often as it was.
        stopped: whether it ended early.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    images: int = 0
    stopped: bool = False


@dataclass(frozen=True)
class AfterEpoch:
    """Something to be done after each epoch, before its checkpoint is saved: a training that is ended in it does it
    again when it resumes.

    Attributes:
        name: what it is, shown beside the progress.
        do: (objective in evaluation mode, epoch from 1) → None; called by all processes.
    """

    name: str
    do: Callable[[nn.Module, int], None]


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
    validation: Validation | None = None,
    after_epoch: AfterEpoch | None = None,
) -> Trained:
    """Train `objective` in place, from the checkpoint where there is one.

    Args:
        what: name shown beside the progress.
        objective: batch → losses by name; ``"loss"`` is what is minimised. A module, so that several processes share
            its gradients. A batch also holds ``progress``, the part of all steps that is behind it, for losses that
            change with it.
        dataset: answers (epoch, index) positions.
        optimizer: over the objective's parameters.
        set_step: called with (step, steps in all) before each step; sets the learning rates.
        seed: decides order and, with the data set, augmentation.
        checkpoint: safetensors file of the state; written each epoch and every `schedule.save_minutes`.
        validation: judges the weights (their average, where that is kept) after epochs, and may end the training.
        after_epoch: what else is done then, with the weights themselves.

    Raises:
        TrainingError: the loss is no longer finite; the last checkpoint stays.
        StoreError: a worker process was ended from outside.
        DataError: an image or a mask cannot be read.
    """
    ranks = accelerator.process_index, accelerator.num_processes
    batches = plan_batches(len(dataset), schedule, seed, *ranks)  # type: ignore[arg-type]
    per_epoch, total = batches.steps_per_epoch, batches.total
    average = make_average(objective, schedule.average) if schedule.average else None
    trained, start, sums = Trained(), 0, dict[str, float]()
    if checkpoint.is_file():
        meta, extras = load_checkpoint(checkpoint, objective, optimizer, needs=("step", "sums", "history"))
        start, sums = int(meta["step"]), dict(meta["sums"])
        trained = Trained(meta["history"], extras.get("best", {}))
        if average:
            average.load_state_dict(extras["average"])
    done = start
    trained.stopped = validation is not None and validation.is_over(trained.history)
    if start < total and not trained.stopped:
        model, prepared = accelerator.prepare(objective, optimizer)
        average = average.to(accelerator.device) if average else None
        _move_state(optimizer, accelerator.device)
        model.train()
        last_save = time.monotonic()
        shown = Progress(what, total * schedule.batch, start * schedule.batch, quiet=not accelerator.is_main_process)
        pin = accelerator.device.type == "cuda"
        arriving = closing(read_batches(make_loader(dataset, replace(batches, start=start), schedule.workers, pin)))
        with workers_watched(what), shown as progress, arriving as loaded:
            for step, batch in enumerate(loaded, start=start):
                set_step(step, total)
                torch.manual_seed(step_seed(seed, step, accelerator.process_index))
                batch["progress"] = torch.tensor(step / total)
                losses = take_step(model, prepared, batch, accelerator)
                done = step + 1
                for name, value in losses.items():
                    sums[name] = sums.get(name, 0.0) + value
                if not sums["loss"] < float("inf"):
                    raise TrainingError(
                        f"{what}: the loss is {losses['loss']} at step {done} of {total}. Lower the learning rate."
                    )
                if average:
                    average.update_parameters(objective)
                progress.advance(schedule.batch, note=f"loss {losses['loss']:.4f}")
                ends_epoch = done % per_epoch == 0 or done == total
                if ends_epoch:
                    means = {name: value / (step % per_epoch + 1) for name, value in sums.items()}
                    trained.history.append(
                        {"epoch": step // per_epoch + 1, **means, "images_per_second": progress.speed}
                    )
                    sums = {}
                    if validation and (trained.history[-1]["epoch"] % validation.every == 0 or done == total):
                        progress.advance(0, note=f"{validation.name} is computed")
                        _validate(validation, average.module if average else objective, trained, accelerator)
                        model.train()
                    if after_epoch:
                        progress.advance(0, note=after_epoch.name)
                        after_epoch.do(for_evaluation(objective), int(trained.history[-1]["epoch"]))
                        accelerator.wait_for_everyone()  # the checkpoint says that all have done it
                        model.train()
                    if accelerator.is_main_process:
                        log_values(what, done, trained.history[-1])
                # All processes save at the same steps: the main one's clock decides.
                if ends_epoch or _main_decides(time.monotonic() - last_save > 60 * schedule.save_minutes, accelerator):
                    last_save = time.monotonic()
                    if accelerator.is_main_process:
                        state = {"step": done, "history": trained.history, "sums": sums}
                        save_checkpoint(checkpoint, objective, optimizer, state, _extras(average, trained))
                if trained.stopped:
                    break
        accelerator.wait_for_everyone()
        accelerator.free_memory()  # else every network of the run stays on the device
    trained.images = round(done * batches.n / per_epoch)
    if average:
        objective.load_state_dict(average.module.state_dict())
    return trained


def plan_batches(n: int, schedule: Schedule, seed: int = 0, rank: int = 0, world: int = 1) -> EpochBatches:
    """The batches of a training on `n` samples; see `EpochBatches`."""
    batches = EpochBatches(n, schedule.batch, schedule.epochs, seed, rank=rank, world=world)
    if schedule.steps is None:
        return batches
    return replace(batches, epochs=-(-schedule.steps // batches.steps_per_epoch), steps=schedule.steps)


def step_seed(seed: int, step: int, process: int) -> int:
    """Seed of what a step draws at random; mixed, so that neighbouring steps and processes draw nothing alike."""
    return int(np.random.SeedSequence([seed, step, process]).generate_state(1, np.uint64)[0])


def _validate(validation: Validation, model: nn.Module, trained: Trained, accelerator: Accelerator) -> None:
    """Judge the weights, enter the score into the last epoch's record, and keep them where they are the best so far."""
    trained.history[-1] |= judge(validation, model, accelerator)
    if validation.best(trained.history) is trained.history[-1]:
        trained.best = copy_state(model)
    trained.stopped = validation.is_over(trained.history)


def _extras(average: AveragedModel | None, trained: Trained) -> dict[str, dict[str, Tensor]]:
    extras = {"average": average.state_dict()} if average else {}
    return extras | ({"best": trained.best} if trained.best else {})


def take_step(model: nn.Module, optimizer: Any, batch: Batch, accelerator: Accelerator) -> dict[str, float]:
    """One step on a batch; returns the losses by name."""
    moved = {name: _to_device(value, accelerator.device) for name, value in batch.items()}
    with accelerator.autocast():
        losses: dict[str, Tensor] = model(moved)
    optimizer.zero_grad(set_to_none=True)
    accelerator.backward(losses["loss"])
    optimizer.step()
    return dict(zip(losses, torch.stack([value.detach().float() for value in losses.values()]).tolist(), strict=True))


def _to_device(value: Tensor, device: torch.device) -> Tensor:
    # Channels-last halves the time of 1×1 and depthwise convolutions on a CPU, and mixed precision on a GPU wants it as
    # well.
    layout = torch.channels_last if value.ndim == 4 else torch.preserve_format
    return value.to(device, non_blocking=True, memory_format=layout)


def _move_state(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    for state in optimizer.state.values():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.ndim:
                state[name] = value.to(device)


def _main_decides(flag: bool, accelerator: Accelerator) -> bool:
    if accelerator.num_processes == 1:
        return flag
    answer = torch.tensor([float(flag and accelerator.is_main_process)], device=accelerator.device)
    return bool(accelerator.reduce(answer, "sum").item())
