"""The data set of a run: opened, checked once, without what cannot be used."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from recam.data.check import check
from recam.data.image_check import IMAGE_NOTES, as_range, describe_range
from recam.data.mask_check import UNSCORED
from recam.data.reading import ValueRange
from recam.data.roles import DataSettings, RunData
from recam.digests import FileDigests
from recam.engine.compute import ComputeSettings
from recam.engine.runner import Runner
from recam.errors import DataError, Problem, data_error
from recam.progress import Progress, log_line
from recam.recipe.recipe import Recipe
from recam.runfolder.integrity import discard_unfinished, refuse_changed, reopen_damaged
from recam.runfolder.records import read_problems
from recam.runfolder.store import CHECK, RunFolder, make_key, read_json, write_json

CHECK_VERSION = 4
"""Raised when the check reports other things of the same data."""


def open_data(recipe: Recipe, folder: RunFolder, accelerator: Accelerator, verify: bool) -> tuple[RunData, str]:
    """Open and check the data set; what the check found is kept by fingerprint, which is returned as well."""
    settings = recipe.section(DataSettings)
    catalog = settings.open()
    with accelerator.main_process_first():  # one reads the files, the others find what it has written down
        data = RunData(
            catalog, settings, digests=FileDigests(folder.root / "files.json"), quiet=not accelerator.is_main_process
        )
        with data.digests.collect() as files:
            for role in ("train", "score", "val", "unlabelled"):
                data.fingerprint(role)
        if accelerator.is_main_process:
            discard_unfinished(folder, data.digests, log_line)
            data.digests.save()
    parts = check_parts(data)
    splits = parts["splits"]
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
                settings=settings,
            )
        for kind in report.passed_over:
            log_line(f"passed over: {kind}")
        write_json(stage.path / "check.json", report.as_dict())
        refuse_changed(stage, data.digests, files)
        results = {"images": report.images, "problems": len(report.problems)}
        stage.finish({"seconds": time.monotonic() - start, "peak_memory_mb": 0.0, "results": results})
    accelerator.wait_for_everyone()
    problems = read_problems(stage.path / "check.json")
    if problems and settings.on_problems == "stop":
        raise _problems(problems)
    return apply_check(data, stage.path), stage.key


def check_parts(data: RunData) -> dict[str, Any]:
    """What the check of a data set depends on; its key is the hash of that."""
    catalog = data.catalog
    prints = {role: data.fingerprint(role) for role in ("train", "score", "val", "unlabelled")}
    splits = [split for split in dict.fromkeys(data.split(role) for role in ("train", "score", "val")) if split]
    # Lists and names, which no print holds; without the folder, so that a data set that was moved stays the same.
    reported = [(problem.kind, Path(problem.where).name) for problem in catalog.problems(splits)]
    parts = {"version": CHECK_VERSION, "splits": splits, "classes": catalog.classes.names, **prints}
    parts["bounded"] = data.settings.max_side is not None  # decides whether large photos are noted
    return {**parts, "reported": make_key({"problems": reported})}


def apply_check(data: RunData, folder: Path) -> RunData:
    """The data without what its check found damaged or without use; reported.

    Args:
        folder: of the finished check.
    """
    problems, found = read_problems(folder / "check.json"), read_json(folder / "check.json")
    catalog, splits = data.catalog, [data.split(role) for role in ("train", "score", "val")]
    bad = {problem.where for problem in problems}
    samples = [sample for split in dict.fromkeys(splits) if split for sample in catalog.samples(split)]
    samples += catalog.unlabelled()
    excluded = {s.id for s in samples if s.image.where in bad or (s.mask and s.mask.where in bad)}
    if excluded and not data.quiet:
        log_line(
            f"{len(excluded)} damaged images are left out (data.on_problems = skip); {folder / 'check.json'} names"
            " them."
        )
    unscored = {note["where"]: note["message"] for note in found["notes"] if note["kind"] == UNSCORED}
    for split, why in unscored.items() if not data.quiet else ():
        log_line(f"split {split} is not scored: {why}")
    for note in found["notes"] if not data.quiet else ():
        if note["kind"] in IMAGE_NOTES:
            log_line(note["message"])
    data = _keep_value_range(data, as_range(found["value_range"]))
    return replace(data, excluded=frozenset(excluded), unscored=frozenset(unscored))


def _keep_value_range(data: RunData, value_range: ValueRange | None) -> RunData:
    """The data read with the range of values that the check found, where there is one and the recipe has none."""
    if value_range is None or data.settings.value_range is not None:
        return data
    if not data.quiet:
        log_line(f"images of more than 8 bits: {describe_range(value_range)} become black to white (data.value_range)")
    settings = replace(data.settings, value_range=value_range)
    return replace(data, catalog=settings.open(), settings=settings)


def leave_out_unlabelled(data: RunData) -> RunData:
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


def _problems(problems: Sequence[Problem]) -> DataError:
    advice = "Fix them, or set data.on_problems=skip to leave out what is damaged."
    return DataError(f"{data_error(problems)}\n{advice}")
