"""What scored maps and masks cost: each training and each map behind them, in minutes and in units of CAM's, as Table 2
counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Records = Mapping[str, Mapping[str, Any]]
"""Record of each finished stage by name; see `recam.runfolder.store`."""


def upstream_minutes(records: Records, scores_stage: str) -> float | None:
    """Cumulative compute time (minutes) of the maps or masks that a stage scored, its own work left out.

    Returns:
        None where a stage behind them is not there, was resumed (what it took before is not known), or did not write
        down what it read.
    """
    upstream = list(upstream_stages(records, scores_stage))
    known = [records[name] for name in upstream if name in records]
    if not upstream or len(known) < len(upstream) or any(record.get("resumed") for record in known):
        return None
    return float(sum(record["seconds"] for record in known)) / 60


def cost_in_units(records: Records, scores_stage: str) -> float | None:
    """The same in units of what the first maps cost that no other training comes before (CAM's); None where either is
    not known."""
    first = next((name for name, record in records.items() if _is_unit(records, record)), None)
    own, unit = upstream_minutes(records, scores_stage), first and upstream_minutes(records, first)
    return own / unit if own is not None and unit else None


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


def _is_unit(records: Records, record: Mapping[str, Any]) -> bool:
    label = record.get("label", {})
    if label.get("kind") != "scores of maps" or "refiner" in label:
        return False
    return not records.get(f"train/{label.get('training')}", {}).get("label", {}).get("base")
