"""What stages try a turn of their work on: a few images of the data set, the device, a folder that is thrown away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from accelerate import Accelerator

from recam.data.roles import RunData
from recam.engine.compute import ComputeSettings
from recam.labels import BACKGROUND, mask_value
from recam.methods.cam import strided_size
from recam.recipe.recipe import Recipe
from recam.runfolder.maps import save_seed
from recam.types import Mask, Sample, SeedMaps

T = TypeVar("T")


@dataclass
class Bench:
    """Where a plan tries pieces of a run.

    Attributes:
        recipe: all settings.
        data: the data set by role.
        samples: images to try on, of about the mean size and the mean number of labels.
        largest: the largest image, which decides on memory; None: they are all alike.
        accelerator: device and precision.
        compute: how many workers.
        root: a folder that is thrown away.
        trial: number of the trial.
    """

    recipe: Recipe
    data: RunData
    samples: Sequence[Sample]
    accelerator: Accelerator
    compute: ComputeSettings
    root: Path
    trial: int = 0
    largest: Sample | None = None
    _made: dict[Any, Any] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Where networks work."""
        device: torch.device = self.accelerator.device
        return device

    @property
    def processes(self) -> int:
        """How many processes share the run."""
        return int(self.accelerator.num_processes)

    @property
    def n_classes(self) -> int:
        """K, without background."""
        return len(self.data.catalog.classes)

    @property
    def background(self) -> bool:
        """Whether pixels may belong to no class."""
        return self.data.catalog.classes.background

    @property
    def channels(self) -> int:
        """Number of bands that networks read."""
        return self.data.channels

    @property
    def folder(self) -> Path:
        """Where turns of the present trial write; its size is taken for what they will write."""
        return self.root / "written" / str(self.trial)

    @property
    def seeds(self) -> Path:
        """A folder with ``ID.npz`` of each image to try on, see `maps`."""

        def make() -> Path:
            for sample in (*self.samples, *([self.largest] if self.largest else [])):
                save_seed(self.root / "seeds" / f"{sample.id}.npz", self.maps(sample))
            return self.root / "seeds"

        return self.once("seeds", make)

    def once(self, key: Any, make: Callable[[], T]) -> T:
        """What `make` returns, made once: a network that several stages try. `key` must be hashable."""
        if key not in self._made:
            self._made[key] = make()
        made: T = self._made[key]
        return made

    def sync(self) -> None:
        """Wait for the device, which works on after calls return."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def forget_gpu_peak(self) -> None:
        """Have `gpu_peak` count from now on."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()

    def gpu_peak(self) -> float:
        """Most bytes allocated on the device since; 0 without one."""
        return float(torch.cuda.max_memory_allocated()) if self.device.type == "cuda" else 0.0

    def maps(self, sample: Sample) -> SeedMaps:
        """Class maps of an image's labels at a quarter of its size: a blob in the middle of each, as costly as real
        ones."""

        def make() -> SeedMaps:
            height, width = sample.image.read().shape[:2]
            rows, columns = (np.linspace(-1, 1, side, dtype=np.float32) for side in strided_size((height, width)))
            noise = np.random.default_rng(0).random((len(sample.labels), len(rows), len(columns)), np.float32)
            blob = np.exp(-3 * (rows[:, None] ** 2 + columns**2))
            return SeedMaps((0.8 * blob + 0.2 * noise).clip(0, 1), np.array(sample.labels, np.int64), (height, width))

        return self.once(("maps", sample.id), make)

    def mask(self, sample: Sample) -> Mask:
        """A mask of an image (H, W): its first class in the middle half, background around it, or its last class where
        there is none."""

        def make() -> Mask:
            height, width = sample.image.read().shape[:2]
            around = mask_value(sample.labels[-1]) if sample.labels and not self.background else BACKGROUND
            mask = np.full((height, width), around, np.uint8)
            middle = mask[height // 4 : 3 * height // 4 + 1, width // 4 : 3 * width // 4 + 1]
            middle[...] = mask_value(sample.labels[0]) if sample.labels else BACKGROUND
            return mask

        return self.once(("mask", sample.id), make)

    def written(self) -> int:
        """Bytes of all files that turns of the present trial have written."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())
