"""The commands below ``recam export``: networks and masks for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from recam.cli_options import AsJson, show

export_commands = typer.Typer(no_args_is_help=True, help="Networks and masks for other programs.")


@export_commands.command("model")
def export_model(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the networks and their cards.")],
    as_json: AsJson = False,
) -> None:
    """Export classifier and segmentation model to ONNX, checked against PyTorch, each with a model card."""
    import recam

    show(recam.export_model(run, output), as_json)


@export_commands.command("masks")
def export_masks(
    source: Annotated[Path, typer.Argument(help="A run folder, or a folder of masks.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write to.")],
    to: Annotated[
        str, typer.Option(help="voc, coco, yolo, cvat, label-studio, fiftyone, or the format of another package.")
    ],
    images: Annotated[Path | None, typer.Option(help="Folder of the photos; default for a run: its own.")] = None,
    classes: Annotated[
        Path | None,
        typer.Option(help="classes.txt, one name per line; not needed for a run or predictions."),
    ] = None,
    part: Annotated[
        str, typer.Option(help="Which masks of a run: masks (pseudo masks) or predictions (of held-out images).")
    ] = "masks",
    shapes: Annotated[
        str | None, typer.Option(help="rle or polygons; default: rle, and polygons where the format has no other.")
    ] = None,
    simplify: Annotated[
        float,
        typer.Option(metavar="PIXELS", help="Simplify polygons: outlines move by at most so many pixels; 0: exact."),
    ] = 0.0,
    copy_images: Annotated[bool, typer.Option("--copy-images", help="Copy the photos into the output folder.")] = False,
    ignore_as: Annotated[str | None, typer.Option(help="Make ignore pixels (255) a class of this name.")] = None,
    image_prefix: Annotated[str, typer.Option(help="Prefix of the photos' addresses in Label Studio.")] = "",
    as_json: AsJson = False,
) -> None:
    """Write masks as a VOC folder, COCO JSON, YOLO's labels, or for import into CVAT, Label Studio or FiftyOne."""
    import recam

    kind = cast(Any, shapes)
    options: dict[str, Any] = {"images": images, "classes": classes, "part": part, "copy_images": copy_images}
    options |= {"ignore_as": ignore_as, "simplify": simplify}
    show(recam.export_masks(source, output, to, shapes=kind, image_prefix=image_prefix, **options), as_json)
