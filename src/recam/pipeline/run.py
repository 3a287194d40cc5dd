"""A run: every stage of the recipe, in order, each made once, skipped when it is up to date, resumed when it was cut
short."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from recam.crash_log import run_folder
from recam.data.image_sizes import read_sizes
from recam.data.roles import RunData
from recam.engine.cluster import open_cluster
from recam.engine.compute import ComputeSettings, make_accelerator
from recam.engine.machine import read_machine
from recam.engine.runner import Runner
from recam.engine.shares import TURN, OthersMissing, Share, refuse_torchrun
from recam.engine.stage import Planned, key_stages
from recam.engine.trackers import open_trackers
from recam.engine.work import refuse_unguarded
from recam.events import Caller, Event
from recam.files import write_bytes
from recam.pipeline.choice import (
    choose,
    find_decision,
    first_candidate,
    report_choice,
    stages_for,
    try_candidates,
)
from recam.pipeline.chosen_settings import Choice, choose_settings
from recam.pipeline.plan import Plan, check_group, make_plan, stages_until
from recam.pipeline.planning import (
    Forecaster,
    as_opened,
    default_output,
    find_states,
    keep_plan,
    read_settings,
)
from recam.pipeline.run_data import leave_out_unlabelled, open_data
from recam.pipeline.run_plan import RunPlan, write_recipe
from recam.pipeline.stages.predict import inference_settings, map_inference_settings
from recam.progress import log_line
from recam.recipe.recipe import Recipe
from recam.recipe.toml import flatten
from recam.recipes import NAME
from recam.runfolder.integrity import discard_unfinished
from recam.runfolder.journal import keep_journal
from recam.runfolder.lock import hold_lock
from recam.runfolder.reports import reports
from recam.runfolder.store import CHECK, FORMAT, RunFolder, read_json, write_json
from recam.runfolder.summary import RunSummary, read_planned, summarise
from recam.settings import as_json

RECIPE = "recipe.toml"
"""The settings in force as a recipe, to repeat the run elsewhere."""
PACKAGES = ("recam", "torch", "torchvision", "timm", "segmentation-models-pytorch", "accelerate", "numpy", "pillow")


def run(
    data: str | None = None,
    recipe: str | Path | Mapping[str, Any] | Recipe = NAME,
    output: str | Path | None = None,
    settings: Mapping[str, Any] | Sequence[str] = (),
    until: str | None = None,
    verify: bool = False,
    progress: Callable[[Event], object] | None = None,
    shard: str | None = None,
) -> RunSummary:
    """Photos with image labels in; class maps, pseudo masks, a segmentation model and scores out.

    Args:
        data: KIND:PATH; None takes the recipe's own.
        recipe: name, TOML file, sections as a dictionary, or a `Recipe`.
        output: the run folder, new or of an earlier run; what is up to date there, or in another run beside it, is not
            made again. None: ``runs/`` and the name of the data set's folder.
        settings: single settings laid over the recipe, ``{"cam.epochs": 3}`` or ``["cam.epochs=3"]``.
        until: stop after this group of stages, e.g. ``"maps"``.
        verify: read all files of finished stages and compare them with their hashes; else their sizes and times are
            trusted.
        progress: called with each `Event`: progress, losses and scores, messages. What it raises ends the run, which
            can be resumed.
        shard: ``I/N``, to do every N-th image of the stages that work image by image, from the I-th on, and what else
            no other process is at: N such calls, on machines that see the folder, do all. Each ends when what is left
            needs the others, and the one that ends last with a stage joins it; see docs/scale.md.

    Returns:
        Scores and costs of all finished stages; also written to ``summary.json`` and ``summary.txt``.

    Raises:
        RecipeError, DataError, WeightsError, StoreError: before any training, wherever that can be known. A `DataError`
            also at the end of a stage whose input files changed while it ran.
    """
    refuse_unguarded()
    part = Share.parse(shard) if shard else None
    recipe = read_settings(data, recipe, settings)
    check_group(until)
    folder = RunFolder(output or default_output(recipe))
    run_folder.set(folder.root)
    try:
        return _run(recipe, folder, until, verify, progress, part)
    except OthersMissing as missing:
        log_line(f"share {part} is done. What is left, for the same commands when all shares have ended:\n{missing}")
        done = tuple(folder.done_stages())
        return summarise(folder, done, (), done, shared=True)


def _run(
    recipe: Recipe,
    folder: RunFolder,
    until: str | None,
    verify: bool,
    progress: Callable[[Event], object] | None,
    part: Share | None,
) -> RunSummary:
    compute = recipe.section(ComputeSettings)
    accelerator = make_accelerator(compute)
    refuse_torchrun(part, accelerator.num_processes)
    callers = [Caller(progress)] if progress else []
    speaks = accelerator.is_main_process and part is None  # of processes that share a run none writes its journal
    named = compute.log if speaks else ()
    with (
        folder.lock(shared=part is not None) if accelerator.is_main_process else nullcontext(),
        open_trackers(named, folder.root, flatten(recipe.as_dict())) as trackers,
        keep_journal(folder.root, *callers, *trackers) if speaks else nullcontext() as journal,
        open_cluster(compute.engine, compute.actors, accelerator.num_processes) as cluster,
    ):
        with hold_lock(folder.root, TURN, waits=True) if part else nullcontext():
            run_data, checked = open_data(recipe, folder, accelerator, verify)
        run_data = leave_out_unlabelled(run_data)
        machine, sizes = read_machine(accelerator, folder.root), read_sizes(run_data.train)
        recipe, choices = choose_settings(recipe, run_data, sizes, machine)
        recipe = as_opened(recipe, run_data)
        runner = Runner(folder, run_data, accelerator, compute, verify, journal, cluster, part)
        if accelerator.is_main_process:
            discard_unfinished(folder, run_data.digests, log_line)
        trial = first_candidate(recipe, run_data)
        forecaster = Forecaster(trial, run_data, sizes, accelerator, machine)
        keyed = _key_plan(trial, run_data, until)
        # What is planned before the choice is planned with the first candidate.
        foreseen = _foresee(forecaster, choices, runner, keyed) if _is_undecided(trial, runner, keyed) else None
        _expect(runner, keyed)
        recipe, tried = _choose_training(trial, runner, keyed, until)
        if recipe is not trial:
            forecaster.recipe, keyed = recipe, _key_plan(recipe, run_data, until)
        foreseen = foreseen or _foresee(forecaster, choices, runner, keyed)
        planned, wanted = keyed.planned, keyed.wanted
        runner.rehearse(planned, runner.pending(planned, wanted))
        if accelerator.is_main_process:
            run_data.digests.save()
            _write_settings(folder, recipe, keyed)
            with hold_lock(folder.root, TURN, waits=True) if part else nullcontext():
                folder.link_stages({CHECK: checked, **{name: each.key for name, each in planned.items()}})
            if foreseen:
                keep_plan(folder, foreseen, find_states(planned, wanted, folder))
        _expect(runner, keyed)
        made = [*tried, *runner.run(planned, wanted)]
        current = tuple(name for name in planned if folder.at(name, planned[name].key).is_done)
        summary = summarise(folder, current, tuple(made), tuple(name for name in wanted if name not in made))
        if accelerator.is_main_process:
            _write_summary(folder, summary)
            if compute.report:
                _write_reports(folder)
    return summary


@dataclass(frozen=True)
class _KeyedPlan:
    """A plan with the key of each stage; made once per recipe, since all external maps are read for it.

    Attributes:
        plan: the stages in order.
        planned: all of them with their keys, by name.
        wanted: names of those up to ``--until``.
    """

    plan: Plan
    planned: Mapping[str, Planned]
    wanted: Sequence[str]


def _key_plan(recipe: Recipe, data: RunData, until: str | None) -> _KeyedPlan:
    plan = make_plan(recipe, data)
    wanted = [stage.name for stage in stages_until(plan.stages, until)]
    return _KeyedPlan(plan, key_stages(plan.stages, data), wanted)


def _is_undecided(trial: Recipe, runner: Runner, keyed: _KeyedPlan) -> bool:
    """Whether candidates are still to be tried."""
    return bool(trial.candidates) and find_decision(trial, keyed.plan, keyed.planned, runner.folder) is None


def _foresee(forecaster: Forecaster, choices: Sequence[Choice], runner: Runner, keyed: _KeyedPlan) -> RunPlan | None:
    """What the run will do and take, printed before it begins; None where nothing is to be made or nobody wants it."""
    planned, wanted = keyed.planned, keyed.wanted
    pending = runner.pending(planned, wanted)
    if not pending or not runner.compute.forecast or runner.part:
        return None
    runner.rehearse(planned, pending)
    foreseen = None
    if runner.is_main:
        states = find_states(planned, wanted, runner.folder)
        foreseen = forecaster.plan([planned[name].stage for name in wanted], states, choices, runner.folder.root)
        log_line(foreseen.short)
        keep_plan(runner.folder, foreseen, states)
    runner.accelerator.wait_for_everyone()
    return foreseen


def _expect(runner: Runner, keyed: _KeyedPlan) -> None:
    """Report to the journal which stages are to be made, and how long they were planned to take."""
    if not runner.journal:
        return
    minutes = read_planned(runner.folder)
    keys = {name: keyed.planned[name].key for name in keyed.wanted}
    found = {name: minutes.get((name, key)) for name, key in keys.items() if not runner.folder.find(name, key)}
    runner.journal.expect({name: None if each is None else 60 * each for name, each in found.items()})


def _choose_training(trial: Recipe, runner: Runner, keyed: _KeyedPlan, until: str | None) -> tuple[Recipe, list[str]]:
    """The recipe with the training that was chosen from its candidates, and the names of the stages that were made for
    it; `trial` itself where there are no candidates, or where the run stops before there are masks."""
    names = trial.candidates
    if not names or until in ("train", "maps"):
        return trial, []
    plan, planned = keyed.plan, keyed.planned
    wanted = {name: stages_for(plan, planned, name) for name in names}
    union = [name for name in planned if any(name in each for each in wanted.values())]
    runner.rehearse(planned, runner.pending(planned, union))
    if runner.is_main:
        runner.data.digests.save()
        _write_settings(runner.folder, trial, keyed)
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


def _write_settings(folder: RunFolder, recipe: Recipe, keyed: _KeyedPlan) -> None:
    """``run.json``: the settings in force, and all that readers of the run need to know of it without the pipeline."""
    plan = keyed.plan
    stages = {name: {"key": each.key, "label": dict(each.stage.label)} for name, each in keyed.planned.items()}
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
    text = write_recipe(recipe).encode()
    if not (path := folder.root / RECIPE).is_file() or path.read_bytes() != text:
        write_bytes(path, text)


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
