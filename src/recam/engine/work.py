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
from typing import Any

import torch
from accelerate import Accelerator
from numpy.typing import NDArray

from recam.data.roles import RunData
from recam.engine.compute import ComputeSettings, count_pool
from recam.errors import RecipeError, StoreError
from recam.interrupts import ignore_interrupts, interrupts_deferred
from recam.progress import Progress
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
    """

    data: RunData
    folder: StageFolder
    inputs: Mapping[str, StageFolder]
    accelerator: Accelerator
    compute: ComputeSettings = field(default_factory=ComputeSettings)

    def each(
        self,
        samples: Sequence[Sample],
        finished: Callable[[Sample], bool],
        do: Callable[[Sample], None],
        processes: bool,
    ) -> None:
        """`do` for this process's part of the samples not finished yet, with progress.

        Args:
            do: writes what `finished` looks for.
            processes: several images at a time, in processes of their own, as `compute.workers` allows; `do` must then
                be picklable.
        """
        workers = count_pool(self.compute, self.accelerator.num_processes) if processes else 1
        if workers == 1:
            for sample in self.share(samples, finished):
                do(sample)
            return
        try:
            with ProcessPoolExecutor(workers, initializer=_begin_worker) as pool:
                pending: deque[Future[None]] = deque()
                for sample in self.share(samples, finished):
                    with interrupts_deferred():  # the first starts the processes
                        pending.append(pool.submit(do, sample))
                    if len(pending) > 2 * workers:
                        pending.popleft().result()
                for future in pending:
                    future.result()
        except BrokenProcessPool as error:
            raise StoreError(
                f"{self.folder.name}: one of {workers} worker processes was ended from outside, usually out of memory."
                " Set"
                " compute.workers to fewer; to resume, run the same command."
            ) from error

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
