"""Options that several commands share, and how their results are printed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from recam.recipe.toml import recipe_names

Classes = Annotated[
    str | None,
    typer.Option(
        help='Keep these classes only: a,b,c, or a JSON list ["a, b", "c"]; the others are ignored in masks, and no'
        " labels."
    ),
]
Workspace = Annotated[Path, typer.Argument(help="A run folder, or the folder that runs lie in.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
RecipeName = Annotated[
    str,
    typer.Option(autocompletion=recipe_names, help="Name of a recipe (`recam recipes` lists them), or a TOML file."),
]
RunPath = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="Run folder, new or of an earlier run; default: runs/ and the data's name."),
]
Setting = Annotated[list[str] | None, typer.Option("--set", help="SECTION.FIELD=VALUE; may be repeated.")]
Until = Annotated[
    str | None, typer.Option(help="Stop after these stages: train, maps, refine, masks, segment or pictures.")
]
Shard = Annotated[
    str | None,
    typer.Option(metavar="I/N", help="Do share I of N of the images, from 1; one such command for each, anywhere."),
]
DataSet = Annotated[
    str, typer.Argument(help="KIND:PATH, e.g. folder:photos, voc:VOCdevkit/VOC2012, coco:coco2014, scenes:")
]


def show(result: Any, as_json: bool = False) -> None:
    """Print a result as text, or as JSON; in one process alone."""
    if os.environ.get("RANK", "0") != "0":  # of several processes that torchrun started, one speaks
        return
    print(json.dumps(result.as_dict(), indent=2) if as_json else result)
