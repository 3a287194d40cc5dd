"""The command line: a table of library functions, without logic of its own."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from recam.errors import RecamError, RecipeError
from recam.progress import Progress, console

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="From image labels to segmentation masks."
)

Classes = Annotated[
    str | None,
    typer.Option(help='Keep just these: a,b,c, or a JSON list ["a, b", "c"]; the others become ignore in masks and no label.'),
]
export = typer.Typer(no_args_is_help=True, help="Networks and masks for other programs.")
app.add_typer(export, name="export")
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
DataSet = Annotated[str, typer.Argument(help="KIND:PATH, e.g. folder:photos, voc:VOCdevkit/VOC2012, coco:coco2014, scenes:")]


def _show(result: Any, as_json: bool = False) -> None:
    if os.environ.get("RANK", "0") != "0":  # of several processes that torchrun started, one speaks
        return
    print(json.dumps(result.as_dict(), indent=2) if as_json else result)


def _names(text: str | None) -> list[str] | None:
    """Names separated by commas, or a JSON list of them where a name holds a comma."""
    if text is None or not text.lstrip().startswith("["):
        return None if text is None else [name.strip() for name in text.split(",")]
    try:
        names = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RecipeError(f'--classes {text}: no JSON list ({error}). Write it as \'["bird, small", "cow"]\'.') from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RecipeError(f'--classes {text}: write a list of names, as \'["bird, small", "cow"]\'.')
    return names


def _numbers(text: str | None) -> list[float] | None:
    try:
        return None if text is None else [float(number) for number in text.split(",")]
    except ValueError as error:
        raise RecipeError(f"{text!r} is no list of numbers; write them as 0.75,1,1.25.") from error


def _counter(what: str, unit: str = "images") -> Any:
    """A progress callback (done, total) that opens its bar at the first call."""
    bar: list[Progress] = []

    def update(done: int, total: int) -> None:
        if not bar:
            bar.append(Progress(what, total, unit=unit).__enter__())
        bar[0].advance(done - bar[0].done)
        if done == total:
            bar[0].__exit__(None, None, None)

    return update


@app.command()
def run(
    data: Annotated[str | None, typer.Option(help="KIND:PATH of the data set; default: the recipe's own.")] = None,
    recipe: Annotated[str, typer.Option(help="Name of a recipe, or the path of a TOML file.")] = "recam",
    output: Annotated[Path, typer.Option("-o", "--output", help="The run folder, new or of an earlier run.")] = Path("runs/recam"),
    setting: Annotated[list[str] | None, typer.Option("--set", help="SECTION.FIELD=VALUE, as often as needed.")] = None,
    until: Annotated[
        str | None, typer.Option(help="Stop after these stages: classify, reactivate, seeds, refine, masks, segment or pictures.")
    ] = None,
    classes: Classes = None,
    as_json: AsJson = False,
) -> None:
    """Train, re-activate, make seeds and pseudo masks, train a segmentation model, score. Finished stages are skipped."""
    import recam

    settings = [*(setting or []), *([f"data.classes={json.dumps(_names(classes))}"] if classes else [])]
    _show(recam.run(data, recipe, output, settings, until), as_json)


@app.command()
def check(
    data: DataSet,
    classes: Classes = None,
    option: Annotated[list[str] | None, typer.Option(help="NAME=VALUE that this kind of data set takes, e.g. protocol=recam.")] = None,
    as_json: AsJson = False,
) -> None:
    """Tell everything that is wrong with a data set. Exit code 1 where something is."""
    import recam
    from recam.pipeline.recipe import parse_setting

    options = dict(parse_setting(text) for text in option or [])
    report = recam.check(data, classes=_names(classes), progress=_counter("check"), **options)
    _show(report, as_json)
    raise typer.Exit(0 if report.ok else 1)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, finished or not; several are shown side by side.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The HTML file; default: RUN/report/report.html, of several RUN/comparison/.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """One HTML file on what came out of a run, or of several side by side; figures as SVG, PNG and CSV beside it."""
    import recam

    _show(recam.write_report(runs, output), as_json)


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="A run folder, or a folder that `recam export model` wrote.")],
    images: Annotated[list[str], typer.Argument(help="Image files, folders, quoted patterns, or - for a list on standard input.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for masks and overlays.")],
    scales: Annotated[str | None, typer.Option(help="Factors at which each image is seen: 0.75,1,1.25; default: the run's own.")] = None,
    flip: Annotated[bool | None, typer.Option("--flip/--no-flip", help="See the mirror image too; default: the run's own.")] = None,
    window: Annotated[int | None, typer.Option(help="Side of a window that slides over larger images; 0: none.")] = None,
    refine: Annotated[str | None, typer.Option(help="none, crf or pamr: clean masks along edges; default: the run's own.")] = None,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Also write the probability of each class and pixel.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Make masks again that are there already.")] = False,
    onnx: Annotated[bool, typer.Option("--onnx", help="RUN holds exported networks: predict with onnxruntime, without PyTorch.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: AsJson = False,
) -> None:
    """Masks for new images, labels unknown. Finished ones are skipped. Exit code 1 where a file could not be read."""
    import recam

    report = recam.predict(
        run,
        images,
        output,
        _numbers(scales),
        flip,
        device,
        window=window,
        refine=cast(Any, refine),
        probabilities=probabilities,
        overwrite=overwrite,
        onnx=onnx or None,
    )
    _show(report, as_json)
    raise typer.Exit(1 if report.problems else 0)


@export.command("model")
def export_model(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the networks and their cards.")],
    as_json: AsJson = False,
) -> None:
    """Write classifier and segmentation model as ONNX, checked against PyTorch, each with a model card."""
    import recam

    _show(recam.export_model(run, output), as_json)


@export.command("masks")
def export_masks(
    source: Annotated[Path, typer.Argument(help="A run folder, or a folder of masks.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write to.")],
    to: Annotated[str, typer.Option(help="voc, coco, cvat or label-studio.")],
    images: Annotated[Path | None, typer.Option(help="Folder of the photos; a run knows its own.")] = None,
    classes: Annotated[Path | None, typer.Option(help="classes.txt; a run and a folder of recam predict know their own.")] = None,
    part: Annotated[str, typer.Option(help="Of a run: masks (pseudo masks) or predictions (of held-out images).")] = "masks",
    shapes: Annotated[str, typer.Option(help="rle or polygons.")] = "rle",
    simplify: Annotated[
        float, typer.Option(metavar="PIXELS", help="Polygons with fewer corners, their outlines moved by so many pixels at most; 0: exact.")
    ] = 0.0,
    copy_images: Annotated[bool, typer.Option("--copy-images", help="Put the photos beside.")] = False,
    ignore_as: Annotated[str | None, typer.Option(help="Make unsure pixels (255) a class of this name.")] = None,
    image_prefix: Annotated[str, typer.Option(help="What Label Studio's addresses of photos begin with.")] = "",
    as_json: AsJson = False,
) -> None:
    """Write masks as a VOC folder, as COCO JSON, or for import into CVAT or Label Studio."""
    import recam

    kind = cast(Any, shapes)
    words = {"images": images, "classes": classes, "part": part, "copy_images": copy_images, "ignore_as": ignore_as, "simplify": simplify}
    _show(recam.export_masks(source, output, to, shapes=kind, image_prefix=image_prefix, **cast(Any, words)), as_json)


@app.command()
def evaluate(
    masks: Annotated[Path, typer.Argument(help="Folder of predicted masks.")],
    truth: Annotated[Path, typer.Argument(help="Folder of true masks.")],
    classes: Annotated[Path | None, typer.Option(help="classes.txt, one name a line.")] = None,
    partial: Annotated[bool, typer.Option(help="Score the pairs that there are, where one folder holds more than the other.")] = False,
    per_image: Annotated[Path | None, typer.Option(metavar="FILE.csv", help="Also write a row an image to this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Score any two folders of masks."""
    import recam

    scores = recam.evaluate(masks, truth, classes, partial=partial, per_image=per_image, progress=_counter("evaluate"))
    _show(scores, as_json)


@app.command()
def download(
    name: Annotated[str, typer.Argument(help="voc2012 or coco2014.")],
    folder: Annotated[Path, typer.Argument(help="Where to put it.")],
) -> None:
    """Fetch a data set from its official address: checksummed, resumable."""
    import recam

    counters: dict[str, Any] = {}

    def update(what: str, done: int, total: int) -> None:
        counters.setdefault(what, _counter(what, "bytes"))(done, total)

    _show(recam.download(name, folder, progress=update))


@app.command()
def review(
    run: Annotated[Path, typer.Argument(help="A run folder, finished or half done.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of 127.0.0.1; 0 takes any that is free.")] = 8765,
    data: Annotated[str | None, typer.Option(help="KIND:PATH, where the data set has moved since the run.")] = None,
    export: Annotated[Path | None, typer.Option(help="Write what was decided to this new folder as a data set, and end.")] = None,
    link: Annotated[bool, typer.Option("--link", help="With --export: link to the photos instead of copying them.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="With --export: also open and rejected images, without masks.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look at masks, judge and mend them on a page in the browser; export them as a clean data set."""
    import recam

    if export:
        _show(recam.export_review(run, export, "link" if link else "copy", everything, data), as_json)
    else:
        recam.serve_review(run, port, data)


@app.command()
def recipes(name: Annotated[str | None, typer.Argument(help="Show all settings of this recipe.")] = None) -> None:
    """List the recipes that come with the package, or all settings of one."""
    from recam.pipeline.recipe import load_recipe, recipe_names

    if name:
        print(load_recipe(name).model_dump_json(indent=2))
    else:
        print("\n".join(f"{each:<16} {load_recipe(each).about}" for each in recipe_names()))


def main() -> None:
    """Entry point: a `RecamError` becomes its text and exit code 2."""
    # Threads of OpenMP that wait for work spin for a while, which doubles the time of a training where other programs want the cores.
    # A short spin costs an idle machine a tenth (docs/results.md). It counts when PyTorch is loaded, so not later than here.
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    try:
        app()
    except RecamError as error:
        console.print(f"[bold red]{type(error).__name__}[/bold red]: ", end="", highlight=False)
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
