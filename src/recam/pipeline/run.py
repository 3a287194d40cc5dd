"""A run: every stage that the recipe asks for, in order, each made once, skipped when it is up to date, resumed when it was cut short."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs

from recam.data.catalog import Roles, open_catalog
from recam.data.check import check
from recam.data.mask_check import UNSCORED
from recam.digests import FileDigests
from recam.errors import DataError, Problem, RecipeError, data_error, near_matches
from recam.files import write_bytes
from recam.pipeline.given import check_given
from recam.pipeline.integrity import discard_unfinished, refuse_changed, reopen_damaged
from recam.pipeline.memory import release_memory
from recam.pipeline.recipe import Recipe, load_recipe
from recam.pipeline.records import read_problems
from recam.pipeline.refine_stages import chain_problems
from recam.pipeline.refiners.irn import is_network_stage
from recam.pipeline.saliency import saliency_problems
from recam.pipeline.settings import CLASSIFIER
from recam.pipeline.stages import check_group, list_stages, stages_until
from recam.pipeline.store import RunFolder, StageFolder, make_key, read_json, write_json
from recam.pipeline.summary import RunSummary, summarise
from recam.pipeline.trained import build_segmenter, make_classifier, make_irnet
from recam.pipeline.windows import make_refinement
from recam.pipeline.work import RunData, Stage, Work, refuse_unguarded
from recam.progress import Progress, console

PACKAGES = ("recam", "torch", "torchvision", "timm", "segmentation-models-pytorch", "accelerate", "numpy", "pillow")
CHECK_VERSION = 2
"""Raised when the check reports other things of the same data."""


def run(
    data: str | None = None,
    recipe: str | Path | Mapping[str, Any] | Recipe = "recam",
    output: str | Path = "runs/recam",
    settings: Mapping[str, Any] | Sequence[str] = (),
    until: str | None = None,
    verify: bool = False,
) -> RunSummary:
    """Photos with image labels in; seeds, pseudo masks, a segmentation model and scores out.

    Args:
        data: KIND:PATH; None takes the recipe's own.
        recipe: name, TOML file, sections as a dictionary, or a `Recipe`.
        output: the run folder, new or of an earlier run; what is up to date there is not made again.
        settings: single settings laid over the recipe, ``{"classify.epochs": 3}`` or ``["classify.epochs=3"]``.
        until: stop after this group of stages, e.g. ``"seeds"``.
        verify: read all files of finished stages and compare them with their hashes; else their sizes and times are trusted.

    Returns:
        Scores and costs of all finished stages; also written to ``summary.json`` and ``summary.txt``.

    Raises:
        RecipeError, DataError, WeightsError, StoreError: before any training, wherever that can be known. A `DataError` also
            at the end of a stage whose input files changed while it ran.
    """
    refuse_unguarded()
    recipe = _settle(recipe, settings, data)
    check_group(until)
    accelerator = _make_accelerator(recipe)
    folder = RunFolder(output)
    with folder.lock() if accelerator.is_main_process else nullcontext():
        run_data = _leave_out_unlabelled(_open_data(recipe, folder, accelerator, verify))
        recipe = recipe.model_copy(update={"data": run_data.settings})  # as it is recorded, for whoever opens the data set after the run
        if recipe.seeds.source:
            check_given(recipe, run_data)
        _refuse_unfit(recipe, run_data)
        every = [stage for stage in list_stages(recipe) if stage.wanted(recipe, run_data)]
        plan, files = _plan(every, recipe, run_data)
        supervision = _supervision(every, recipe)
        wanted = stages_until(tuple(every), until)
        if accelerator.is_main_process:
            discard_unfinished(folder, run_data.digests, _say)
            reopen_damaged(folder, {stage.name: make_key(plan[stage.name]) for stage in wanted}, verify, _say)
        accelerator.wait_for_everyone()
        pending = [stage for stage in wanted if not _is_done(folder, stage, recipe, run_data, make_key(plan[stage.name]))]
        _refuse_early(recipe, run_data, {stage.name for stage in pending})
        if accelerator.is_main_process:
            run_data.digests.save()
            _write_settings(folder, recipe, {name: make_key(parts) for name, parts in plan.items()})
        made = []
        folders: dict[str, StageFolder] = {}
        for stage in wanted:
            parts = plan[stage.name]
            folders[stage.name] = _open_stage(folder, stage.name, make_key(parts), accelerator)
            done = folders[stage.name].is_done and stage.holds_enough(recipe, run_data, folders[stage.name].record["results"])
            accelerator.wait_for_everyone()  # before one of them writes another record, all have read this one
            if not done:
                made.append(stage.name)
                inputs = {name: folders[name] for name in (*stage.needs, *stage.reads) if name in folders}
                work = Work(recipe, run_data, folders[stage.name], inputs, accelerator)
                _make(stage, work, parts, supervision[stage.name], set().union(*(files[name] for name in (stage.name, *inputs))))
        skipped = tuple(stage.name for stage in wanted if stage.name not in made)
        # Later stages that other settings had made are no part of this result.
        keys = {name: make_key(parts) for name, parts in plan.items()}
        current = tuple(name for name, key in keys.items() if StageFolder(name, folder.root / name, key).is_done)
        summary = summarise(folder, current, tuple(made), skipped)
        if accelerator.is_main_process:
            _write_summary(folder, summary)
            if recipe.compute.report:
                _write_report(folder, summary, keys)
    return summary


def _settle(recipe: str | Path | Mapping[str, Any] | Recipe, settings: Mapping[str, Any] | Sequence[str], data: str | None) -> Recipe:
    tree = recipe.model_dump() if isinstance(recipe, Recipe) else recipe
    settled = load_recipe(tree, settings)
    if data is not None:
        settled = settled.model_copy(update={"data": settled.data.model_copy(update={"location": data})})
    if not settled.data.location:
        raise RecipeError("no data set is named: give --data KIND:PATH, e.g. --data folder:photos, or data.location in the recipe.")
    return settled


def _make_accelerator(recipe: Recipe) -> Accelerator:
    settings = recipe.compute
    on_gpu = settings.device == "auto" and torch.cuda.is_available()
    precision = settings.precision
    if precision == "auto":
        precision = "no" if not on_gpu else ("bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16")
    # Accelerate keeps one state a process; a second run with another precision must not inherit the first one's.
    AcceleratorState._reset_state(reset_partial_state=False)
    # Shares of the images differ by hours in AdvCAM, and one process checks the data while the others wait.
    patience = InitProcessGroupKwargs(timeout=timedelta(days=7))
    return Accelerator(cpu=not on_gpu, mixed_precision=precision, kwargs_handlers=[patience])


def _open_data(recipe: Recipe, folder: RunFolder, accelerator: Accelerator, verify: bool) -> RunData:
    """Open and check the data set; what the check found is kept by fingerprint."""
    settings = recipe.data
    catalog = open_catalog(settings.location, settings.classes, **settings.options)
    with accelerator.main_process_first():  # one reads the files, the others find what it has written down
        data = RunData(catalog, settings, digests=FileDigests(folder.root / "files.json"), quiet=not accelerator.is_main_process)
        with data.digests.collect() as files:
            prints = {role: data.fingerprint(role) for role in ("train", "score", "val")}
        if accelerator.is_main_process:
            discard_unfinished(folder, data.digests, _say)
            data.digests.save()
    splits = [split for split in dict.fromkeys(data.split(role) for role in ("train", "score", "val")) if split]
    parts = {"version": CHECK_VERSION, "splits": splits, "classes": catalog.classes.names, **prints}
    if accelerator.is_main_process:
        reopen_damaged(folder, {"check": make_key(parts)}, verify, _say)
    stage = _open_stage(folder, "check", make_key(parts), accelerator)
    if not stage.is_done and accelerator.is_main_process:
        stage.begin({"inputs": parts})
        start = time.monotonic()
        with Progress("check", len({s.id for split in splits for s in catalog.samples(split)})) as progress:
            roles = Roles(train=data.split("train"), score=data.split("score"), val=data.split("val"))
            report = check(catalog, splits, progress=lambda done, total: progress.advance(done - progress.done), roles=roles)
        for kind in report.passed_over:
            console.print(f"passed over: {kind}", markup=False, highlight=False)
        write_json(stage.path / "check.json", report.as_dict())
        refuse_changed(stage, data.digests, files)
        stage.finish({"seconds": time.monotonic() - start, "results": {"images": report.images, "problems": len(report.problems)}})
    accelerator.wait_for_everyone()
    problems, found = read_problems(stage.path / "check.json"), read_json(stage.path / "check.json")
    if problems and settings.on_problems == "stop":
        raise _problems(problems)
    bad = {problem.where for problem in problems}
    samples = [sample for split in splits for sample in catalog.samples(split)]
    excluded = {s.id for s in samples if s.image.where in bad or (s.mask and s.mask.where in bad)}
    if excluded:
        console.print(f"{len(excluded)} damaged images are left out (data.on_problems = skip); {stage.path / 'check.json'} names them.")
    unscored = {note["where"]: note["message"] for note in found["notes"] if note["kind"] == UNSCORED}
    for split, why in unscored.items():
        console.print(f"split {split} is not scored: {why}", markup=False, highlight=False)
    return replace(data, excluded=frozenset(excluded), unscored=frozenset(unscored))


def _leave_out_unlabelled(data: RunData) -> RunData:
    """The data without the classes that no training image is labelled with, of which nothing can be learned: ignore in masks, no label."""
    names = data.catalog.classes.names
    shown = {label for sample in data.train for label in sample.labels}
    left_out = tuple(name for index, name in enumerate(names) if index not in shown)
    if not left_out or not shown:
        return data
    if not data.quiet:
        told = f"no image of the split {data.split('train')} is labelled {', '.join(left_out)}: not learned, and ignore in true masks."
        console.print(told, markup=False, highlight=False)
    settings = data.settings.model_copy(update={"classes": tuple(name for name in names if name not in left_out)})
    catalog = open_catalog(settings.location, settings.classes, **settings.options)
    return replace(data, catalog=catalog, settings=settings, left_out=left_out)


def _plan(wanted: Sequence[Stage], recipe: Recipe, data: RunData) -> tuple[dict[str, dict[str, Any]], dict[str, set[str]]]:
    """By stage, all that its result depends on, whose hash is its key; and the input files that this was found out from."""
    plan: dict[str, dict[str, Any]] = {}
    files: dict[str, set[str]] = {}
    for stage in wanted:
        with data.digests.collect() as files[stage.name]:
            plan[stage.name] = {
                "stage": stage.name,
                "version": stage.version,
                "settings": stage.settings(recipe, data),
                "inputs": {name: make_key(plan[name]) for name in stage.needs if name in plan},
                "data": {role: data.fingerprint(role) for role in stage.roles},
                "classes": data.catalog.classes.names,
            }
    return plan, files


def _supervision(wanted: Sequence[Stage], recipe: Recipe) -> dict[str, list[str]]:
    """By stage, what people had to say for its results: its own, and that of all that it is made from."""
    told: dict[str, list[str]] = {}
    for stage in wanted:
        before = (word for name in stage.needs for word in told.get(name, ()))
        told[stage.name] = list(dict.fromkeys((*before, *stage.supervision(recipe))))
    return told


def _is_done(folder: RunFolder, stage: Stage, recipe: Recipe, data: RunData, key: str) -> bool:
    places = (folder.root / stage.name, folder.root / "old" / stage.name / key)
    found = (StageFolder(stage.name, path, key) for path in places)
    return any(each.is_done and stage.holds_enough(recipe, data, each.record["results"]) for each in found)


def _open_stage(folder: RunFolder, name: str, key: str, accelerator: Accelerator) -> StageFolder:
    """One process moves folders, the others look when it has; none looks at a folder that is being moved."""
    accelerator.wait_for_everyone()
    stage = folder.open_stage(name, key) if accelerator.is_main_process else StageFolder(name, folder.root / name, key)
    accelerator.wait_for_everyone()
    return stage


def _refuse_unfit(recipe: Recipe, data: RunData) -> None:
    """Raises `RecipeError` with all that this data set or machine, or the recipe itself, has against refiners and saliency maps."""
    problems = [*chain_problems(recipe, data), *saliency_problems(recipe, data)]
    if problems:
        raise RecipeError("the recipe cannot be followed:\n" + "\n".join(f"  {problem}" for problem in problems))


def _refuse_early(recipe: Recipe, data: RunData, pending: set[str]) -> None:
    """Build each network that is still to be trained, so that an unknown name or weights out of reach stop the run now, not in hours."""
    n_classes = len(data.catalog.classes)
    for name in recipe.masks.class_thresholds:
        if name not in data.catalog.classes and name not in data.left_out:
            raise RecipeError(f"masks.class_thresholds: there is no class {name!r}.{near_matches(name, data.catalog.classes.names)}")
    if "reactivate" in pending and n_classes == 1 and not recipe.reactivate.background_logit:
        raise RecipeError(
            "with a single class ReCAM's softmax loss is always 0. Set reactivate.background_logit = true, or reactivate.enabled = false."
        )
    if recipe.classify.loss != "bce" and n_classes == 1 and "classify" in pending:
        raise RecipeError(f"with a single class the loss {recipe.classify.loss!r} is always 0. Set classify.loss = 'bce'.")
    if pending & {"features", "classify"}:
        if not any(sample.labels for sample in data.train):
            raise DataError(f"no image of the split {data.split('train')!r} has a label, so there is nothing to learn.")
        make_classifier(recipe.backbone, n_classes, second_head=False)
    elif recipe.irn.weights == "backbone" and any(is_network_stage(name) for name in pending):
        make_irnet(recipe.backbone, recipe.irn.displacement)
    if any(name.startswith("predictions/") for name in pending):
        make_refinement(recipe.predict.refine)
    if pending & {"segment/pseudo", "segment/truth"}:
        if recipe.segment.validate_epochs and not data.val:
            raise RecipeError("segment.validate_epochs needs true masks of a held-out split. Name one as data.val, or set it to 0.")
        build_segmenter(recipe.segment, n_classes, "none" if recipe.segment.weights == CLASSIFIER else recipe.segment.weights)


def _make(stage: Stage, work: Work, parts: Mapping[str, Any], supervision: Sequence[str], files: Iterable[str]) -> None:
    from recam.pipeline.measure import Measure

    resumed = bool(work.folder.record)
    if work.accelerator.is_main_process:
        console.print(f"[bold]{stage.name}[/bold]" + (" goes on where it was" if resumed else ""), highlight=False)
        work.folder.begin({"inputs": dict(parts), "resumed": resumed, "supervision": list(supervision)})
    work.accelerator.wait_for_everyone()
    with Measure() as cost:
        results = stage.make(work)
        work.accelerator.wait_for_everyone()
    release_memory()
    if work.accelerator.is_main_process:
        refuse_changed(work.folder, work.data.digests, files)
        costs = {"seconds": cost.seconds, "peak_memory_mb": cost.peak_memory_mb, "peak_gpu_mb": cost.peak_gpu_mb}
        work.folder.finish({**costs, "processes": work.accelerator.num_processes, "results": results})
    work.accelerator.wait_for_everyone()


def _write_settings(folder: RunFolder, recipe: Recipe, keys: Mapping[str, str]) -> None:
    packages = {package: version(package) for package in PACKAGES}
    content = {
        "recipe": recipe.model_dump(mode="json"),
        "packages": packages,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "stages": dict(keys),
    }
    path = folder.root / "run.json"
    if not path.is_file() or read_json(path) != content:
        write_json(path, content)


def _write_summary(folder: RunFolder, summary: RunSummary) -> None:
    told = {"summary.json": json.dumps(summary.as_dict(), indent=2, allow_nan=False), "summary.txt": summary.table}
    for name, text in told.items():
        path, content = folder.root / name, f"{text}\n".encode()
        if not path.is_file() or path.read_bytes() != content:
            write_bytes(path, content)


def _write_report(folder: RunFolder, summary: RunSummary, keys: Mapping[str, str]) -> None:
    """The report, where anything in it has changed. What it fails of is told and loses nothing: the run is complete without."""
    shown = {name: [keys[name], record["seconds"]] for name, record in summary.records.items()}
    try:
        from recam.report.page import NAME, VERSION, write_report

        stage = folder.open_stage("report", make_key({"version": VERSION, "stages": shown, "asked": list(keys)}))
        reopen_damaged(folder, {stage.name: stage.key}, False, _say)
        if stage.is_done:
            return
        start = time.monotonic()
        stage.begin({"resumed": False})
        write_report(folder.root, stage.path / NAME)
        stage.finish({"seconds": time.monotonic() - start, "results": {}})
    except Exception as error:
        told = f"The report could not be written ({type(error).__name__}: {error}). `recam report {folder.root}` tries again."
        _say(told)


def _say(text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _problems(problems: Sequence[Problem]) -> DataError:
    advice = "Fix them, or set data.on_problems=skip to leave out what is damaged."
    return DataError(f"{data_error(problems)}\n{advice}")
