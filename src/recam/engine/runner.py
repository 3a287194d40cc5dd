"""Stages in order, each made once: skipped when it is up to date, resumed when it was cut short, taken over where
another run has made it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from accelerate import Accelerator

from recam.data.roles import RunData
from recam.engine.cluster import Cluster
from recam.engine.compute import ComputeSettings
from recam.engine.measure import Measure
from recam.engine.memory import loaded_set_aside, release_memory
from recam.engine.shares import TURN, WHOLE, OthersMissing, Share
from recam.engine.stage import Planned
from recam.engine.work import Work
from recam.errors import RecamError, RecipeError, StoreError
from recam.progress import console, log_line
from recam.runfolder.integrity import refuse_changed, reopen_damaged
from recam.runfolder.journal import Journal
from recam.runfolder.lock import hold_lock
from recam.runfolder.store import RunFolder, StageFolder


@dataclass(frozen=True)
class Runner:
    """Works through the stages of a run.

    Attributes:
        folder: the run.
        data: the data set by role.
        accelerator: device, precision, and which process of how many this is.
        compute: how many workers, how often a training is saved.
        verify: read all files of finished stages, not just those whose size or time has changed.
        journal: records which stage begins and ends; None: nothing is recorded.
        cluster: whose actors do what is done image by image; None: this process does.
        part: of the images, that this process does in stages that several processes share; None: all.
    """

    folder: RunFolder
    data: RunData
    accelerator: Accelerator
    compute: ComputeSettings
    verify: bool = False
    journal: Journal | None = None
    cluster: Cluster | None = None
    part: Share | None = None

    @property
    def is_main(self) -> bool:
        """Whether this process writes records and messages."""
        return bool(self.accelerator.is_main_process)

    def pending(self, planned: Mapping[str, Planned], names: Sequence[str]) -> list[str]:
        """Stages that are still to be made. Finished ones whose files are damaged are opened again, which is
        reported."""
        if self.is_main:
            reopen_damaged(self.folder, {name: planned[name].key for name in names}, self.verify, log_line)
        self.accelerator.wait_for_everyone()
        return [name for name in names if not self.folder.find(name, planned[name].key, self.verify)]

    def rehearse(self, planned: Mapping[str, Planned], names: Sequence[str]) -> None:
        """Raises one of our errors with all that stands in the way of these stages."""
        problems: list[RecamError] = []
        for name in names:
            if attempt := planned[name].stage.rehearse:
                try:
                    attempt(self.data)
                except RecamError as error:
                    problems.append(error)
        if len(problems) == 1:
            raise problems[0]
        if problems:
            raise RecipeError("\n".join(dict.fromkeys(str(error) for error in problems)))

    def run(self, planned: Mapping[str, Planned], names: Sequence[str]) -> list[str]:
        """Make the stages that are not finished, in order; returns their names.

        Raises:
            OthersMissing: this process has done its part of all that it can; the text has a line per stage that is
                left.
        """
        if self.part:
            return self._run_part(planned, names)
        made = []
        folders: dict[str, StageFolder] = {}
        with loaded_set_aside():
            for name in names:
                folder = folders[name] = self.open(name, planned[name].key)
                is_done = folder.is_done
                self.accelerator.wait_for_everyone()  # before one of them writes another record, all have read this one
                if not is_done:
                    made.append(name)
                    needs = planned[name].stage.needs
                    self._make(planned, folder, {each: folders[each] for each in needs})
        return made

    def open(self, name: str, key: str) -> StageFolder:
        """The stage's folder. One process makes or moves folders, the others look when it has."""
        self.accelerator.wait_for_everyone()
        stage = self.folder.open_stage(name, key, self.verify) if self.is_main else self.folder.at(name, key)
        self.accelerator.wait_for_everyone()
        return stage

    def _run_part(self, planned: Mapping[str, Planned], names: Sequence[str]) -> list[str]:
        made: list[str] = []
        left: dict[str, str] = {}
        folders: dict[str, StageFolder] = {}
        with loaded_set_aside():
            for name in names:
                before = [each for each in planned[name].stage.needs if each in left]
                try:
                    if before:
                        raise OthersMissing(f"needs {', '.join(before)}")
                    folders[name], own = self._open_part(planned, name, folders)
                    made += [name] * own
                except OthersMissing as missing:
                    left[name] = str(missing)
        if left:
            raise OthersMissing("\n".join(f"{name}: {why}." for name, why in left.items()))
        return made

    def _open_part(
        self, planned: Mapping[str, Planned], name: str, folders: Mapping[str, StageFolder]
    ) -> tuple[StageFolder, bool]:
        """The finished stage, and whether this process finished it."""
        own = planned[name]
        busy = "another process makes it, which does not share it"
        free = own.stage.shared or self.folder.at(name, own.key).claims_done
        with nullcontext() if free else self._hold(WHOLE, busy):
            with self._hold(TURN):
                folder = self.folder.open_stage(name, own.key, self.verify)
                if folder.is_done:
                    return folder, False
                if not folder.record:  # else others may be at it, whose files half written must stay
                    self._begin(own, folder)
            inputs = {each: folders[each] for each in own.stage.needs}
            console.print(f"[bold]{name}[/bold] share {self.part}", highlight=False)
            results, cost = self._work(own, folder, inputs)
            with self._hold(TURN):
                is_mine = not folder.claims_done
                if is_mine:
                    self._finish(planned, own, folder, results, cost)
        return folder, is_mine

    @contextmanager
    def _hold(self, lock: str, busy: str = "") -> Iterator[None]:
        """Hold a lock of those who share the run: wait for it or, with a reason, raise `OthersMissing` where it is
        taken."""
        try:
            with hold_lock(self.folder.root, lock, taken=busy, waits=not busy):
                yield
        except StoreError as error:
            if busy and str(error) == busy:
                raise OthersMissing(busy) from error
            raise

    def _make(self, planned: Mapping[str, Planned], folder: StageFolder, inputs: Mapping[str, StageFolder]) -> None:
        own = planned[folder.name]
        resumed = bool(folder.record)
        if self.is_main:
            console.print(f"[bold]{folder.name}[/bold]" + (" resumes" if resumed else ""), highlight=False)
            self._begin(own, folder)
            if self.journal:
                self.journal.begin(folder.name, resumed)
        self.accelerator.wait_for_everyone()
        results, cost = self._work(own, folder, inputs)
        if self.is_main:
            self._finish(planned, own, folder, results, cost)
            if self.journal:
                self.journal.end(folder.name, cost.seconds)
        self.accelerator.wait_for_everyone()

    def _begin(self, own: Planned, folder: StageFolder) -> None:
        facts = {"inputs": dict(own.parts), "label": dict(own.stage.label), "supervision": list(own.supervision)}
        folder.begin({**facts, "resumed": bool(folder.record)})

    def _work(
        self, own: Planned, folder: StageFolder, inputs: Mapping[str, StageFolder]
    ) -> tuple[dict[str, Any], Measure]:
        part = self.part if own.stage.shared else None
        with Measure() as cost:
            work = Work(self.data, folder, inputs, self.accelerator, self.compute, self.cluster, part)
            results = own.stage.make(own.stage.given, work)
            self.accelerator.wait_for_everyone()
        release_memory()
        return results, cost

    def _finish(
        self, planned: Mapping[str, Planned], own: Planned, folder: StageFolder, results: dict[str, Any], cost: Measure
    ) -> None:
        files = set().union(own.files, *(planned[name].files for name in own.stage.needs))
        refuse_changed(folder, self.data.digests, files)
        costs: dict[str, Any] = {
            "seconds": cost.seconds,
            "peak_memory_mb": cost.peak_memory_mb,
            "peak_gpu_mb": cost.peak_gpu_mb,
        }
        processes = self.part.count if self.part and own.stage.shared else self.accelerator.num_processes
        folder.finish({**costs, "processes": processes, "results": results})
