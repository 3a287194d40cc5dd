"""All of it on built-in pictures, for somebody who has installed the package and has no data yet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from recam.errors import RecipeError, near_matches
from recam.pipeline.run import run
from recam.recipes import NAME
from recam.runfolder.summary import RunSummary

DRAWN = {"scenes": "runs/demo", "surfaces": "runs/demo-surfaces"}
"""Data sets that are drawn, and where their runs lie."""
PICTURES = "data.options={size = 224, train = 240, val = 60}"
"""As many pictures as two cores do within an hour."""


def run_demo(
    output: str | Path | None = None, settings: Sequence[str] = (), kind: Literal["scenes", "surfaces"] = "scenes"
) -> RunSummary:
    """The default recipe on 240 drawn pictures, 60 more held out: a run like any other; see `recam.run`.

    Args:
        output: the run folder, new or of an earlier run; None: ``runs/demo``, of surfaces ``runs/demo-surfaces``.
        settings: laid over it, as ``["data.options={size = 96, train = 24, val = 8}"]``.
        kind: ``scenes``, animals and vehicles in landscapes, or ``surfaces``, metal and tiles with defects.

    Raises:
        RecamError: as `recam.run`.
    """
    if kind not in DRAWN:
        raise RecipeError(f"there is no demo {kind!r}.{near_matches(kind, DRAWN)}")
    place = output if output is not None else DRAWN[kind]
    return run(f"{kind}:", NAME, place, [PICTURES, *settings])
