"""A run: every stage of the recipe, in order, each made once, skipped when it is up to date, resumed when it was cut
short."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from recam.data.check import check
from recam.data.mask_check import UNSCORED
from recam.data.roles import DataSettings, RunData
from recam.digests import FileDigests
from recam.engine.compute import ComputeSettings, make_accelerator
from recam.engine.runner import Runner
from recam.engine.stage import Planned, key_stages
from recam.engine.work import refuse_unguarded
from recam.errors import DataError, Problem, RecipeError, data_error
from recam.files import write_bytes
from recam.pipeline.choice import candidates_of, choose, report_choice, stages_for, try_candidates
from recam.pipeline.plan import Plan, check_group, make_plan, stages_until
from recam.pipeline.stages.segment import inference_settings, map_inference_settings
from recam.progress import Progress, log_line
from recam.recipe.recipe import Recipe, load_recipe
from recam.recipe.toml import parse_setting
from recam.recipes import NAME
from recam.runfolder.integrity import discard_unfinished, refuse_changed, reopen_damaged
from recam.runfolder.records import read_problems
from recam.runfolder.reports import reports
from recam.runfolder.store import CHECK, FORMAT, RunFolder, make_key, read_json, write_json
from recam.runfolder.summary import RunSummary, summarise
from recam.settings import as_json

PACKAGES = ("recam", "torch", "torchvision", "timm", "segmentation-models-pytorch", "accelerate", "numpy", "pillow")
CHECK_VERSION = 3
"""Raised when the check reports other things of the same data."""


def run(
    data: str | None = None,
    recipe: str | Path | Mapping[str, Any] | Recipe = NAME,
    output: str | Path = "runs/recam",
    settings: Mapping[str, Any] | Sequence[str] = (),
    until: str | None = None,
    verify: bool = False,
) -> RunSummary:
    """Photos with image labels in; class maps, pseudo masks, a segmentation model and scores out.

    Args:
        data: KIND:PATH; None takes the recipe's own.
        recipe: name, TOML file, sections as a dictionary, or a `Recipe`.
        output: the run folder, new or of an earlier run; what is up to date there, or in another run beside it, is not
            made again.
        settings: single settings laid over the recipe, ``{"cam.epochs": 3}`` or ``["cam.epochs=3"]``.
        until: stop after this group of stages, e.g. ``"maps"``.
        verify: read all files of finished stages and compare them with their hashes; else their sizes and times are
            trusted.

    Returns:
        Scores and costs of all finished stages; also written to ``summary.json`` and ``summary.txt``.

    Raises:
        RecipeError, DataError, WeightsError, StoreError: before any training, wherever that can be known. A `DataError`
            also at the end of a stage whose input files changed while it ran.
    """
    refuse_unguarded()
    recipe = load_recipe(recipe, {**({"data.location": data} if data is not None else {}), **_as_mapping(settings)})
    if not recipe.section(DataSettings).location:
        raise RecipeError(
            "no data set is named: give --data KIND:PATH, e.g. --data folder:photos, or data.location in the recipe."
        )
    check_group(until)
    compute = recipe.section(ComputeSettings)
    accelerator = make_accelerator(compute)
    folder = RunFolder(output)
    with folder.lock() if accelerator.is_main_process else nullcontext():
        run_data, checked = _open_data(recipe, folder, accelerator, verify)
        run_data = _leave_out_unlabelled(run_data)
        # As it is recorded, for whoever opens the data set after the run.
        recipe = recipe.model_copy(update={"data": run_data.settings})
        runner = Runner(folder, run_data, accelerator, compute, verify)
        if accelerator.is_main_process:
            discard_unfinished(folder, run_data.digests, log_line)
        recipe, tried = _choose_training(recipe, runner, until)
        plan = make_plan(recipe, run_data)
        planned = key_stages(plan.stages, run_data)
        wanted = [stage.name for stage in stages_until(plan.stages, until)]
        runner.rehearse(planned, runner.pending(planned, wanted))
        if accelerator.is_main_process:
            run_data.digests.save()
            _write_settings(folder, recipe, plan, planned)
            folder.link_stages({CHECK: checked, **{name: each.key for name, each in planned.items()}})
        made = [*tried, *runner.run(planned, wanted)]
        current = tuple(name for name in planned if folder.at(name, planned[name].key).is_done)
        summary = summarise(folder, current, tuple(made), tuple(name for name in wanted if name not in made))
        if accelerator.is_main_process:
            _write_summary(folder, summary)
            if compute.report:
                _write_reports(folder)
    return summary


def _choose_training(recipe: Recipe, runner: Runner, until: str | None) -> tuple[Recipe, list[str]]:
    """The recipe with the training that was chosen from its candidates, and the names of the stages that were made for
    it. Nothing is chosen where the run stops before there are masks."""
    if not recipe.candidates:
        return recipe, []
    names = candidates_of(recipe, runner.data)
    trial = recipe.model_copy(update={"training": names[0], "candidates": names})
    if until in ("train", "maps"):
        return trial, []
    plan = make_plan(trial, runner.data)
    planned = key_stages(plan.stages, runner.data)
    wanted = {name: stages_for(plan, planned, name) for name in names}
    union = [name for name in planned if any(name in each for each in wanted.values())]
    runner.rehearse(planned, runner.pending(planned, union))
    if runner.is_main:
        runner.data.digests.save()
        _write_settings(runner.folder, trial, plan, planned)
    made: list[str] = []
    tried = try_candidates(
        names,
        plan,
        trial,
        wanted,
        lambda stages: made.extend(runner.run(planned, stages)),
        lambda name: runner.folder.at(name, planned[name].key).record["results"],
    )
    chosen = choose(tried)
    if runner.is_main:
        report_choice(tried, chosen)
    left = tuple(each.name for each in tried)
    return trial.model_copy(update={"training": chosen.name, "candidates": left}), made


def _as_mapping(settings: Mapping[str, Any] | Sequence[str]) -> dict[str, Any]:
    return dict(settings) if isinstance(settings, Mapping) else dict(parse_setting(text) for text in settings)


def _open_data(recipe: Recipe, folder: RunFolder, accelerator: Accelerator, verify: bool) -> tuple[RunData, str]:
    """Open and check the data set; what the check found is kept by fingerprint, which is returned as well."""
    settings = recipe.section(DataSettings)
    catalog = settings.open()
    with accelerator.main_process_first():  # one reads the files, the others find what it has written down
        data = RunData(
            catalog, settings, digests=FileDigests(folder.root / "files.json"), quiet=not accelerator.is_main_process
        )
        with data.digests.collect() as files:
            prints = {role: data.fingerprint(role) for role in ("train", "score", "val", "unlabelled")}
        if accelerator.is_main_process:
            discard_unfinished(folder, data.digests, log_line)
            data.digests.save()
    splits = [split for split in dict.fromkeys(data.split(role) for role in ("train", "score", "val")) if split]
    # Lists and names, which no print holds; without the folder, so that a data set that was moved stays the same.
    reported = [(problem.kind, Path(problem.where).name) for problem in catalog.problems(splits)]
    parts = {"version": CHECK_VERSION, "splits": splits, "classes": catalog.classes.names, **prints}
    parts["reported"] = make_key({"problems": reported})
    runner = Runner(folder, data, accelerator, recipe.section(ComputeSettings))
    if accelerator.is_main_process:
        reopen_damaged(folder, {CHECK: make_key(parts)}, verify, log_line)
    stage = runner.open(CHECK, make_key(parts))
    if not stage.is_done and accelerator.is_main_process:
        stage.begin({"inputs": parts, "label": {"title": "check"}})
        start = time.monotonic()
        checked = {s.id for split in splits for s in catalog.samples(split)} | {s.id for s in catalog.unlabelled()}
        with Progress("check", len(checked)) as progress:
            report = check(
                catalog,
                splits,
                progress=lambda done, total: progress.advance(done - progress.done),
                roles=settings.roles(catalog),
            )
        for kind in report.passed_over:
            log_line(f"passed over: {kind}")
        write_json(stage.path / "check.json", report.as_dict())
        refuse_changed(stage, data.digests, files)
        results = {"images": report.images, "problems": len(report.problems)}
        stage.finish({"seconds": time.monotonic() - start, "peak_memory_mb": 0.0, "results": results})
    accelerator.wait_for_everyone()
    problems, found = read_problems(stage.path / "check.json"), read_json(stage.path / "check.json")
    if problems and settings.on_problems == "stop":
        raise _problems(problems)
    bad = {problem.where for problem in problems}
    samples = [*(sample for split in splits for sample in catalog.samples(split)), *catalog.unlabelled()]
    excluded = {s.id for s in samples if s.image.where in bad or (s.mask and s.mask.where in bad)}
    if excluded:
        log_line(
            f"{len(excluded)} damaged images are left out (data.on_problems = skip); {stage.path / 'check.json'} names"
            " them."
        )
    unscored = {note["where"]: note["message"] for note in found["notes"] if note["kind"] == UNSCORED}
    for split, why in unscored.items():
        log_line(f"split {split} is not scored: {why}")
    return replace(data, excluded=frozenset(excluded), unscored=frozenset(unscored)), stage.key


def _leave_out_unlabelled(data: RunData) -> RunData:
    """The data without the classes that no training image is labelled with, of which nothing can be learned: ignore in
    masks, no label."""
    names = data.catalog.classes.names
    shown = {label for sample in data.train for label in sample.labels}
    left_out = tuple(name for index, name in enumerate(names) if index not in shown)
    if not left_out or not shown:
        return data
    if not data.quiet:
        log_line(
            f"no image of the split {data.split('train')} is labelled {', '.join(left_out)}: not learned, and ignore"
            " in true masks."
        )
    settings = replace(data.settings, classes=tuple(name for name in names if name not in left_out))
    return replace(data, catalog=settings.open(), settings=settings, left_out=left_out)


def _write_settings(folder: RunFolder, recipe: Recipe, plan: Plan, planned: Mapping[str, Planned]) -> None:
    """``run.json``: the settings in force, and all that readers of the run need to know of it without the pipeline."""
    stages = {name: {"key": each.key, "label": dict(each.stage.label)} for name, each in planned.items()}
    content = {
        "format": FORMAT,
        "recipe": recipe.as_dict(),
        "packages": {package: version(package) for package in PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "stages": stages,
        "models": {
            "classifier": plan.classifier,
            "seeds": {"stage": plan.seeds.folder.stage, "scores": plan.seeds.scores, **plan.seeds.label()},
            "maps": {"stage": plan.maps.folder.stage, "scores": plan.maps.scores, **plan.maps.label()},
            "inference": as_json(inference_settings(recipe)),
            "map_inference": as_json(map_inference_settings(recipe)),
        },
    }
    path = folder.root / "run.json"
    if not path.is_file() or read_json(path) != json.loads(json.dumps(content, default=str)):
        write_json(path, content)


def _write_summary(folder: RunFolder, summary: RunSummary) -> None:
    texts = {"summary.json": json.dumps(summary.as_dict(), indent=2, allow_nan=False), "summary.txt": summary.table}
    for name, text in texts.items():
        path, content = folder.root / name, f"{text}\n".encode()
        if not path.is_file() or path.read_bytes() != content:
            write_bytes(path, content)


def _write_reports(folder: RunFolder) -> None:
    """What fails of them is reported and loses nothing: the run is complete without."""
    try:
        for write in reports.values():
            write(folder)
    except Exception as error:
        log_line(
            f"The report could not be written ({type(error).__name__}: {error}). `recam report {folder.root}` tries"
            " again."
        )


def _problems(problems: Sequence[Problem]) -> DataError:
    advice = "Fix them, or set data.on_problems=skip to leave out what is damaged."
    return DataError(f"{data_error(problems)}\n{advice}")
