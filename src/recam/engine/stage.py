"""What a stage is: what it makes, and exactly the object that its result depends on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from recam.data.roles import Role, RunData
from recam.engine.amount import Amount
from recam.engine.work import Work
from recam.runfolder.store import make_key
from recam.runfolder.supervision import in_order
from recam.settings import as_json

Make = Callable[[Any, Work], dict[str, Any]]
Amounts = Callable[[Any, RunData], Sequence[Amount]]


@dataclass(frozen=True)
class Stage:
    """One step of a run.

    Attributes:
        name: also its folder, e.g. ``maps/cam``.
        group: what ``--until`` names.
        make: called with `given` and a `Work`; does the work, resuming from what the folder holds; returns results
            (JSON-ready).
        given: all settings that the result depends on, and nothing else; its hash is a part of the key.
        needs: names of the stages it reads.
        roles: roles whose data it reads.
        version: raised when the code changes what comes out.
        supervision: what people supplied for its results, beyond that of the stages it needs, e.g. ``image labels``.
        label: what readers of the run show of it, written into ``stage.json``: title, kind, threshold, ….
        files: absolute paths of input files that `given` was made from, beside those of its roles.
        amounts: called with `given` and the data; how much work it is, see `recam.engine.amount`. None: not known.
        shared: its function begins with `Work.each`, and takes long for nothing else: several processes that share
            nothing but the folder may each do a part of it.
        rehearse: raises one of our errors where it cannot work here, such as for weights out of reach; called before
            anything is made.
    """

    name: str
    group: str
    make: Make
    given: Any = None
    needs: tuple[str, ...] = ()
    roles: tuple[Role, ...] = ()
    version: int = 1
    supervision: tuple[str, ...] = ()
    label: Mapping[str, Any] = field(default_factory=dict)
    files: frozenset[str] = frozenset()
    rehearse: Callable[[RunData], object] | None = None
    amounts: Amounts | None = None
    shared: bool = False


@dataclass(frozen=True)
class Planned:
    """A stage with its key.

    Attributes:
        parts: what the key is the hash of.
        supervision: of the stage and of all that it builds on.
        files: absolute paths of the input files that it reads.
    """

    stage: Stage
    key: str
    parts: Mapping[str, Any]
    supervision: tuple[str, ...]
    files: frozenset[str]


def key_stages(stages: Sequence[Stage], data: RunData) -> dict[str, Planned]:
    """By name, every stage with all that its result depends on. Stages stand after those that they need."""
    planned: dict[str, Planned] = {}
    for stage in stages:
        with data.digests.collect() as files:
            parts = {
                "stage": stage.name,
                "version": stage.version,
                "given": as_json(stage.given, for_key=True),
                "inputs": {name: planned[name].key for name in stage.needs},
                "data": {role: data.fingerprint(role) for role in stage.roles},
                "classes": list(data.catalog.classes.names),
            }
            if not data.catalog.classes.background:
                parts["background"] = False
        before = (word for name in stage.needs for word in planned[name].supervision)
        supervision = in_order((*before, *stage.supervision))
        planned[stage.name] = Planned(stage, make_key(parts), parts, supervision, stage.files | files)
    return planned


def unique(stages: Iterable[Stage]) -> tuple[Stage, ...]:
    """Stages in order, each name once: what several need is made once."""
    found: dict[str, Stage] = {}
    for stage in stages:
        found.setdefault(stage.name, stage)
    return tuple(found.values())
