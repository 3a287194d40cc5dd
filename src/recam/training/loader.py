"""From samples to batches: what comes out depends on (seed, epoch, index) alone.

Not on worker processes, on their number, or on how often training was interrupted: a batch can be made again at any
time, so a resumed run needs no state of loaders. Every rank takes its share of the same global batches.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from recam.data.large_photos import read_reduced
from recam.errors import RecamError, StoreError, first_line
from recam.interrupts import ignore_interrupts, interrupts_deferred
from recam.labels import multi_hot
from recam.training.augment import Augment
from recam.types import Grey, Mask, Sample

Batch = dict[str, Tensor]
Position = tuple[int, int]
"""(epoch, index of the sample)."""
PLANE_STRIDE = 4
"""Of planes that lie on an image a batch has every so many pixels."""


@dataclass(frozen=True)
class Extra:
    """Something that a training wants of each sample beside image and labels.

    Attributes:
        read: a sample's; picklable, as worker processes read.
        lies_on: ``nothing``: a tensor that is taken as it is; ``image``: numbers (H, W) of its pixels, uint8 below 255,
            which are augmented as the image is: (crop, crop) int64, 255 where that does not reach; ``planes``: `Planes`
            of its pixels, augmented in the same way, of which a batch has every fourth: (count, ⌈crop/4⌉, ⌈crop/4⌉)
            float32, 0 where the image does not reach.
    """

    read: Callable[[Sample], Any]
    lies_on: Literal["nothing", "image", "planes"] = "nothing"

    def move(self, sample: Sample, augment: Augment, drawn: list[int]) -> Any:
        """What a batch holds of a sample whose view is drawn from these numbers."""
        value = self.read(sample)
        if self.lies_on == "image":
            return augment.move_mask(value, np.random.default_rng(drawn))
        if self.lies_on == "planes":
            side = -(-augment.crop // PLANE_STRIDE)
            moved = torch.zeros(value.count, side, side)
            for index, plane in zip(value.indices, value.planes, strict=True):
                whole = augment.move_grey(plane, np.random.default_rng(drawn))  # (crop, crop)
                moved[index] = whole[::PLANE_STRIDE, ::PLANE_STRIDE]
            return moved
        return value


@dataclass(frozen=True)
class Planes:
    """Values of an image's pixels for few of many classes.

    Attributes:
        planes: (n, H, W) float32 in [0, 1].
        indices: (n,) whose they are; the others are 0.
        count: how many there are.
    """

    planes: NDArray[np.float32]
    indices: Sequence[int]
    count: int


@dataclass(frozen=True)
class EpochBatches(Sampler[list[Position]]):
    """Batches of positions for the epochs still to come, in an order that (seed, epoch) alone decides.

    An epoch's images are cut into ⌈n / batch⌉ batches of nearly equal size, so that none is left out and none is nearly
    empty.

    Attributes:
        n: samples an epoch.
        batch: images per step, over all ranks.
        epochs: epochs in all.
        steps: end after so many steps in all, where that is before the last epoch ends.
        start: steps already taken.
        rank, world: this process and how many there are; each takes every world-th image of a global batch.
    """

    n: int
    batch: int
    epochs: int
    seed: int
    steps: int | None = None
    start: int = 0
    rank: int = 0
    world: int = 1

    @property
    def steps_per_epoch(self) -> int:
        """⌈n / batch⌉."""
        return -(-self.n // self.batch)

    @property
    def total(self) -> int:
        """Steps from the first to the last."""
        every = self.steps_per_epoch * self.epochs
        return every if self.steps is None else min(every, self.steps)

    def __len__(self) -> int:
        return self.total - self.start

    def __iter__(self) -> Iterator[list[Position]]:
        for epoch in range(self.start // self.steps_per_epoch, self.epochs):
            order = np.random.default_rng([self.seed, epoch]).permutation(self.n)
            batches = np.array_split(order, self.steps_per_epoch)
            begun = epoch * self.steps_per_epoch
            for indices in batches[max(0, self.start - begun) : max(0, self.total - begun)]:
                # A rank without an image of its own repeats one: every rank must take part in the step.
                own = indices[self.rank :: self.world] if len(indices) > self.rank else indices[:1]
                yield [(epoch, int(index)) for index in own]


@dataclass(frozen=True)
class LabelledImages(Dataset[Batch]):
    """Augmented images with their image labels: ``images`` (3, crop, crop), ``labels`` (K,); ``saliency`` (1, crop,
    crop) if wanted.

    Attributes:
        read_saliency: the (H, W) saliency map of a sample; None: none is wanted.
        extras: what else of each sample, by name.
    """

    samples: Sequence[Sample]
    augment: Augment
    n_classes: int
    seed: int
    read_saliency: Callable[[Sample], Grey] | None = None
    extras: Mapping[str, Extra] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, position: Position) -> Batch:
        epoch, index = position
        sample = self.samples[index]
        drawn = [self.seed, epoch, index]
        image, size = read_reduced(sample.image, self.augment.largest_side)
        view, _ = self.augment(image, np.random.default_rng(drawn), size=size)
        batch = {"images": view, "labels": torch.from_numpy(multi_hot(sample.labels, self.n_classes))}
        if self.read_saliency:
            batch["saliency"] = self.augment.move_grey(self.read_saliency(sample), np.random.default_rng(drawn))[None]
        return batch | {name: extra.move(sample, self.augment, drawn) for name, extra in self.extras.items()}


@dataclass(frozen=True)
class MaskedImages(Dataset[Batch]):
    """Augmented images with masks: ``images`` (3, crop, crop), ``masks`` (crop, crop) int64.

    Attributes:
        read_mask: the (H, W) uint8 mask of a sample: a pseudo mask from the run folder, or the truth.
        extras: what else of each sample, by name.
    """

    samples: Sequence[Sample]
    read_mask: Callable[[Sample], Mask]
    augment: Augment
    seed: int
    extras: Mapping[str, Extra] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, position: Position) -> Batch:
        epoch, index = position
        sample = self.samples[index]
        drawn = [self.seed, epoch, index]
        image, size = read_reduced(sample.image, self.augment.largest_side)
        view, mask = self.augment(image, np.random.default_rng(drawn), self.read_mask(sample), size)
        assert mask is not None
        extras = {name: extra.move(sample, self.augment, drawn) for name, extra in self.extras.items()}
        return {"images": view, "masks": mask} | extras


@dataclass(frozen=True)
class _Failure:
    """An error of ours, on its way from a worker: PyTorch would put the worker's traceback into its message."""

    error: RecamError


@dataclass(frozen=True)
class _Caught(Dataset[Batch | _Failure]):
    """A data set whose errors of ours are values."""

    dataset: Dataset[Batch]

    def __getitem__(self, position: Position) -> Batch | _Failure:
        try:
            return self.dataset[position]
        except RecamError as error:
            return _Failure(error)


def _collate(items: list[Batch | _Failure]) -> Batch | _Failure:
    failed = next((item for item in items if isinstance(item, _Failure)), None)
    return failed or default_collate(items)


def _begin_worker(number: int) -> None:
    ignore_interrupts()


def read_batches(loader: DataLoader[Batch | _Failure]) -> Generator[Batch, None, None]:
    """The batches of a loader of which nobody else holds a reference, so that its workers end with them.

    Raises:
        what the data set raises: in this process, also where a worker had met it.
    """
    with interrupts_deferred():  # begins the workers
        batches = iter(loader)
    try:
        for batch in batches:
            if isinstance(batch, _Failure):
                raise batch.error
            yield batch
    finally:
        with interrupts_deferred():  # their end is waited for in `__del__`, where Python drops exceptions
            del batches, loader


@contextmanager
def workers_watched(what: str) -> Iterator[None]:
    """Raises `StoreError` where a worker of a loader was ended from outside.

    PyTorch raises that by a signal, wherever the main process happens to be.
    """
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker (pid"):
            raise
        raise StoreError(
            f"{what}: a process that decodes images was ended from outside, usually out of memory"
            f" ({first_line(error)}). Set"
            " compute.workers to fewer, or to 0; the same command resumes."
        ) from error


def count_loaders(workers: int) -> int:
    """Processes that decode for `make_loader`; 0: none beside this one."""
    cores = os.cpu_count() or 1
    return workers if workers >= 0 else (0 if cores <= 2 else min(8, cores - 1))


def make_loader(
    dataset: Dataset[Batch], batches: EpochBatches, workers: int, pin: bool
) -> DataLoader[Batch | _Failure]:
    """A loader over `batches`, to be read by `read_batches`; worker processes limit themselves to one thread each.

    Args:
        workers: processes that decode; 0 decodes in this one, -1 chooses: none on a machine of up to two cores, else
            up to eight.
        pin: page-locked memory, for a GPU.
    """
    count = count_loaders(workers)
    options: dict[str, Any] = {"persistent_workers": True, "prefetch_factor": 4} if count else {}
    # A generator of its own: to begin anew after an interruption must not move on the one that dropout draws from.
    return DataLoader(
        _Caught(dataset),
        batch_sampler=batches,
        num_workers=count,
        pin_memory=pin,
        generator=torch.Generator(),
        collate_fn=_collate,
        worker_init_fn=_begin_worker,
        **options,
    )
