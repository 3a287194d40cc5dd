"""Where and how a run computes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Literal

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs
from pydantic import Field

from recam.settings import CountOrNone, Positive, Settings, section


@section("compute")
@dataclass(frozen=True)
class ComputeSettings(Settings):
    """Where and how it is computed. Results differ by rounding at most, so nothing is made again when it changes."""

    device: Literal["auto", "cpu"] = "auto"
    """``auto`` takes a GPU where there is one."""
    precision: Literal["auto", "no", "fp16", "bf16"] = "auto"
    """Mixed precision; ``auto``: bf16 on a GPU that has it, else fp16 there, none on a CPU."""
    recompute: bool = False
    """Trainings of classifiers compute activations again in the backward pass instead of keeping them: less of a GPU's
    memory for about a third more time."""
    workers: Annotated[int, Field(ge=-1)] = -1
    """Decoding processes; -1 chooses."""
    engine: Literal["local", "ray"] = "local"
    """Who does images one by one (maps, refiners, masks, scores, predictions): this process and its workers, or those
    of torchrun; or ``ray``: actors on this machine, or on the cluster that RAY_ADDRESS names."""
    actors: CountOrNone = 0
    """Ray's actors; 0: one per GPU that it has, or per CPU where it has none and for work that takes no network."""
    report: bool = True
    """Write the report into the run folder when a run ends."""
    forecast: bool = True
    """Before a run begins, try pieces of its work for some seconds, and print how long it will take."""
    log: tuple[Literal["tensorboard", "wandb", "wandb-online", "mlflow"], ...] = ()
    """Also write losses and scores for these, into ``trackers/`` of the run folder; ``wandb-online`` alone sends
    them."""
    save_minutes: Positive = 5.0
    """A training is saved at the latest after so many minutes, and each epoch."""


def count_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def count_pool(settings: ComputeSettings, processes: int) -> int:
    """Worker processes that do one image each at a time, of each process of the run."""
    return max(1, settings.workers if settings.workers >= 0 else count_cores() // processes)


def make_accelerator(settings: ComputeSettings) -> Accelerator:
    """Device, precision and processes, as the settings and the machine allow."""
    on_gpu = settings.device == "auto" and torch.cuda.is_available()
    precision = settings.precision
    if precision == "auto":
        has_bf16 = on_gpu and torch.cuda.is_bf16_supported(including_emulation=False)
        precision = "no" if not on_gpu else ("bf16" if has_bf16 else "fp16")
    # Accelerate keeps one state a process; a second run with another precision must not inherit the first one's.
    AcceleratorState._reset_state(reset_partial_state=False)
    # Shares of the images differ by hours where each is climbed for, and one process checks the data while the others
    # wait.
    patience = InitProcessGroupKwargs(timeout=timedelta(days=7))
    return Accelerator(cpu=not on_gpu, mixed_precision=precision, kwargs_handlers=[patience])
