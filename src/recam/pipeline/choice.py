"""Which training a run continues with, where the recipe names several: chosen by image labels and by the images, no
mask is read for it.

Two things must hold of a training whose masks are good: it predicts the labels of images that it has not learned from,
else its masks follow something else, however well; and its masks, at their own threshold and refined, agree with
colours and early features of the images (`recam.methods.agreement`). The product of both decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recam.data.roles import RunData
from recam.engine.stage import Planned
from recam.errors import RecamError, RecipeError
from recam.evaluation.label_scores import part_learned
from recam.pipeline.plan import Plan
from recam.pipeline.stages.masks import MaskSettings
from recam.pipeline.stages.train import stage_of
from recam.pipeline.training import Training, make_training
from recam.progress import log_line
from recam.recipe.recipe import Recipe
from recam.runfolder.store import RunFolder, StageFolder


@dataclass(frozen=True)
class Tried:
    """A training that was tried.

    Attributes:
        name: the training.
        labels: what its stage recorded on image labels: ``map`` and ``chance``, in [0, 1] or None.
        agreement: φ of its masks and the images, in [−1, 1].
    """

    name: str
    labels: Mapping[str, Any]
    agreement: float

    @property
    def quality(self) -> float:
        """Part of the labels that it has learned, times agreement."""
        return part_learned(self.labels) * self.agreement


def candidates_of(recipe: Recipe, data: RunData) -> tuple[str, ...]:
    """The recipe's candidates that this data set allows; what rules one out is reported.

    Raises:
        RecipeError: thresholds that are not found by the run, by which the choice is made; or no candidate is left.
    """
    own = recipe.section(MaskSettings)
    if data.catalog.classes.background and (own.threshold != "auto" or (own.oracle and data.score)):
        raise RecipeError(
            "candidates are compared at thresholds that the run finds: set masks.threshold = 'auto' and masks.oracle ="
            " false, or candidates = [] and one training."
        )
    allowed, problems = [], []
    for name in dict.fromkeys(recipe.candidates):
        found = make_training(recipe, name).problems(len(data.catalog.classes))
        problems += [f"{name}: {problem}" for problem in found]
        if not found:
            allowed.append(name)
    if not allowed:
        raise RecipeError("no candidate can be trained:\n" + "\n".join(f"  {problem}" for problem in problems))
    if not data.quiet:
        for problem in problems:
            log_line(f"left out: {problem}")
    return tuple(allowed)


def first_candidate(recipe: Recipe, data: RunData) -> Recipe:
    """The recipe as it is tried and planned: with the candidates that this data set allows, the first of them in the
    place of the one that will be chosen. Raises as `candidates_of` does."""
    if not recipe.candidates:
        return recipe
    names = candidates_of(recipe, data)
    return recipe.model_copy(update={"training": names[0], "candidates": names})


def stages_for(plan: Plan, planned: Mapping[str, Planned], name: str) -> list[str]:
    """Names of the stages that the choice needs of a training, in order."""
    wanted = {plan.thresholds[name]}
    for stage in reversed(list(planned)):
        if stage in wanted:
            wanted.update(planned[stage].stage.needs)
    return [stage for stage in planned if stage in wanted]


def try_candidates(
    candidates: Sequence[str],
    plan: Plan,
    recipe: Recipe,
    stages: Mapping[str, Sequence[str]],
    make: Callable[[Sequence[str]], None],
    results: Callable[[str], Mapping[str, Any]],
    report: Callable[[str], None] = log_line,
) -> list[Tried]:
    """Each of the candidates made as far as its threshold. One that fails, or whose classifier, before or after what it
    starts from, has learned too little to be chosen whatever its masks, is reported and left out.

    Args:
        stages: by candidate, see `stages_for`.
        make: makes stages; finished ones are passed over.
        results: results of a finished stage by name.
        report: called with a message for each that is left out: which, and why.

    Raises:
        RecamError: the first candidate's, where all of them fail.
    """
    tried: list[Tried] = []
    failed: list[RecamError] = []
    for name in candidates:
        training = make_training(recipe, name)
        best = max((each.quality for each in tried), default=0.0)
        try:
            for trained in _trained_before(training):
                make(stages[name][: stages[name].index(trained) + 1])
                learned = part_learned(results(trained).get("labels", {}))
                if learned < best:  # agreement is 1 at most
                    raise RecipeError(f"{trained} has learned {learned:.2f} of the labels, too little for any masks.")
            make(stages[name])
        except RecamError as error:
            failed.append(error)
            report(f"{name} is left out: {error}")
            continue
        labels = results(stage_of(training)).get("labels", {})
        tried.append(Tried(name, labels, float(results(plan.thresholds[name])["agreement"])))
    if not tried:
        raise failed[0]
    return tried


class _StillOpen(Exception):
    """A stage that the choice needs is not finished."""


def find_decision(trial: Recipe, plan: Plan, planned: Mapping[str, Planned], folder: RunFolder) -> Recipe | None:
    """The recipe with the training that will be chosen of its candidates, where all that this needs is finished, here
    or in a run beside; None where it is not known before."""

    def find(name: str) -> StageFolder:
        if place := folder.find(name, planned[name].key):
            return place
        raise _StillOpen(name)

    def look(stages: Sequence[str]) -> None:
        for name in stages:
            find(name)

    names = trial.candidates
    stages = {name: stages_for(plan, planned, name) for name in names}
    try:
        tried = try_candidates(
            names, plan, trial, stages, look, lambda name: find(name).record["results"], lambda text: None
        )
    except (_StillOpen, RecamError):
        return None
    return trial.model_copy(update={"training": choose(tried).name, "candidates": tuple(each.name for each in tried)})


def _trained_before(training: Training) -> list[str]:
    """Stages of the training and of those that it starts from, the first first."""
    before = _trained_before(training.base) if training.base else []
    return [*before, stage_of(training)]


def choose(tried: Sequence[Tried]) -> Tried:
    """The one of the highest quality, the first of equals: a training that left the weights as they were is no better
    than what it started from."""
    return max(tried, key=lambda each: each.quality)


def report_choice(tried: Sequence[Tried], chosen: Tried) -> None:
    """One line: what each has reached, and which is taken."""
    texts = [
        f"{each.name} {each.quality:.3f} (held-out mAP {100 * (each.labels.get('map') or 0):.1f}, agreement"
        f" {each.agreement:.3f})"
        for each in tried
    ]
    log_line(f"quality without masks: {', '.join(texts)}: {chosen.name} is taken.")
