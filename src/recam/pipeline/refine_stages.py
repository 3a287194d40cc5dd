"""Stages that refine class maps, one a link of a chain; see `recam.pipeline.chains`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from recam.engine.work import RunData, Stage, Work
from recam.errors import RecipeError
from recam.methods.refine import Refiner
from recam.pipeline.chains import Link, is_for_masks, refined_links
from recam.pipeline.refiner import RefineContext, refiner_steps, step_of
from recam.pipeline.result_stages import score_seeds
from recam.pipeline.saliency import MAPS, read_saliency, saliency_key
from recam.pipeline.scoring import VERSION as SCORES
from recam.pipeline.thresholds import ORACLE, find_threshold, recipe_threshold, threshold_key
from recam.recipe.recipe import Recipe
from recam.runfolder.store import map_path, read_seed, save_seed
from recam.runfolder.supervision import SALIENCY
from recam.types import Sample


def refine_maps(work: Work, link: Link) -> dict[str, Any]:
    """Refined maps of the images that pseudo masks are made for, or of the scored ones where the chain is there to compare."""
    step = step_of(link)
    threshold, source = find_threshold(work, link.before)
    saliency = read_saliency(work) if step.uses_saliency else None
    refiner_of = step.make_for_each(RefineContext(work.recipe, work.inputs, work.accelerator.device, link, threshold, saliency))
    files = FileRefiner(
        refiner_of,
        partial(map_path, work.inputs[link.before.maps_stage], link.before.weighting(work.recipe)),
        work.folder.path,
        work.recipe,
    )
    whole = _is_whole(work.recipe, link)
    samples = work.data.seeded if whole else work.data.score
    work.each(samples, lambda sample: files.target(sample).is_file(), files, step.in_processes)
    used = {"threshold_before": threshold, "threshold_from": source} if step.uses_threshold else {}
    # Of maps that are there to be compared, which images have them.
    scored = {} if whole else {"scored": work.data.fingerprint("score")}
    return {"images": len(samples), "whole": whole, **scored, **used, **step.summary(work.recipe)}


@dataclass(frozen=True)
class FileRefiner:
    """Refiners from file to file; picklable where they are."""

    refiner_of: Callable[[Sample], Refiner]
    source: Any
    folder: Path
    recipe: Recipe

    def target(self, sample: Sample) -> Path:
        """Where the refined maps of a sample lie."""
        return self.folder / f"{sample.id}.npz"

    def __call__(self, sample: Sample) -> None:
        refined = self.refiner_of(sample)(sample.image.read(), read_seed(self.source(sample.id)))
        save_seed(self.target(sample), refined, self.recipe.seeds.bits)


def chain_stages(recipe: Recipe) -> tuple[Stage, ...]:
    """The stages of all chains that the recipe asks for; none for a recipe without any."""
    stages: dict[str, Stage] = {}
    for link in refined_links(recipe):
        step = step_of(link)
        wanted = partial(_is_wanted, link=link)
        preparations = tuple(replace(stage, wanted=wanted) for stage in step.preparations(link))
        made = Stage(
            link.maps_stage,
            "refine",
            partial(refine_maps, link=link),
            partial(_refine_settings, link=link),
            (link.before.maps_stage, *(stage.name for stage in preparations)),
            ("seeded",),
            wanted,
            step.version,
            (link.before.scores_stage, *step.reads(link), *((MAPS,) if step.uses_saliency else ())),
            # A chain that was made to compare holds the scored images only; for masks it goes on with the others.
            holds_enough=partial(_holds_enough, link=link),
            supervision=lambda recipe, used=step.uses_saliency: (SALIENCY,) if used else (),  # type: ignore[misc]
        )
        scored = Stage(
            link.scores_stage,
            "refine",
            score_seeds,
            partial(_score_settings, link=link),
            (link.maps_stage,),
            ("score",),
            lambda recipe, data: bool(data.score),
            SCORES,
        )
        for stage in (*preparations, made, scored):
            stages.setdefault(stage.name, stage)
    return tuple(stages.values())


def chain_problems(recipe: Recipe, data: RunData) -> list[str]:
    """Everything that is wrong with the recipe's chains: unknown, twice, of no use there, or not able to work."""
    problems: dict[str, None] = {}
    for chain in (recipe.refine, *recipe.chains.compare):
        told = " → ".join(chain)
        for position, name in enumerate(chain):
            try:
                step = refiner_steps[name]()
            except RecipeError as error:
                problems[str(error)] = None
                continue
            if name in chain[:position]:
                problems[f"the chain {told} has {name!r} twice: it refines what it has refined. Leave one out."] = None
            if step.makes_maps and position:
                why = f"{name!r} makes maps from the image and would throw away what comes before it"
                problems[f"the chain {told}: {why}. Put it first."] = None
            problems |= dict.fromkeys(f"{name}: {problem}" for problem in step.problems(recipe, data))
    if () in recipe.chains.compare:
        problems["chains.compare holds an empty chain: that is the seeds, which are scored in any case. Leave it out."] = None
    if recipe.chains.compare and not data.score:
        problems["chains.compare: nothing is compared without true masks. Leave it out, or name a split with masks in data.score."] = None
    if recipe.chains.cam and not (recipe.refine or recipe.chains.compare):
        problems["chains.cam: there is no chain to refine CAM by. Name one in refine or chains.compare."] = None
    return list(problems)


def _refine_settings(recipe: Recipe, data: RunData, link: Link) -> dict[str, Any]:
    step = step_of(link)
    own = {"bits": recipe.seeds.bits, "weighting": link.before.weighting(recipe), **step.settings(recipe, link)}
    if step.uses_saliency:
        own["saliency"] = saliency_key(recipe, data, "seeded")
    if step.uses_threshold:
        own["threshold"] = threshold_key(recipe, data, link.before)
        if own["threshold"] == ORACLE:
            own["scored"] = data.fingerprint("score")
    return own


def _score_settings(recipe: Recipe, data: RunData, link: Link) -> dict[str, Any]:
    return {"threshold": recipe_threshold(recipe, link)}


def _is_wanted(recipe: Recipe, data: RunData, link: Link) -> bool:
    return is_for_masks(recipe, link) or bool(data.score)


def _is_whole(recipe: Recipe, link: Link) -> bool:
    """Whether maps of all images are wanted: for masks, or for a training further on in a chain."""
    later = (other for other in refined_links(recipe) if other.origin == link.origin and other.chain[: len(link.chain)] == link.chain)
    return is_for_masks(recipe, link) or any(step_of(other).preparations(other) for other in later if other != link)


def _holds_enough(recipe: Recipe, data: RunData, results: Mapping[str, Any], link: Link) -> bool:
    if results["whole"]:
        return True
    return not _is_whole(recipe, link) and results.get("scored") == data.fingerprint("score")
