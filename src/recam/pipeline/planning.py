"""What a run will do and take on this machine, found out without doing it: stages, choices and their reasons, minutes,
memory and disk of each stage, and what to look out for.

Minutes come from a trial: each stage describes its work (`recam.engine.amount`), a turn or a few of each are done on
images of the data set with networks that have learned nothing, for some seconds in all, and multiplied. Nothing of that
is kept outside the run folder, so each plan tries anew.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from recam.data.check import look_at
from recam.data.image_sizes import ImageSizes, read_sizes
from recam.data.roles import DataSettings, RunData
from recam.digests import FileDigests
from recam.engine.amount import Amount, Turn
from recam.engine.bench import Bench
from recam.engine.compute import ComputeSettings, make_accelerator
from recam.engine.forecast import Trials
from recam.engine.machine import Machine, read_machine
from recam.engine.memory import loaded_set_aside, resident_memory
from recam.engine.stage import Planned, Stage, key_stages
from recam.errors import RecamError, RecipeError, StoreError
from recam.files import checked_path, write_bytes
from recam.pipeline.choice import find_decision, first_candidate
from recam.pipeline.chosen_settings import Choice, background_choices, choose_settings, machine_choices, weights_choices
from recam.pipeline.plan import check_group, make_plan, stages_until
from recam.pipeline.preflight import find_warnings
from recam.pipeline.run_data import apply_check, check_parts, leave_out_unlabelled
from recam.pipeline.run_plan import DONE, NEW, RESUMES, RunPlan, StagePlan, write_recipe
from recam.recipe.recipe import Recipe, load_recipe
from recam.recipe.toml import parse_setting
from recam.recipes import NAME
from recam.runfolder.store import CHECK, PLAN, STAGES, RunFolder, StageFolder, make_key, read_json, write_json
from recam.types import Sample

TRIED = 8
"""Images to try on."""


def plan(
    data: str | None = None,
    recipe: str | Path | Mapping[str, Any] | Recipe = NAME,
    output: str | Path | None = None,
    settings: Mapping[str, Any] | Sequence[str] = (),
    until: str | None = None,
    write: str | Path | None = None,
) -> RunPlan:
    """What `recam.run` with the same arguments would do, and what it would take.

    Args:
        data, recipe, output, settings, until: as of `recam.run`.
        write: a new TOML file for the plan as a recipe, to be edited and run.

    Raises:
        RecipeError, DataError, StoreError: as of `recam.run`, where nothing can be planned. What can be planned and not
            begun, as for weights out of reach, is among the plan's problems.
    """
    chosen = read_settings(data, recipe, settings)
    check_group(until)
    target = _new_file(write) if write is not None else None
    folder = RunFolder(output or default_output(chosen))
    accelerator = make_accelerator(chosen.section(ComputeSettings))
    run_data, checked = _open_data(chosen, folder)
    machine = read_machine(accelerator, folder.root)
    sizes = read_sizes(run_data.train)
    chosen, choices = choose_settings(chosen, run_data, sizes, machine)
    chosen = as_opened(chosen, run_data)
    chosen = _with_decision(first_candidate(chosen, run_data), run_data, folder)
    stages = stages_until(make_plan(chosen, run_data).stages, until)
    found = _find_finished(stages, run_data, folder)
    problems = _find_unreadable(sizes.typical(TRIED), run_data.settings)
    problems += _rehearse([stage for stage in stages if found[stage.name].state != DONE], run_data)
    trial = Forecaster(chosen, run_data, sizes, accelerator, machine)
    made = trial.plan(stages, found, choices, folder.root, [checked])
    made = replace(made, problems=tuple(problems))
    if target:
        write_bytes(target, f"{_head(made)}{write_recipe(chosen, made.choices)}".encode())
    return made


def read_settings(
    data: str | None, recipe: str | Path | Mapping[str, Any] | Recipe, settings: Mapping[str, Any] | Sequence[str]
) -> Recipe:
    """The recipe of a run, its data set named. Raises `RecipeError` for what does not hold, or without a data set."""
    own = settings if isinstance(settings, Mapping) else dict(parse_setting(text) for text in settings)
    read = load_recipe(recipe, {**({"data.location": data} if data is not None else {}), **own})
    if not read.section(DataSettings).location:
        raise RecipeError(
            "no data set is named: give KIND:PATH, e.g. recam run --data folder:photos or recam plan folder:photos, or"
            " data.location in the recipe."
        )
    return read


def as_opened(recipe: Recipe, data: RunData) -> Recipe:
    """The recipe with the classes and the range of values that its data set is opened with, as it is recorded for
    whoever opens it after the run."""
    own, opened = recipe.section(DataSettings), data.settings
    kept = replace(own, classes=opened.classes, value_range=opened.value_range)
    return recipe.model_copy(update={"data": kept})


def default_output(recipe: Recipe) -> Path:
    """Where a run lies that names no folder: ``runs/`` and the last part of its data set's path."""
    kind, _, place = recipe.section(DataSettings).location.partition(":")
    return Path("runs") / (Path(place).resolve().name if place else kind)


class Forecaster:
    """Plans stages of one run on this machine.

    Args:
        recipe: with everything chosen.
        data: the data set by role.
        sizes: how large its images are.
    """

    def __init__(
        self, recipe: Recipe, data: RunData, sizes: ImageSizes, accelerator: Accelerator, machine: Machine
    ) -> None:
        self.recipe, self.data, self.sizes = recipe, data, sizes
        self.accelerator, self.machine = accelerator, machine

    def plan(
        self,
        stages: Sequence[Stage],
        found: Mapping[str, StagePlan],
        choices: Sequence[Choice],
        output: Path,
        before: Sequence[StagePlan] = (),
    ) -> RunPlan:
        """The plan of these stages.

        Args:
            found: which of them are finished.
            choices: what was chosen.
            before: stages that a run has besides, as the check.
        """
        start = time.monotonic()
        first = [replace(each, forecast=None) for each in before]
        with loaded_set_aside(), self._bench() as bench:
            trials, held = Trials(bench), resident_memory()
            if any(each.state != DONE for each in first):
                checks = trials.forecast([check_amount(self.data)], held)
                first = [replace(each, forecast=checks) for each in first]
            planned = [
                found[stage.name]
                if found[stage.name].state == DONE
                else self._forecast(stage, found[stage.name], trials, held)
                for stage in stages
            ]
        costs = {each.name: each.forecast for each in (*first, *planned) if each.forecast}
        images = {
            "images to learn from": len(self.data.train),
            "of them without a label": sum(not sample.labels for sample in self.data.train),
            "classes": len(self.data.catalog.classes),
            "scored": len(self.data.score),
            "held out": len(self.data.val),
        }
        own = (*background_choices(self.data), *weights_choices(self.recipe))
        return RunPlan(
            self.recipe,
            output,
            images,
            self.sizes.long_side,
            self.machine,
            (*choices, *own, *machine_choices(self.recipe, self.machine)),
            (*first, *planned),
            tuple(find_warnings(self.recipe, self.data, self.sizes, self.machine, costs)),
            tried=time.monotonic() - start,
        )

    def _forecast(self, stage: Stage, state: StagePlan, trials: Trials, held: int) -> StagePlan:
        if stage.amounts is None:
            return state
        return replace(state, forecast=trials.forecast(stage.amounts(stage.given, self.data), held))

    @contextmanager
    def _bench(self) -> Iterator[Bench]:
        with tempfile.TemporaryDirectory(prefix="recam-plan-") as folder:
            samples = self.sizes.typical(TRIED)
            compute = self.recipe.section(ComputeSettings)
            root, largest = Path(folder), self.sizes.largest
            yield Bench(self.recipe, self.data, samples, self.accelerator, compute, root, largest=largest)


def check_amount(data: RunData) -> Amount:
    """Every image and mask is decoded once."""
    held_out = {sample.id for sample in (*data.seeded, *data.val, *data.unlabelled)}

    def set_up(bench: Bench) -> Turn:
        def turn(sample: Sample) -> None:
            look_at(sample, bench.n_classes, {})

        return turn

    return Amount("image looked at", len(held_out), set_up, spread="threads")


def find_states(planned: Mapping[str, Planned], names: Sequence[str], folder: RunFolder) -> dict[str, StagePlan]:
    """Which stages are finished, here or in a run beside this one, and which resume."""
    states = {}
    for name in names:
        key, title = planned[name].key, str(planned[name].stage.label.get("title", ""))
        place, here = folder.find(name, key), folder.at(name, key)
        state = DONE if place else RESUMES if here.record else NEW
        states[name] = StagePlan(name, title, key, state, _source(place, folder) if place else "")
    return states


def _source(place: StageFolder, folder: RunFolder) -> str:
    """The run folder that holds a finished stage; empty: this one."""
    if place.path == folder.at(place.name, place.key).path:
        return ""
    return str(place.path.parents[len(Path(place.name).parts) + 1])


def keep_plan(folder: RunFolder, made: RunPlan, states: Mapping[str, StagePlan]) -> None:
    """Write ``plan.json``; what was planned for stages that are finished by now stays.

    Args:
        states: stages of the run; those that the plan does not know are of a training that was chosen after it, and
            take as long as the same stages of the one that it was made with.
    """
    content, path = made.as_dict(), folder.root / PLAN
    before = _kept_stages(path)
    stages = {}
    for name, state in states.items():
        planned = content["stages"].get(name) or content["stages"].get(find_twin(name, made)) or state.as_dict()
        old = before.get(name, {})
        if planned["seconds"] is None and old.get("key") == state.key and old.get("seconds") is not None:
            planned = old
        stages[name] = {**planned, "key": state.key, "state": state.state, "source": state.source}
    write_json(path, {**content, "stages": {**content["stages"], **stages}})


def find_twin(name: str, made: RunPlan) -> str:
    """The planned stage that a stage of another candidate stands in the place of."""
    group, _, stem = name.partition("/")
    others = (each for each in made.recipe.candidates if re.match(rf"{re.escape(each)}(?![\w-])", stem))
    chosen = max(others, key=len, default="")
    planned = (f"{group}/{each}{stem.removeprefix(chosen)}" for each in made.recipe.candidates if chosen)
    names = {stage.name for stage in made.stages}
    return next((each for each in planned if each in names), "")


def _kept_stages(path: Path) -> dict[str, Any]:
    try:
        held = read_json(path)["stages"]
        return held if isinstance(held, dict) else {}
    except (StoreError, KeyError):  # none yet, or damaged: nothing hangs on it
        return {}


def _open_data(recipe: Recipe, folder: RunFolder) -> tuple[RunData, StagePlan]:
    """The data set, and whether it has been checked. Its files are read only where there is something to be found."""
    settings = recipe.section(DataSettings)
    data = RunData(settings.open(), settings, digests=FileDigests(_digests_near(folder)), quiet=True)
    checked = StagePlan(CHECK, CHECK, "")
    if _has_stages(folder):
        key = make_key(check_parts(data))
        if place := folder.find(CHECK, key):
            data, checked = apply_check(data, place.path), StagePlan(CHECK, CHECK, key, DONE, _source(place, folder))
    return leave_out_unlabelled(data), checked


def _with_decision(trial: Recipe, data: RunData, folder: RunFolder) -> Recipe:
    """The recipe with the training that is chosen of its candidates, where all of them have been tried."""
    if not (trial.candidates and _has_stages(folder)):
        return trial
    plan = make_plan(trial, data)
    return find_decision(trial, plan, key_stages(plan.stages, data), folder) or trial


def _find_finished(stages: Sequence[Stage], data: RunData, folder: RunFolder) -> dict[str, StagePlan]:
    if _has_stages(folder):
        planned = key_stages(stages, data)
        return find_states(planned, [stage.name for stage in stages], folder)
    return {stage.name: StagePlan(stage.name, str(stage.label.get("title", "")), "") for stage in stages}


def _has_stages(folder: RunFolder) -> bool:
    return any(folder.root.absolute().parent.glob(f"*/{STAGES}"))


def _digests_near(folder: RunFolder) -> Path:
    """What is known of the files' content, by this run or the last one beside it."""
    name = "files.json"
    beside = sorted(folder.root.absolute().parent.glob(f"*/{name}"), key=lambda path: path.stat().st_mtime)
    return folder.root / name if (folder.root / name).is_file() or not beside else beside[-1]


def _rehearse(stages: Sequence[Stage], data: RunData) -> list[str]:
    problems = dict[str, None]()
    for stage in stages:
        if stage.rehearse:
            try:
                stage.rehearse(data)
            except RecamError as error:
                problems[str(error)] = None
    return list(problems)


def _find_unreadable(samples: Sequence[Sample], settings: DataSettings) -> list[str]:
    """What keeps images to try on from being read, such as bands that nobody has chosen; the check reads all."""
    problems = []
    for sample in samples:
        try:
            sample.image.read()
        except RecamError as error:
            problems.append(str(error))
    if not problems or (settings.on_problems == "skip" and len(problems) < len(samples)):
        return []
    return [
        f"{len(problems)} of {len(samples)} images that were tried cannot be read, which `recam check` reports. The"
        f" first: {problems[0]}"
    ]


def _new_file(write: str | Path) -> Path:
    target = checked_path(write, StoreError)
    if target.exists():
        raise StoreError(f"{target} is there already. Name a new file, so that no recipe of yours is overwritten.")
    return target


def _head(made: RunPlan) -> str:
    lines = [
        "A plan as a recipe: edit it, then run it with",
        "",
        f"  recam run --recipe FILE.toml -o {made.output}",
        "",
        *made.short.splitlines(),
    ]
    return "".join(f"# {line}".rstrip() + "\n" for line in lines)
