"""What a stage works with: data, folders, device, progress."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray

from recam.data.roles import RunData
from recam.engine.cluster import ENDED, Cluster, Portion
from recam.engine.compute import ComputeSettings, count_pool, make_accelerator
from recam.engine.memory import release_memory
from recam.engine.shares import OthersMissing, Share
from recam.engine.tasks import Counted, CountTask, ImageTask, Problems, attempt
from recam.errors import DataError, RecipeError, StoreError
from recam.interrupts import ignore_interrupts, interrupts_deferred
from recam.progress import Progress, track
from recam.runfolder.store import StageFolder
from recam.types import Sample


@dataclass(frozen=True)
class Work:
    """The second argument of a stage's function.

    Settings that the result depends on are the first; nothing here changes a result.

    Attributes:
        data: the data set by role.
        folder: where to write.
        inputs: folders of the stages it needs, by name.
        accelerator: device, precision, and which process of how many this is.
        compute: how many workers, how often a training is saved.
        cluster: whose actors do what is done image by image; None: this process does, and its workers.
        part: of the images, that this process does in a stage that several share; None: all.
    """

    data: RunData
    folder: StageFolder
    inputs: Mapping[str, StageFolder]
    accelerator: Accelerator
    compute: ComputeSettings = field(default_factory=ComputeSettings)
    cluster: Cluster | None = None
    part: Share | None = None

    def each(self, samples: Sequence[Sample], task: ImageTask, processes: bool = False) -> None:
        """Do a task for all samples that it is not done for, with progress: this process its part of them, or its
        worker processes, or the actors of a cluster.

        Args:
            processes: it takes no network, and several images at a time where `compute.workers` allows; what it starts
                must then be picklable.

        Raises:
            DataError: images that cannot be used, all of them, after the others are done.
            OthersMissing: this process has done its part, and other parts are not there yet.
        """
        whole, samples = samples, self.part.of(samples) if self.part else samples
        self._each(samples, task, processes)
        if self.part and not all(task.is_done(sample) for sample in whole):
            raise OthersMissing(f"share {self.part} is done, others are not; the one that ends last joins them")

    def _each(self, samples: Sequence[Sample], task: ImageTask, processes: bool) -> None:
        problems = Problems(self.folder.name)
        if self.cluster:
            self._each_on(self.cluster, samples, task, processes, problems)
        elif processes and (workers := count_pool(self.compute, self.accelerator.num_processes)) > 1:
            self._each_pooled(samples, task, workers, problems)
        else:
            do = task.start(self.accelerator)
            for sample in self.share(samples, task.is_done):
                problems.note([attempt(do, sample)])
        problems.close()

    def _each_pooled(self, samples: Sequence[Sample], task: ImageTask, workers: int, problems: Problems) -> None:
        do = partial(attempt, task.start(self.accelerator))
        try:
            with ProcessPoolExecutor(workers, initializer=_begin_worker) as pool:
                pending: deque[Future[str]] = deque()
                for sample in self.share(samples, task.is_done):
                    with interrupts_deferred():  # the first starts the processes
                        pending.append(pool.submit(do, sample))
                    if len(pending) > 2 * workers:
                        problems.note([pending.popleft().result()])
                problems.note(future.result() for future in pending)
        except BrokenProcessPool as error:
            raise StoreError(
                f"{self.folder.name}: one of {workers} worker processes was ended from outside, usually out of memory."
                " Set"
                " compute.workers to fewer; to resume, run the same command."
            ) from error

    def _each_on(
        self, cluster: Cluster, samples: Sequence[Sample], task: ImageTask, processes: bool, problems: Problems
    ) -> None:
        todo = [sample for sample in samples if not task.is_done(sample)]
        with Progress(self.folder.name, len(samples), len(samples) - len(todo)) as progress:
            on_gpu = self.compute.device == "auto" and not processes
            for portion in cluster.each(DoImages(task, self.compute), todo, on_gpu):
                problems.note([_ended(todo, portion)] if portion.result is None else portion.result)
                progress.advance(len(portion.indices))

    def count(self, samples: Sequence[Sample], task: CountTask) -> Counted:
        """Do a task that counts over all samples, with progress; spread as `each` does it. All processes get the
        whole."""
        if self.cluster:
            return self._count_on(self.cluster, samples, task)
        counter, rows = task.start(self.accelerator), np.zeros((len(samples), task.width))
        own = range(self.accelerator.process_index, len(samples), self.accelerator.num_processes)
        for index in track(own, self.folder.name, len(own), quiet=not self.accelerator.is_main_process):
            row = counter(samples[index])
            if row is not None:
                rows[index] = row
        counts = tuple(counter.counts)
        sum_over_processes(self, rows, *counts)
        return Counted(counts, rows)

    def _count_on(self, cluster: Cluster, samples: Sequence[Sample], task: CountTask) -> Counted:
        counts, rows = tuple(task.start(self.accelerator).counts), np.zeros((len(samples), task.width))
        with Progress(self.folder.name, len(samples)) as progress:
            for portion in cluster.each(CountImages(task, self.compute), samples, on_gpu=False):
                if portion.result is None:
                    raise DataError(_ended(samples, portion))
                made, rows[list(portion.indices)] = portion.result
                for array, part in zip(counts, made, strict=True):
                    array += part
                progress.advance(len(portion.indices))
        return Counted(counts, rows)

    def own(self, samples: Sequence[Sample]) -> Sequence[Sample]:
        """This process's part of the samples."""
        return samples[self.accelerator.process_index :: self.accelerator.num_processes]

    def share(self, samples: Sequence[Sample], finished: Callable[[Sample], bool]) -> Iterator[Sample]:
        """This process's part of the samples not finished yet, with progress."""
        own = self.own(samples)
        todo = [sample for sample in own if not finished(sample)]
        with Progress(
            self.folder.name, len(own), len(own) - len(todo), quiet=not self.accelerator.is_main_process
        ) as progress:
            for sample in todo:
                yield sample
                progress.advance()


@dataclass(frozen=True)
class DoImages:
    """An `ImageTask` as a cluster's actors do it: what is wrong with images is their result."""

    task: ImageTask
    compute: ComputeSettings

    def start(self) -> Callable[[Sequence[Sample]], list[str]]:
        do = self.task.start(_accelerator_of_actor(self.compute))
        return lambda samples: [attempt(do, sample) for sample in samples if not self.task.is_done(sample)]


@dataclass(frozen=True)
class CountImages:
    """A `CountTask` as a cluster's actors do it: counts of a portion alone, so that a portion that is lost with its
    actor counts once."""

    task: CountTask
    compute: ComputeSettings

    def start(self) -> Callable[[Sequence[Sample]], tuple[Sequence[NDArray[Any]], NDArray[np.float64]]]:
        accelerator = _accelerator_of_actor(self.compute)

        def count(samples: Sequence[Sample]) -> tuple[Sequence[NDArray[Any]], NDArray[np.float64]]:
            counter, rows = self.task.start(accelerator), np.zeros((len(samples), self.task.width))
            for index, sample in enumerate(samples):
                row = counter(sample)
                if row is not None:
                    rows[index] = row
            return counter.counts, rows

        return count


def _accelerator_of_actor(compute: ComputeSettings) -> Accelerator:
    release_memory()  # of the task before
    return make_accelerator(compute)


def _ended(samples: Sequence[Sample], portion: Portion) -> str:
    where = samples[portion.indices[0]].image.where
    return f"{where}: {ENDED}."


def sum_over_processes(work: Work, *counts: NDArray[Any]) -> None:
    """Add up integer arrays over all processes, in place."""
    if work.accelerator.num_processes == 1:
        return
    for array in counts:
        summed = work.accelerator.reduce(torch.from_numpy(array).to(work.accelerator.device), "sum")
        array[...] = summed.cpu().numpy()


def refuse_unguarded() -> None:
    """Raises `RecipeError` in a worker process that came here while importing the script of the process that it works
    for.

    Where processes are spawned and not forked, each one imports that script first; a run that began there would never
    end.
    """
    imported = sys.modules.get(
        "__mp_main__"
    )  # the script under the name that workers give it; then it takes the place of __main__
    if imported is not None and imported is not sys.modules.get("__main__"):
        raise RecipeError(
            "a worker process imports the script and would begin the run anew. Put what the script does below the line"
            ' `if __name__ == "__main__":`.'
        )


def _begin_worker() -> None:
    ignore_interrupts()
    # One process a core: more threads would only wait for each other.
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent is killed would wait for work for ever: nobody is left to send it home."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
