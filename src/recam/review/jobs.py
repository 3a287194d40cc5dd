"""Long work beside the page: one job at a time of each kind, with progress that the page shows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from recam.errors import RecamError

Advance = Callable[[int, int], None]
"""Called with (done, total)."""


@dataclass
class Job:
    """Work in a thread.

    Attributes:
        name: of the job.
        done, total: units of work.
        state: ``running``, ``done`` or ``failed``.
        message: why it failed; empty otherwise.
    """

    name: str
    done: int = 0
    total: int = 0
    state: str = "running"
    message: str = ""


@dataclass
class Jobs:
    """All jobs of a server, by name. A closing server stops them; each can be started again and then resumes."""

    all: dict[str, Job] = field(default_factory=dict)
    stopping: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, name: str, work: Callable[[Advance], None]) -> Job:
        """Start the job, or give the one of that name that is running."""
        with self._lock:
            running = self.all.get(name)
            if running and running.state == "running":
                return running
            job = self.all[name] = Job(name)
        threading.Thread(target=self._run, args=(job, work), name=name, daemon=True).start()
        return job

    def _run(self, job: Job, work: Callable[[Advance], None]) -> None:
        def advance(done: int, total: int) -> None:
            job.done, job.total = done, total
            if self.stopping.is_set():
                raise InterruptedError

        try:
            work(advance)
            job.state = "done"
        except InterruptedError:
            job.state, job.message = "failed", "the server was stopped"
        except RecamError as error:
            job.state, job.message = "failed", str(error)
        except Exception as error:  # a job must never stay "running" for ever; the page shows what went wrong
            job.state, job.message = "failed", f"{type(error).__name__}: {error}"
