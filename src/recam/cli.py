"""The command line: a table of library functions, without logic of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from recam.cli_export import export_commands
from recam.cli_options import AsJson, Classes, DataSet, RecipeName, RunPath, Setting, Shard, Until, Workspace, show
from recam.option_values import data_options, parse_names, parse_numbers, parse_seeds, with_options
from recam.outcome import run_command
from recam.progress import counter
from recam.recipe.toml import read_tree, recipe_names
from recam.recipes import NAME

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="From image labels to segmentation masks.",
)

app.add_typer(export_commands, name="export")


def _print_version(wanted: bool) -> None:
    if wanted:
        from recam import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options before the command."""


@app.command()
def run(
    data: Annotated[str | None, typer.Option(help="KIND:PATH of the data set; default: the recipe's own.")] = None,
    recipe: RecipeName = NAME,
    output: RunPath = None,
    setting: Setting = None,
    until: Until = None,
    classes: Classes = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare files of finished stages with their hashes, not just their sizes.")
    ] = False,
    log: Annotated[
        list[str] | None,
        typer.Option(help="tensorboard, wandb (offline), wandb-online or mlflow: also log there; may be repeated."),
    ] = None,
    shard: Shard = None,
    as_json: AsJson = False,
) -> None:
    """Train a classifier, make class maps and pseudo masks, train a segmentation model; skips finished stages."""
    import recam

    show(recam.run(data, recipe, output, with_options(setting, classes, log), until, verify, shard=shard), as_json)


@app.command()
def demo(
    kind: Annotated[
        str, typer.Argument(help="scenes: animals and vehicles; surfaces: metal and tiles with defects.")
    ] = "scenes",
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Run folder, new or of an earlier run; default: runs/demo[-surfaces]."),
    ] = None,
    setting: Setting = None,
    as_json: AsJson = False,
) -> None:
    """Try all of it on built-in pictures, without data of your own: under an hour on two cores."""
    import recam

    show(recam.run_demo(output, setting or [], cast(Any, kind)), as_json)


@app.command()
def plan(
    data: Annotated[str | None, typer.Argument(help="KIND:PATH of the data set; default: the recipe's own.")] = None,
    recipe: RecipeName = NAME,
    output: RunPath = None,
    setting: Setting = None,
    until: Until = None,
    classes: Classes = None,
    write: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="Write the plan to this new file, as a recipe.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Report what a run would do, with which settings and why, how long, in how much memory. Exit code 1 if it cannot
    begin."""
    import recam

    planned = recam.plan(data, recipe, output, with_options(setting, classes), until, write)
    show(planned, as_json)
    raise typer.Exit(0 if planned.ok else 1)


@app.command()
def bench(
    data: Annotated[
        str | None, typer.Argument(help="KIND:PATH of a data set; default: built-in scenes of 500 pixels.")
    ] = None,
    recipe: RecipeName = "recam",
    setting: Setting = None,
    images: Annotated[
        float | None, typer.Option("--plan", metavar="N", help="Also plan for so many images, e.g. 1e8.")
    ] = None,
    machines: Annotated[int, typer.Option(help="With --plan: machines like this one that share them.")] = 1,
    price: Annotated[float | None, typer.Option(help="With --plan: of a machine for an hour.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure what each stage costs per image on this machine: images/s, memory, disk; and what N images would take."""
    import recam

    show(recam.run_benchmark(data, recipe, setting or [], images, machines, price), as_json)


@app.command()
def check(
    data: DataSet,
    classes: Classes = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option",
            "--set",
            help="NAME=VALUE, an option of this kind of data set, also as data.NAME=VALUE; may be repeated.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Report everything that is wrong with a data set. Exit code 1 if anything is."""
    import recam
    from recam.recipe.toml import parse_setting

    options = data_options(parse_setting(text) for text in option or [])
    report = recam.check(data, classes=parse_names(classes), progress=counter("check"), **options)
    show(report, as_json)
    raise typer.Exit(0 if report.ok else 1)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, finished or not; several are compared.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="HTML file; default: RUN/report/report.html, for several runs RUN/comparison/."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write an HTML report of a run, or a comparison of several; figures as SVG, PNG and CSV beside it."""
    import recam

    show(recam.write_report(runs, output), as_json)


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="A run folder, or a folder that `recam export model` wrote.")],
    images: Annotated[
        list[str], typer.Argument(help="Image files, folders, quoted patterns, or - for a list on standard input.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for masks and overlays.")],
    scales: Annotated[
        str | None, typer.Option(help="Test-time scales, e.g. 0.75,1,1.25; default: the run's own.")
    ] = None,
    flip: Annotated[
        bool | None, typer.Option("--flip/--no-flip", help="Horizontal-flip TTA; default: the run's own.")
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(help="Side (pixels) of a window that slides over larger images, 0: none; default: the run's own."),
    ] = None,
    refine: Annotated[
        str | None, typer.Option(help="Refine masks along image edges: none, crf or pamr; default: the run's own.")
    ] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also write per-pixel class probabilities.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace masks that are there already.")] = False,
    onnx: Annotated[
        bool, typer.Option("--onnx", help="RUN holds exported networks: predict with onnxruntime, without PyTorch.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    shard: Shard = None,
    engine: Annotated[str, typer.Option(help="local, or ray: actors on this machine or a cluster do it.")] = "local",
    actors: Annotated[int, typer.Option(min=0, help="Ray's actors; 0: one per GPU, or per CPU.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Predict masks of new images; skips finished ones. Exit code 1 if any file cannot be read."""
    import recam

    report = recam.predict(
        run,
        images,
        output,
        parse_numbers(scales),
        flip,
        device,
        window=window,
        refine=cast(Any, refine),
        probabilities=probabilities,
        overwrite=overwrite,
        onnx=onnx or None,
        shard=shard,
        engine=cast(Any, engine),
        actors=actors,
    )
    show(report, as_json)
    raise typer.Exit(1 if report.problems else 0)


@app.command()
def evaluate(
    masks: Annotated[Path, typer.Argument(help="Folder of predicted masks.")],
    truth: Annotated[Path, typer.Argument(help="Folder of true masks.")],
    classes: Annotated[Path | None, typer.Option(help="classes.txt, one name per line.")] = None,
    partial: Annotated[
        bool, typer.Option(help="Score the masks that both folders hold, and ignore the others.")
    ] = False,
    per_image: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Also write one row per image to this file.")
    ] = None,
    background: Annotated[
        bool,
        typer.Option("--background/--no-background", help="Without one, 0 in true masks is a pixel nobody has named."),
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Score a folder of predicted masks against true masks: per-class IoU, mIoU, boundary IoU."""
    import recam

    options = {"partial": partial, "per_image": per_image, "background": background}
    show(recam.evaluate(masks, truth, classes, progress=counter("evaluate"), **cast(Any, options)), as_json)


@app.command()
def download(
    name: Annotated[str, typer.Argument(help="voc2012 or coco2014.")],
    folder: Annotated[Path, typer.Argument(help="Where to put it.")],
) -> None:
    """Download a data set from its official address, with checksums. To resume, run the same command."""
    import recam

    counters: dict[str, Any] = {}

    def update(what: str, done: int, total: int) -> None:
        counters.setdefault(what, counter(what, "bytes"))(done, total)

    show(recam.download(name, folder, progress=update))


@app.command()
def review(
    run: Annotated[Path, typer.Argument(help="A run folder, finished or not.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0: any that is free.")] = 8765,
    data: Annotated[str | None, typer.Option(help="KIND:PATH of the data set, if it has moved since the run.")] = None,
    export: Annotated[
        Path | None, typer.Option(help="Write the reviewed masks to this new folder as a data set, and exit.")
    ] = None,
    link: Annotated[
        bool, typer.Option("--link", help="With --export: link to the photos instead of copying them.")
    ] = False,
    everything: Annotated[
        bool,
        typer.Option("--all", help="With --export: also undecided and rejected images, without masks."),
    ] = False,
    retrain: Annotated[
        bool,
        typer.Option(
            "--retrain", help="Train the run's segmentation model on masks that people changed, else on pseudo masks."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Review masks on a page in the browser: accept, reject or edit them, and export a clean data set."""
    import recam

    if retrain:
        show(recam.retrain(run, data), as_json)
    elif export:
        show(recam.export_review(run, export, "link" if link else "copy", everything, data), as_json)
    else:
        recam.serve_review(run, port, data)


@app.command()
def runs(folder: Workspace = Path("runs"), as_json: AsJson = False) -> None:
    """List runs: data, class maps, mIoU, minutes, size on disk."""
    import recam

    show(recam.list_runs(folder), as_json)


@app.command()
def status(
    run: Annotated[Path, typer.Argument(help="A run folder, also one that another process is working in.")],
    as_json: AsJson = False,
) -> None:
    """Show how far a run is: its stages, what it works on now, and the time left."""
    import recam

    show(recam.read_status(run), as_json)


@app.command()
def clean(
    folder: Workspace = Path("runs"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only report what would be removed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove stages of earlier settings, and what killed processes left half written."""
    import recam

    show(recam.clean_runs(folder, dry_run), as_json)


@app.command()
def study(
    name: Annotated[str | None, typer.Argument(help="A study; without a name all are listed.")] = None,
    data: Annotated[str | None, typer.Option(help="KIND:PATH of the data set; default: the recipe's own.")] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder of studies, which share the runs in it.")
    ] = Path("studies"),
    seeds: Annotated[str, typer.Option(help="How many seeds per row, as 3, or which, as 0,1,2.")] = "1",
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="SECTION.FIELD=VALUE, laid over every row; may be repeated.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(autocompletion=recipe_names, help="What every row starts from, instead of the study's own."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a table and figure of the paper, or of your own: rows × seeds; runs what is missing of it."""
    import recam

    if name is None:
        show(recam.list_studies(), as_json)
    else:
        show(recam.run_study(name, data, output, parse_seeds(seeds), setting or [], recipe), as_json)


@app.command()
def recipes(
    name: Annotated[
        str | None, typer.Argument(autocompletion=recipe_names, help="Show all settings of this recipe.")
    ] = None,
) -> None:
    """List the recipes that come with the package, or all settings of one."""
    if name:
        from recam.recipe.recipe import load_recipe

        print(json.dumps(load_recipe(name).as_dict(), indent=2))
    else:
        # Read and not assembled, which would take the packages of all methods: seconds, for a list.
        print("\n".join(f"{each:<16} {read_tree(each)['about']}" for each in recipe_names()))


def main() -> None:
    """Entry point: runs the command, whatever way it ends; see `recam.outcome.run_command`."""
    run_command(app)
