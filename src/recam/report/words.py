"""Results in words: the sentences that a report begins with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from recam.report.reading import Outcome, ReportedRun
from recam.report.tables import percent
from recam.runfolder.kinds import CLASSIFIER, MAPS, MASK_SCORES, PREDICTIONS, REFINED_MAPS
from recam.runfolder.supervision import MARK

_LARGEST = "by the largest map of each pixel"


@dataclass(frozen=True)
class Headline:
    """The first thing to read.

    Attributes:
        number: e.g. ``51.2``; empty where there are no results yet.
        unit: what follows it.
        sentence: what the number is.
        more: further sentences.
    """

    number: str
    unit: str
    sentence: str
    more: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join((f"{self.number}{self.unit}", self.sentence, *self.more)).strip()


def headline(runs: Sequence[ReportedRun]) -> Headline:
    """One sentence with its number, of one run or of several."""
    found = _of_one(runs[0]) if len(runs) == 1 else _of_several(runs)
    return replace(found, more=(*found.more, *_supervision(runs)))


def _supervision(runs: Sequence[ReportedRun]) -> list[str]:
    """A sentence for each run, and each kind of supervision beyond image labels, that its marked results used."""
    where = [f" in {run.name}" if len(runs) > 1 else "" for run in runs]
    return [
        f"{MARK.strip()} Supervision{of_run}: {words}."
        for run, of_run in zip(runs, where, strict=True)
        for words in run.supervision
    ]


def _of_one(run: ReportedRun) -> Headline:
    found, later = run.headline, _unfinished(run)
    if found is None or found.miou is None:
        return _unscored(run, later)
    number, unit, on = percent(found.miou), " % mIoU", _images(found)
    if found.kind == MASK_SCORES:
        sentence = f"of the {found.title} on {on}{_made_from(run)}."
        return Headline(number, unit, sentence, (*_models(run), *later))
    if found.kind == PREDICTIONS:
        return Headline(number, unit, f"of the {found.title} on {on}.", later)
    best = f"at threshold {found.judged['oracle']['threshold']:.2f}, the best on the true masks"
    at = best if run.has_background else _LARGEST
    more = ["Pseudo masks are still to be made."] if run.missing and not run.masks else []
    sentence = f"of {found.title} on {on}, {at}{_lead(run, found)}."
    return Headline(number, unit, sentence, (*more, *_models(run), *later))


def _unscored(run: ReportedRun, later: tuple[str, ...]) -> Headline:
    if masks := run.masks:
        at = f"at threshold {masks['threshold']:.2f}" if run.has_background else _LARGEST
        made = f"pseudo masks, made from {run.masked_from[1]} {at}"
        more = (*_quality(run), *later)
        return Headline(str(masks["images"]), "", f"{made}. There are no true masks to score them by.", more)
    for stage in reversed(run.of_kind(MAPS, REFINED_MAPS)):
        if images := run.results(stage)["images"]:
            return Headline(str(images), "", "images have class maps; pseudo masks are still to be made.", later)
    for stage in reversed(run.of_kind(CLASSIFIER)):
        history = run.histories.get(stage, [])
        if history and history[-1].get("loss") is not None:
            after = f"{len(history)} epoch{'s' * (len(history) != 1)}"
            sentence = f"is the training loss of {run.title(stage)} after {after}; class maps are still to be made."
            return Headline(f"{history[-1]['loss']:.3f}", "", sentence, later)
    return Headline("", "", "No results yet: no training has finished.", later)


def _quality(run: ReportedRun) -> list[str]:
    """What is known of pseudo masks without true ones, a sentence each."""
    found, sentences = run.quality, list[str]()
    if "quality" in found:
        parts = f"{percent(found['learned'])} % of held-out labels learned × agreement with the images"
        sentences.append(f"Quality {found['quality']:.2f} of 1: {parts} {found['agreement']:.2f}.")
    elif found:
        sentences.append(f"Agreement of the masks with the images {found['agreement']:.2f} of 1.")
    if empty := run.masks.get("empty"):
        sentences.append(
            f"{empty} image{'s' * (empty != 1)} with a label {'has' if empty == 1 else 'have'} an empty mask."
        )
    return sentences


def _of_several(runs: Sequence[ReportedRun]) -> Headline:
    found = [(run, run.headline.miou, run.headline) for run in runs if run.headline and run.headline.miou is not None]
    if not found:
        return Headline(str(len(runs)), "", "runs side by side; none of them is scored.")
    best, miou, outcome = max(found, key=lambda each: each[1])
    others = [f"{100 * (miou - other):.1f} points above {run.name}" for run, other, _ in found if run is not best]
    same = len({each.key for _, _, each in found}) == 1
    what = f"of {outcome.title} in {best.name}" if outcome.judged else f"of the {outcome.title} of {best.name}"
    alike = len({run.classes for run in runs}) == 1 and len({outcome.images for _, _, outcome in found}) == 1
    more: tuple[str, ...] = (
        () if same else ("The runs have finished different stages: these are scores of different results.",)
    )
    more += () if alike else ("The runs have different classes or different scored images: compare with care.",)
    return Headline(percent(miou), " % mIoU", f"{what}{': ' if others else ''}{', '.join(others)}.", more)


def _made_from(run: ReportedRun) -> str:
    if not run.masks:
        return ""
    name, title = run.masked_from
    maps, at = run.find(name), f"at threshold {run.masks['threshold']:.2f}"
    how = "the best on the true masks" if run.masks["threshold_from"] == "oracle" else "the recipe's"
    where = f"{at}, {how}" if run.has_background else _LARGEST
    return f", made from {title} {where}{_lead(run, maps) if maps else ''}"


def _lead(run: ReportedRun, found: Outcome) -> str:
    """How far class maps are from the baseline's."""
    first = run.baseline
    if first is None or first.miou is None or found.miou is None or found.key == first.key:
        return ""
    points = 100 * (found.miou - first.miou)
    return f", {abs(points):.1f} points {'above' if points >= 0 else 'below'} {first.title}"


def _models(run: ReportedRun) -> tuple[str, ...]:
    model, bound = run.model, run.upper_bound
    if model is None or model.miou is None:
        return ()
    reached = (
        f"The segmentation model trained on them reaches {percent(model.miou)} % on {model.images} held-out images"
    )
    return (f"{reached}; trained on true masks, {percent(bound.miou)} %." if bound else f"{reached}.",)


def _unfinished(run: ReportedRun) -> tuple[str, ...]:
    if not run.missing:
        return ()
    count = len(run.missing)
    return (f"The run has not finished: {count} stage{'s' * (count != 1)} to go, next {run.missing[0]}.",)


def _images(found: Outcome) -> str:
    return f"{found.images} image{'s' * (found.images != 1)}"
