"""Work on single images by actors of Ray: on this machine, or on the cluster that ``RAY_ADDRESS`` names.

Actors are handed a few images at a time. One that dies is started again by Ray, however often, and what it was doing is
handed out anew, image by image; so each image is done at least once, and since files are written whole or not at all,
and counts are taken once per portion, it counts exactly once. An image whose actor has died `LIVES` times while doing
that image alone is given up and reported.
"""

from __future__ import annotations

import os
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from recam.engine.tasks import Pace, timed
from recam.errors import DependencyError, RecipeError, StoreError, near_matches
from recam.progress import log_line

ENGINES = ("local", "ray")
LIVES = 5
"""Deaths of actors that one image may cause."""
ENDED = f"{LIVES} processes that worked on it alone were ended from outside, usually out of memory"
"""What is wrong with such an image."""
PATIENCE = 60.0
"""Seconds without any actor until it is reported that Ray has no place for one."""
_STORE = 256 * 2**20
"""Bytes of Ray's object store on this machine: tasks and counts are small."""


class PortionTask(Protocol):
    """Does a portion of items at a time; picklable."""

    def start(self) -> Callable[[Sequence[Any]], Any]:
        """Loads what the work needs, in the actor."""


@dataclass(frozen=True)
class Place:
    """Where the run works, for actors to work there too.

    Attributes:
        folder: the working folder, which relative paths begin at.
        modules: where Python looks for modules, such as a method of one's own beside the script.
    """

    folder: str
    modules: tuple[str, ...]

    @classmethod
    def here(cls) -> Place:
        """That of this process."""
        return cls(str(Path.cwd()), tuple(sys.path))

    def enter(self) -> None:
        """Raises `StoreError` where the folder is not there."""
        try:
            os.chdir(self.folder)
        except OSError as error:
            raise StoreError(
                f"{self.folder} is not there on {os.uname().nodename}: all machines of the cluster must see data, run"
                " folder and working folder under the same paths."
            ) from error
        sys.path += [path for path in self.modules if path not in sys.path]


@dataclass(frozen=True)
class Portion:
    """Result of some items.

    Attributes:
        indices: of the items.
        result: what the task returned; None where actors died of the single item.
    """

    indices: tuple[int, ...]
    result: Any


def require_ray() -> Any:
    """The package. Raises `DependencyError` where it is missing."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    try:
        import ray
    except ImportError as error:
        raise DependencyError("the engine ray needs the package ray: pip install 'recam[ray]'") from error
    return ray


class _Actor:
    """Keeps one task at a time, and what it has loaded."""

    def __init__(self) -> None:
        self._number, self._do = 0, None

    def ready(self) -> int:
        """Process id."""
        return os.getpid()

    def work(self, number: int, task: list[Any], place: Place, items: list[Any]) -> tuple[float, Any]:
        """Seconds, and the result of a portion. `task`: a reference to it, in a list, so that it is fetched once."""
        if number != self._number:
            self._do = None  # before another network takes its place
            place.enter()
            self._do = require_ray().get(task[0]).start()
            self._number = number
        assert self._do is not None
        return timed(self._do, items)


@dataclass
class Cluster:
    """The actors of a run, made when first needed and kept from one stage to the next.

    Args:
        actors: how many; 0: one per GPU, or per CPU.
    """

    actors: int = 0
    _kind: dict[str, float] = field(default_factory=dict)
    _crew: list[Any] = field(default_factory=list)
    _number: int = 0
    _begun: bool = False

    def each(self, task: PortionTask, items: Sequence[Any], on_gpu: bool) -> Iterator[Portion]:
        """Results of all items, portion by portion, in whatever order they come.

        Args:
            on_gpu: with a GPU each, where there are some.
        """
        if not items:
            return
        ray = self._connect()
        hire = self._hire(ray, on_gpu)
        self._number += 1
        call = partial(_submit, self._number, [ray.put(task)], Place.here())
        yield from _Round(ray, self._crew, call, hire, items).portions()

    def close(self) -> None:
        """Let the actors go, and Ray where it was started here."""
        if self._crew:
            _dismiss(require_ray(), self._crew)
            self._kind = {}
        if self._begun:
            require_ray().shutdown()
            self._begun = False

    def _connect(self) -> Any:
        ray = require_ray()
        if not ray.is_initialized():
            address = os.environ.get("RAY_ADDRESS")
            # Alone on this machine: reachable from nowhere else, and no page of its own.
            alone = {"include_dashboard": False, "object_store_memory": _STORE, "_node_ip_address": "127.0.0.1"}
            own: dict[str, Any] = {} if address else alone
            ray.init(address or "local", log_to_driver=False, logging_level="ERROR", **own)
            self._begun = True
        return ray

    def _hire(self, ray: Any, on_gpu: bool) -> Callable[[], Any]:
        """Have actors of the right kind. Returns what makes another one."""
        resources = ray.cluster_resources()
        cpus, gpus = float(resources.get("CPU", 1)), float(resources.get("GPU", 0)) if on_gpu else 0.0
        count = self.actors or int(gpus or cpus)
        places: dict[str, float] = {"num_cpus": _part(cpus, count), "num_gpus": _part(gpus, count)}
        kind = ray.remote(_Actor).options(**places, max_restarts=-1, max_task_retries=0)
        if self._kind != places:
            _dismiss(ray, self._crew)
            self._kind = places
        self._crew += [kind.remote() for _ in range(count - len(self._crew))]  # more where the cluster has grown
        return lambda: kind.remote()


def _part(of: float, count: int) -> float:
    """Each actor's part of a resource: at most 1, so that machines of any size have places."""
    return min(1.0, of / count)


def _dismiss(ray: Any, crew: list[Any]) -> None:
    while crew:
        ray.kill(crew.pop())


def _submit(number: int, task: list[Any], place: Place, actor: Any, items: list[Any]) -> Any:
    return actor.work.remote(number, task, place, items)


class _Round:
    """One task over all items: hands out portions to actors that are there, and anew what actors died of."""

    def __init__(
        self,
        ray: Any,
        crew: list[Any],
        call: Callable[[Any, list[Any]], Any],
        hire: Callable[[], Any],
        items: Sequence[Any],
    ) -> None:
        self._ray, self._crew, self._call, self._hire, self._items = ray, crew, call, hire, items
        self._pending, self._again = deque(range(len(items))), deque[int]()
        self._deaths: Counter[int] = Counter()
        self._unborn = 0
        self._pace = Pace(len(crew))
        self._idle: list[Any] = []
        self._running: dict[Any, tuple[Any, tuple[int, ...]]] = {}
        """By what will come: the actor, and the items that it does; none: it begins."""

    def portions(self) -> Iterator[Portion]:
        waited = 0.0
        for actor in self._crew:
            self._await(actor)
        while self._pending or self._again or self._works:
            came, _ = self._ray.wait(list(self._running), timeout=1.0)
            waited = 0.0 if came or self._works else waited + 1.0
            if waited == PATIENCE:
                log_line("Ray has had no place for an actor so far: `ray status` shows what is free. Still waiting.")
            for reference in came:
                yield from self._take(reference)
            while self._idle and (self._again or self._pending):
                self._hand_out(self._idle.pop())

    @property
    def _works(self) -> bool:
        return any(indices for _, indices in self._running.values())

    def _take(self, reference: Any) -> Iterator[Portion]:
        actor, indices = self._running.pop(reference)
        try:
            result = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            raise (error.cause if isinstance(error.cause, Exception) else error) from None
        except self._ray.exceptions.RayError as error:  # it died, and is started again; or what it returned is lost
            yield from self._lose(actor, indices, error)
            return
        self._idle.append(actor)
        self._unborn = 0
        if indices:
            seconds, made = result
            self._pace.note(len(indices), seconds)
            yield Portion(indices, made)

    def _lose(self, actor: Any, indices: tuple[int, ...], error: Exception) -> Iterator[Portion]:
        if not indices and isinstance(error, self._ray.exceptions.ActorDiedError):  # for good
            self._unborn += 1
            if self._unborn > LIVES * len(self._crew):
                raise StoreError(f"no actor of Ray can begin: {error}") from error
            position = self._crew.index(actor)
            self._crew[position] = actor = self._hire()
        self._await(actor)
        given_up: tuple[int, ...] = ()
        if len(indices) == 1:
            self._deaths.update(indices)
            given_up = indices if self._deaths[indices[0]] == LIVES else ()
        if given_up:
            yield Portion(given_up, None)
        else:
            self._again.extend(indices)

    def _await(self, actor: Any) -> None:
        self._running[actor.ready.remote()] = (actor, ())

    def _hand_out(self, actor: Any) -> None:
        if self._again:
            indices: tuple[int, ...] = (self._again.popleft(),)
        else:
            indices = tuple(self._pending.popleft() for _ in range(self._pace.size(len(self._pending))))
        self._running[self._call(actor, [self._items[index] for index in indices])] = (actor, indices)


@contextmanager
def open_cluster(engine: str, actors: int, processes: int = 1) -> Iterator[Cluster | None]:
    """Actors for the engine ``ray``, let go at the end; None for another.

    Raises:
        DependencyError: the package is missing.
        RecipeError: no such engine; or several processes would share one cluster.
    """
    if engine not in ENGINES:
        raise RecipeError(f"unknown engine {engine!r}.{near_matches(engine, ENGINES)}")
    if engine == "local":
        yield None
        return
    if processes > 1:
        raise RecipeError(
            "compute.engine = 'ray' spreads the images itself: begin the run without torchrun, or leave the engine at"
            " 'local' for torchrun to spread them."
        )
    require_ray()
    cluster = Cluster(actors)
    try:
        yield cluster
    finally:
        cluster.close()
