"""What stages will cost on this machine: turns of their work are tried for a few seconds, and multiplied."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle

from recam.engine.amount import Amount, Turn
from recam.engine.bench import Bench
from recam.engine.compute import count_cores, count_pool
from recam.engine.memory import forget_peak, peak_memory, release_memory, resident_memory
from recam.errors import RecamError, first_line
from recam.runfolder.store import make_key
from recam.settings import as_json
from recam.training.loader import count_loaders
from recam.types import Sample

BUDGET = 12.0
"""Seconds that all trials together may take; after them each amount still left is tried by a single turn."""
EACH, SLOW = 0.7, 1.5
"""Seconds for which turns are tried after the first, which is slower than others; on a CPU a first one that took `SLOW`
stands for all. On a GPU it never does: kernels are loaded in it, which takes seconds, a turn milliseconds."""
MOST = 8
"""Turns that are tried after the first, at most."""
WORKER = 60 * 2**20
"""Bytes that a worker process takes by itself."""


@dataclass(frozen=True)
class TurnCost:
    """What turns of an amount take.

    Attributes:
        begin: seconds until the first.
        seconds: of one turn, by itself.
        memory: bytes, beyond what this process held before.
        gpu: bytes on the device.
        written: bytes per turn.
    """

    begin: float
    seconds: float
    memory: float
    gpu: float
    written: float


@dataclass(frozen=True)
class Piece:
    """A part of a stage's work as it was tried: so many turns, seconds of each."""

    what: str
    turns: float
    seconds: float


@dataclass(frozen=True)
class Forecast:
    """What a stage will take.

    Attributes:
        seconds: wall time.
        memory: bytes of this process and its workers at most.
        gpu: bytes on the device at most.
        disk: bytes that it writes.
        work: what it does, and what was measured of it.
        problem: why it could not be tried; the numbers are without that part then.
    """

    seconds: float
    memory: float
    gpu: float
    disk: float
    work: tuple[Piece, ...] = ()
    problem: str = ""


@dataclass
class Trials:
    """Tries amounts of work on a bench, each once, whatever stages they belong to."""

    bench: Bench
    budget: float = BUDGET
    _costs: dict[str, TurnCost | str] = field(default_factory=dict)

    def forecast(self, amounts: Sequence[Amount], memory: int) -> Forecast:
        """What these amounts of work together will take.

        Args:
            memory: bytes that the process holds before.
        """
        costs, problems = list[tuple[Amount, TurnCost]](), list[str]()
        for amount in amounts:
            found = self.cost(amount)
            if isinstance(found, str):
                problems.append(f"{amount.what}: {found}")
            else:
                costs.append((amount, found))
        loading, own = (
            sum(self._turns(amount) * cost.seconds for amount, cost in costs if (amount.spread == "loader") == beside)
            for beside in (True, False)
        )
        loaders = count_loaders(self.bench.compute.workers)
        # Batches are loaded beside the steps, so whichever takes longer counts; without processes for them, both do.
        seconds = sum(cost.begin for _, cost in costs) + (max(own, loading / loaders) if loaders else own + loading)
        return Forecast(
            seconds,
            memory + max((self._memory(amount, cost) for amount, cost in costs), default=0.0),
            max((cost.gpu for _, cost in costs), default=0.0),
            sum((amount.turns if amount.files is None else amount.files) * cost.written for amount, cost in costs),
            tuple(Piece(amount.what, amount.turns, cost.seconds) for amount, cost in costs),
            "; ".join(problems),
        )

    def cost(self, amount: Amount) -> TurnCost | str:
        """What a turn takes; why it cannot be tried, where it cannot."""
        key = make_key({"what": amount.what, "given": as_json(amount.given, for_key=True)})
        if key not in self._costs:
            start = time.perf_counter()
            self._costs[key] = self._try(amount)
            self.budget -= time.perf_counter() - start
        return self._costs[key]

    def _turns(self, amount: Amount) -> float:
        """Turns that this process, or one of its workers, does one after the other."""
        own = amount.turns / self.bench.processes
        if amount.spread == "pool":
            return own / count_pool(self.bench.compute, self.bench.processes)
        return own / count_cores() if amount.spread == "threads" else own

    def _memory(self, amount: Amount, cost: TurnCost) -> float:
        if amount.spread == "threads":
            return amount.holds + count_cores() * cost.memory
        pool, loaders = count_pool(self.bench.compute, self.bench.processes), count_loaders(self.bench.compute.workers)
        workers = {"pool": pool if pool > 1 else 0, "loader": loaders}.get(amount.spread, 0)
        return amount.holds + (workers * (cost.memory + WORKER) if workers else cost.memory)

    def _try(self, amount: Amount) -> TurnCost | str:
        if amount.turns <= 0:
            return TurnCost(0.0, 0.0, 0.0, 0.0, 0.0)
        release_memory()
        self.bench.trial += 1
        before = resident_memory()
        forget_peak()
        self.bench.forget_gpu_peak()
        try:
            start = time.perf_counter()
            turn = amount.set_up(self.bench)
            self.bench.sync()
            begin = time.perf_counter() - start
            samples = cycle(self.bench.samples)
            first, part = self._time(turn, next(samples))
            written = self.bench.written() / part
            in_time, on_gpu = self.budget > begin + first, self.bench.device.type != "cpu"
            if in_time and (first <= SLOW or on_gpu):
                seconds = self._repeat(turn, samples)
            else:
                seconds = self._repeat(turn, samples, 1) if on_gpu else first / part
            if self.bench.largest and in_time:
                turn(self.bench.largest)
                self.bench.sync()
        except RecamError as error:
            return first_line(error)
        except Exception as error:  # a plan keeps no run from being begun: what fails here is reported with its stage
            return f"{type(error).__name__}: {first_line(error)}"
        return TurnCost(begin, seconds, max(0, peak_memory() - before) / part, self.bench.gpu_peak(), written)

    def _repeat(self, turn: Turn, samples: Iterator[Sample], most: int = MOST) -> float:
        """Seconds of a turn, the mean of some: images of other sizes take other times."""
        spent, done, count = 0.0, 0.0, 0
        while not count or (spent < EACH and count < most):
            seconds, part = self._time(turn, next(samples))
            spent, done, count = spent + seconds, done + part, count + 1
        return spent / done

    def _time(self, turn: Turn, sample: Sample) -> tuple[float, float]:
        """Seconds, and which part of a turn was done in them."""
        start = time.perf_counter()
        part = turn(sample)
        self.bench.sync()
        return time.perf_counter() - start, 1.0 if part is None else part
