"""Stages in order, each made once: skipped when it is up to date, resumed when it was cut short, taken over where
another run has made it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from accelerate import Accelerator

from recam.data.roles import RunData
from recam.engine.compute import ComputeSettings
from recam.engine.measure import Measure
from recam.engine.memory import loaded_set_aside, release_memory
from recam.engine.stage import Planned
from recam.engine.work import Work
from recam.errors import RecamError, RecipeError
from recam.progress import console, log_line
from recam.runfolder.integrity import refuse_changed, reopen_damaged
from recam.runfolder.journal import Journal
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
    """

    folder: RunFolder
    data: RunData
    accelerator: Accelerator
    compute: ComputeSettings
    verify: bool = False
    journal: Journal | None = None

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
        """Make the stages that are not finished, in order; returns their names."""
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

    def _make(self, planned: Mapping[str, Planned], folder: StageFolder, inputs: Mapping[str, StageFolder]) -> None:
        own = planned[folder.name]
        resumed = bool(folder.record)
        if self.is_main:
            console.print(f"[bold]{folder.name}[/bold]" + (" resumes" if resumed else ""), highlight=False)
            facts = {"inputs": dict(own.parts), "label": dict(own.stage.label), "supervision": list(own.supervision)}
            folder.begin({**facts, "resumed": resumed})
            if self.journal:
                self.journal.begin(folder.name, resumed)
        self.accelerator.wait_for_everyone()
        with Measure() as cost:
            results = own.stage.make(own.stage.given, Work(self.data, folder, inputs, self.accelerator, self.compute))
            self.accelerator.wait_for_everyone()
        release_memory()
        if self.is_main:
            files = set().union(own.files, *(planned[name].files for name in inputs))
            refuse_changed(folder, self.data.digests, files)
            costs: dict[str, Any] = {
                "seconds": cost.seconds,
                "peak_memory_mb": cost.peak_memory_mb,
                "peak_gpu_mb": cost.peak_gpu_mb,
            }
            folder.finish({**costs, "processes": self.accelerator.num_processes, "results": results})
            if self.journal:
                self.journal.end(folder.name, cost.seconds)
        self.accelerator.wait_for_everyone()
