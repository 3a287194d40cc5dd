"""The machine that a run works on, as far as its plan depends on it."""

from __future__ import annotations

import platform
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from accelerate import Accelerator

from recam.engine.compute import count_cores

_CPU = Path("/proc/cpuinfo")
_LIMIT, _USED = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
"""What a container may take, and has taken."""


@dataclass(frozen=True)
class Machine:
    """Where a run works.

    Attributes:
        cpu: name of the processor.
        cores: that this process may use.
        memory: bytes in all.
        free_memory: bytes that are free now.
        free_disk: bytes that are free where the run lies.
        gpu: name of the GPU that is used; empty: none.
        gpu_memory: bytes of it.
        precision: of networks: ``no`` (32 bits), ``bf16``, ``fp16``.
        processes: that share the run.
    """

    cpu: str
    cores: int
    memory: int
    free_memory: int
    free_disk: int
    gpu: str = ""
    gpu_memory: int = 0
    precision: str = "no"
    processes: int = 1

    def __str__(self) -> str:
        gpu = f"{self.gpu}, {self.gpu_memory / 2**30:.0f} GiB" if self.gpu else "no GPU"
        cores = f"{self.cores} core{'s' * (self.cores != 1)}"
        several = f"; {self.processes} processes" if self.processes > 1 else ""
        return f"{self.cpu}, {cores}, {self.memory / 2**30:.0f} GiB of memory, {gpu}{several}"


def read_machine(accelerator: Accelerator, place: Path) -> Machine:
    """What there is. `place`: the run folder, which need not exist."""
    memory = psutil.virtual_memory()
    total, free = int(memory.total), int(memory.available)
    with suppress(OSError, ValueError):  # no container, or one without a limit
        limit = int(_LIMIT.read_text())
        total, free = min(total, limit), min(free, limit - int(_USED.read_text()))
    has_gpu = accelerator.device.type == "cuda"
    return Machine(
        cpu=_cpu_name(),
        cores=count_cores(),
        memory=total,
        free_memory=max(0, free),
        free_disk=_free_disk(place),
        gpu=torch.cuda.get_device_name() if has_gpu else "",
        gpu_memory=int(torch.cuda.get_device_properties(accelerator.device).total_memory) if has_gpu else 0,
        precision=str(accelerator.mixed_precision),
        processes=int(accelerator.num_processes),
    )


def _cpu_name() -> str:
    with suppress(OSError):
        for line in _CPU.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine()


def _free_disk(place: Path) -> int:
    place = place.absolute()
    there = next((path for path in (place, *place.parents) if path.is_dir()), Path("/"))
    with suppress(OSError):
        return int(shutil.disk_usage(there).free)
    return 0
