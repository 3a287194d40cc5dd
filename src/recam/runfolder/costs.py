"""What scored maps and masks cost: the cumulative compute time of all their upstream stages, in minutes and in units of
the first maps' cost, as Table 2 counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from recam.runfolder.kinds import CLASSIFIER, MAP_SCORES

Records = Mapping[str, Mapping[str, Any]]
"""Record of each finished stage by name; see `recam.runfolder.store`."""


def upstream_minutes(records: Records, scores_stage: str) -> float | None:
    """Cumulative compute time (minutes) of the maps or masks that a stage scored, its own work left out.

    Returns:
        None where an upstream stage is missing, was resumed (what it took before is not known), or did not record what
        it read.
    """
    return _minutes(records, list(upstream_stages(records, scores_stage)))


def cumulative_minutes(records: Records, stage: str) -> float | None:
    """Compute time (minutes) of a stage and of all that it builds on; None as `upstream_minutes`."""
    return _minutes(records, [stage, *upstream_stages(records, stage)])


def cost_in_units(records: Records, scores_stage: str) -> float | None:
    """The same in units of what the maps of `baseline_stage` cost; None where either is not known."""
    first = baseline_stage(records)
    own, unit = upstream_minutes(records, scores_stage), first and upstream_minutes(records, first)
    return own / unit if own is not None and unit else None


def baseline_stage(records: Records) -> str | None:
    """The stage that scored the first maps, neither refined nor made by a map maker, of a training that starts from no
    other: what scores and costs of a run are compared with. None where there is none, e.g. with external maps alone."""
    from_none = {
        label.get("training")
        for label in map(_label, records.values())
        if label.get("kind") == CLASSIFIER and not label.get("base")
    }
    for name, label in ((name, _label(record)) for name, record in records.items()):
        is_plain = label.get("kind") == MAP_SCORES and not (label.get("refiner") or label.get("maker"))
        if is_plain and label.get("training") in from_none:
            return name
    return None


def _minutes(records: Records, stages: Sequence[str]) -> float | None:
    known = [records[name] for name in stages if name in records]
    if not stages or len(known) < len(stages) or any(record.get("resumed") for record in known):
        return None
    return float(sum(record["seconds"] for record in known)) / 60


def _label(record: Mapping[str, Any]) -> Mapping[str, Any]:
    label: Mapping[str, Any] = record.get("label", {})
    return label


def upstream_stages(records: Records, stage: str) -> Iterator[str]:
    """Names of all stages that a stage builds on, each once."""
    found: dict[str, None] = {}
    waiting = [stage]
    while waiting:
        inputs = records.get(waiting.pop(), {}).get("inputs", {}).get("inputs", {})
        fresh = [name for name in inputs if name not in found]
        found |= dict.fromkeys(fresh)
        waiting += fresh
    yield from found
