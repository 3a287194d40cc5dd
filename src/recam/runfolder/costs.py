"""What scored maps and masks cost: each training and each map behind them, in minutes and in units of CAM's, as Table 2 counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

CAM_SCORES = "scores/cam"
"""The stage whose maps are the unit."""

MAPS = ("seeds/", "refined/")
"""What the names of stages that make maps begin with."""

Records = Mapping[str, Mapping[str, Any]]
"""Record of each finished stage by name; see `recam.runfolder.store`."""


def minutes_behind(records: Records, scores_stage: str) -> float | None:
    """Minutes of wall time behind the maps or masks that a stage scored, its own work left out.

    Trainings and what prepares them count as they were. Maps count for as many images as the largest set of them holds, at the speed
    measured: a chain that was made to compare holds the scored images only, and would look cheaper than it is.

    Returns:
        None where a stage behind them is not there, was resumed (what it took before is not known), or did not write down what it read.
    """
    behind = list(_behind(records, scores_stage))
    known = [records[name] for name in behind if name in records]
    if not behind or len(known) < len(behind) or any(record.get("resumed") for record in known):
        return None
    made = {name: records[name]["results"]["images"] for name in behind if name.startswith(MAPS)}
    whole = max(made.values(), default=0)
    seconds = sum(records[name]["seconds"] * (whole / made[name] if made.get(name) else 1) for name in behind)
    return float(seconds) / 60


def cost_in_cams(records: Records, scores_stage: str) -> float | None:
    """The same in units of what CAM's maps cost; None where either is not known."""
    own, cam = minutes_behind(records, scores_stage), minutes_behind(records, CAM_SCORES)
    return own / cam if own is not None and cam else None


def _behind(records: Records, stage: str) -> Iterator[str]:
    """Names of all stages that a stage builds on, each once."""
    found: dict[str, None] = {}
    waiting = [stage]
    while waiting:
        inputs = records.get(waiting.pop(), {}).get("inputs", {}).get("inputs", {})
        fresh = [name for name in inputs if name not in found]
        found |= dict.fromkeys(fresh)
        waiting += fresh
    yield from found
