"""All of it on the built-in scenes, for somebody who has installed the package and has no data yet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recam.pipeline.run import run
from recam.recipes import NAME
from recam.runfolder.summary import RunSummary

SCENES = "data.options={size = 224, train = 240, val = 60}"
"""As many scenes as two cores do within an hour."""


def run_demo(output: str | Path = "runs/demo", settings: Sequence[str] = ()) -> RunSummary:
    """The default recipe on 240 drawn scenes, 60 more held out: a run like any other; see `recam.run`.

    Args:
        output: the run folder, new or of an earlier run.
        settings: laid over it, as ``["data.options={size = 96, train = 24, val = 8}"]``.

    Raises:
        RecamError: as `recam.run`.
    """
    return run("scenes:", NAME, output, [SCENES, *settings])
