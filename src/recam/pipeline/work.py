"""What a stage is, and what it is given to work with."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from numpy.typing import NDArray

from recam.data.catalog import Catalog, fingerprint
from recam.data.splits import no_training_split
from recam.digests import Digest, FileDigests
from recam.errors import DataError, StoreError
from recam.pipeline.recipe import Recipe
from recam.pipeline.settings import DataSettings
from recam.pipeline.store import StageFolder
from recam.progress import Progress, track
from recam.types import Sample

Role = Literal["train", "score", "val"]
Fingerprint = Callable[[Iterable[Sample], Digest], str]
SHOW_AFTER = 1.0
"""Seconds that reading files may take before it is shown; the next time their hashes are known and there is nothing to show."""


@dataclass(frozen=True)
class RunData:
    """The data set of a run, by role.

    Attributes:
        catalog: the open data set.
        settings: which split plays which role, where not the catalog's own choice.
        excluded: ids of samples that the check found damaged and the recipe said to skip.
        digests: what files hold.
        quiet: show no progress (all processes but the first).
        left_out: classes of the data set that no training image is labelled with; `catalog` is without them.
    """

    catalog: Catalog
    settings: DataSettings
    excluded: frozenset[str] = frozenset()
    digests: FileDigests = field(default_factory=FileDigests)
    quiet: bool = False
    left_out: tuple[str, ...] = ()

    def split(self, role: Role) -> str | None:
        """Name of the split that plays a role; None where none does."""
        chosen: str | None = getattr(self.settings, role)
        own: str | None = getattr(self.catalog.roles, role)
        return own if chosen is None else chosen

    @cached_property
    def train(self) -> list[Sample]:
        """Samples whose image labels are learned from. Raises `DataError` where there is none."""
        if self.split("train") is None:
            raise DataError(f"{self.settings.location}: {no_training_split(self.catalog.splits)}.")
        samples = self._samples("train")
        if not samples:
            raise DataError(f"the split {self.split('train')!r} holds no usable image; `recam check` tells why.")
        return samples

    @cached_property
    def score(self) -> list[Sample]:
        """Samples with a true mask that score seeds and pseudo masks; empty where there is no truth."""
        return [sample for sample in self._samples("score") if sample.mask is not None]

    @cached_property
    def val(self) -> list[Sample]:
        """Held-out samples with a true mask that score segmentation models; empty where there is no truth."""
        return [sample for sample in self._samples("val") if sample.mask is not None]

    @cached_property
    def seeded(self) -> list[Sample]:
        """Samples that seeds are made for: those to train on and those to score."""
        known = {sample.id for sample in self.train}
        return self.train + [sample for sample in self.score if sample.id not in known]

    def fingerprint(self, role: str, of: Fingerprint = fingerprint) -> str:
        """Hash of a role's ids, labels and files, see `recam.data.catalog.fingerprint`; or of what else of its samples `of` looks at."""
        if (role, of) not in self._fingerprints:
            samples = getattr(self, role)
            shown = track(samples, "reading files", len(samples), quiet=self.quiet, after=SHOW_AFTER)
            self._fingerprints[role, of] = of(shown, self.digests)
        return self._fingerprints[role, of]

    def weights_key(self, weights: str) -> dict[str, str]:
        """What a result depends on besides the name of its weights: the content, where that names a file."""
        return {"weights_content": self.digests(Path(weights))} if Path(weights).is_file() else {}

    @cached_property
    def _fingerprints(self) -> dict[tuple[str, Fingerprint], str]:
        return {}

    def _samples(self, role: Role) -> list[Sample]:
        split = self.split(role)
        samples = self.catalog.samples(split) if split else ()
        return [sample for sample in samples if sample.id not in self.excluded]


@dataclass(frozen=True)
class Work:
    """What a stage's function is given.

    Attributes:
        recipe: all settings; a stage may read just those that it declares.
        data: the data set by role.
        folder: where to write.
        inputs: folders of the stages it needs, by name.
        accelerator: device, precision, and which process of how many this is.
    """

    recipe: Recipe
    data: RunData
    folder: StageFolder
    inputs: Mapping[str, StageFolder]
    accelerator: Accelerator

    def each(self, samples: Sequence[Sample], finished: Callable[[Sample], bool], do: Callable[[Sample], None], processes: bool) -> None:
        """`do` for this process's part of the samples not finished yet, with progress.

        Args:
            do: writes what `finished` looks for.
            processes: several images at a time, in processes of their own, as `compute.workers` allows; `do` must then be picklable.
        """
        workers = self._count_workers() if processes else 1
        if workers == 1:
            for sample in self.share(samples, finished):
                do(sample)
            return
        try:
            with ProcessPoolExecutor(workers, initializer=_begin_worker) as pool:
                pending: deque[Future[None]] = deque()
                for sample in self.share(samples, finished):
                    pending.append(pool.submit(do, sample))
                    if len(pending) > 2 * workers:
                        pending.popleft().result()
                for future in pending:
                    future.result()
        except BrokenProcessPool as error:
            raise StoreError(
                f"{self.folder.name}: one of {workers} worker processes was ended from outside, for want of memory as a rule. Set"
                " compute.workers to fewer; the same command goes on where it was."
            ) from error

    def _count_workers(self) -> int:
        asked = self.recipe.compute.workers
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, asked if asked >= 0 else cores // self.accelerator.num_processes)

    def share(self, samples: Sequence[Sample], finished: Callable[[Sample], bool]) -> Iterator[Sample]:
        """This process's part of the samples not finished yet, with progress."""
        own = samples[self.accelerator.process_index :: self.accelerator.num_processes]
        todo = [sample for sample in own if not finished(sample)]
        with Progress(self.folder.name, len(own), len(own) - len(todo), quiet=not self.accelerator.is_main_process) as progress:
            for sample in todo:
                yield sample
                progress.advance()


@dataclass(frozen=True)
class Stage:
    """One step of the pipeline: what it makes, and all that its result depends on.

    Attributes:
        name: also its folder.
        group: what ``--until`` names.
        make: does the work, resuming from what the folder holds; returns results for the record (JSON-ready).
        settings: the part of the recipe that the result depends on, JSON-ready.
        needs: names of the stages it reads, as far as those are wanted.
        roles: roles whose data it reads.
        wanted: whether the recipe asks for it and the data allow it.
        version: raised when the code changes what comes out.
        reads: names of further stages it reads, whose settings its result does not depend on beyond what `settings` and `roles` tell.
        holds_enough: whether the results of a finished stage hold all that recipe and data want of it; where not, it goes on.
        supervision: what people had to say for its results, beyond that of the stages it needs, e.g. ``image labels``.
    """

    name: str
    group: str
    make: Callable[[Work], dict[str, Any]]
    settings: Callable[[Recipe, RunData], dict[str, Any]]
    needs: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    wanted: Callable[[Recipe, RunData], bool] = lambda recipe, data: True
    version: int = 1
    reads: tuple[str, ...] = ()
    holds_enough: Callable[[Recipe, RunData, Mapping[str, Any]], bool] = lambda recipe, data, results: True
    supervision: Callable[[Recipe], tuple[str, ...]] = lambda recipe: ()


def sum_over_processes(work: Work, *counts: NDArray[Any]) -> None:
    """Add up integer arrays over all processes, in place."""
    if work.accelerator.num_processes == 1:
        return
    for array in counts:
        summed = work.accelerator.reduce(torch.from_numpy(array).to(work.accelerator.device), "sum")
        array[...] = summed.cpu().numpy()


def _begin_worker() -> None:
    # Ctrl-C reaches all processes of a terminal; the one that everybody works for tells it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # One process a core: more threads would only wait for each other.
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent is killed would wait for work for ever: nobody is left to send it home."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
