"""Tables of a report: scores, classes, trainings, what the data set holds, settings that differ."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recam.recipe.toml import flatten
from recam.report.reading import ReportedRun
from recam.runfolder.kinds import MASK_SCORES, PREDICTIONS

COMMON = 5
"""Pairs of classes that the table of the data set names, the most frequent."""


@dataclass(frozen=True)
class Cell:
    """A score in a table.

    Attributes:
        text: the score, or a dash.
        note: small beside it, e.g. its threshold or a difference.
        better: of a difference, whether it is one for the better; None for a note that is no difference.
    """

    text: str
    note: str = ""
    better: bool | None = None


def data_table(run: ReportedRun) -> list[tuple[str, str]]:
    """(what, value) of the data set, as `recam check` found it; empty where the run has not come to that."""
    try:
        return _facts(run.checked) if run.checked else []
    except (KeyError, TypeError, ValueError, AttributeError):  # of a version that kept other facts
        return []


def _facts(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [("images", f"{found['images']}, {found['unlabelled']} of them without a label")]
    for role, what in (("train", "trained on"), ("score", "scored on"), ("val", "held out")):
        split = found["roles"].get(role)
        held = found["splits"].get(split)
        if held:
            masks = f"{held['with_mask']} with a true mask" if held["with_mask"] else "no true mask"
            rows.append((what, f"{split}: {held['images']} images, {masks}"))
    size = " × ".join(f"{found['sizes'][side]['median']:.0f}" for side in ("width", "height"))
    largest = " × ".join(f"{found['sizes'][side]['max']:.0f}" for side in ("width", "height"))
    rows.append(("pixels", f"{size} in the middle, {largest} at most"))
    rows.append(("classes", ", ".join(f"{name} {count}" for name, count in found["images_per_class"].items())))
    least, most = found["labels_per_image"]
    rows.append(("labels of an image", f"{least} to {most}" if least != most else str(least)))
    if pairs := found["pairs"][:COMMON]:
        rows.append(("often together", ", ".join(f"{' + '.join(each['classes'])} {each['images']}" for each in pairs)))
    noted = [
        f"{len(found[kind])} {word}" for kind, word in (("problems", "problems"), ("notes", "notes")) if found[kind]
    ]
    rows.append(("check", ", ".join(noted) or "no problem found"))
    return rows


@dataclass(frozen=True)
class ClassScores:
    """Scores of each class against true masks.

    Attributes:
        titles: what was scored: masks and models.
        rows: (class, cells) with two cells for each title, IoU and F1, in percent; last the means and the boundary IoU.
    """

    titles: tuple[str, ...]
    rows: list[tuple[str, list[Cell]]]


def truth_table(run: ReportedRun) -> ClassScores | None:
    """IoU and F1 of each class, of pseudo masks and models; None where nothing of that is scored."""
    found = [each for each in run.outcomes if each.kind in (MASK_SCORES, PREDICTIONS)] if run.classes else []
    scored = [(each, scores) for each in found if run.classes and (scores := each.scores(run.classes))]
    if not scored:
        return None
    rows = []
    for place, name in enumerate(scored[0][1].names):
        ious = [scores.iou[place] for _, scores in scored]
        # F1 of pixels is the Dice coefficient: 2 IoU / (1 + IoU).
        rows.append((name, [Cell(_known(value)) for iou in ious for value in (iou, 2 * iou / (1 + iou))]))
    means = [Cell(_known(value)) for _, scores in scored for value in (scores.miou, scores.f1)]
    rows.append(("mean", means))
    boundary = [(run.results(each.stage)["scores"] or {}).get("boundary_iou") for each, _ in scored]
    if any(value is not None for value in boundary):
        rows.append(("boundary IoU", [cell for value in boundary for cell in (Cell(percent(value)), Cell(""))]))
    return ClassScores(tuple(each.heading for each, _ in scored), rows)


def _known(value: float) -> str:
    return percent(None if math.isnan(value) else value)


def training_table(run: ReportedRun) -> list[tuple[str, bool, list[Cell]]]:
    """(title, whether the masks are made with it, cells for mAP, chance, agreement, threshold) of each classifier whose
    image labels are judged."""
    taken = str(run.settings["recipe"].get("training", ""))
    rows = []
    for stage, labels in run.label_scores.items():
        training = str(run.label(stage).get("training", ""))
        found = run.judged(training)
        judged = [f"{found[name]:.2f}" if name in found else "–" for name in ("agreement", "threshold")]
        cells = [Cell(percent(labels["map"]), str(labels["of"])), Cell(percent(labels["chance"])), *map(Cell, judged)]
        rows.append((run.title(stage), training == taken, cells))
    return rows


def class_table(run: ReportedRun) -> list[tuple[str, list[Cell]]]:
    """(class, cells for average precision and F1 of its label, images, masks that show it, their mean area) of each
    class, by the classifier that masks are made with; empty where nothing of that is known."""
    taken = str(run.settings["recipe"].get("training", ""))
    labels = next(
        (each for stage, each in run.label_scores.items() if run.label(stage).get("training") == taken), {}
    ).get("classes", {})
    shown = run.masks.get("classes", {})
    rows = []
    for name in run.classes.names if run.classes and (labels or shown) else ():
        own, mask = labels.get(name, {}), shown.get(name)
        scores = [Cell(percent(own.get(score))) for score in ("ap", "f1")]
        counts = [Cell(str(mask["labelled"])), Cell(str(mask["shown"])), Cell(percent(mask["area"]))] if mask else []
        rows.append((name, [*scores, *(counts or [Cell("–")] * 3)]))
    return rows


def score_table(run: ReportedRun) -> list[tuple[str, list[Cell]]]:
    """(heading, cells for oracle, Otsu, recipe) of each set of class maps; masks and models have one score, at no
    threshold, and so has everything where there is no background."""

    def cell(score: dict[str, float] | None) -> Cell:
        return Cell("none") if not score else Cell(percent(score["miou"]), f"at {score['threshold']:.2f}")

    if not run.has_background:
        return [(found.heading, [Cell(percent(found.miou), f"{found.images} images")]) for found in run.outcomes]
    return [
        (found.heading, [cell(found.judged[kind]) for kind in ("oracle", "otsu", "recipe")])
        if found.judged
        else (found.heading, [Cell(percent(found.miou), f"{found.images} images")])
        for found in run.outcomes
    ]


def comparison_table(runs: Sequence[ReportedRun]) -> list[tuple[str, list[Cell]]]:
    """(heading, one cell per run) of everything that was scored, with the difference to the first run."""
    headings = {found.key: found.heading for run in runs for found in run.outcomes}
    rows = []
    for key, heading in headings.items():
        scores = [found.miou if (found := run.find(key)) else None for run in runs]
        cells = []
        for place, score in enumerate(scores):
            first = scores[0]
            if place and score is not None and first is not None:
                cells.append(Cell(percent(score), f"{100 * (score - first):+.1f}".replace("-", "−"), score >= first))
            else:
                cells.append(Cell(percent(score)))
        rows.append((heading, cells))
    return rows


def differing_settings(runs: Sequence[ReportedRun]) -> list[tuple[str, list[str]]]:
    """(name, one value per run) of the settings and versions that are not the same in all runs."""
    flat = [
        flatten(run.settings.get("recipe", {})) | flatten({"version": run.settings.get("packages", {})}) for run in runs
    ]
    names = dict.fromkeys(name for each in flat for name in each)
    values = {
        name: [json.dumps(each[name], ensure_ascii=False) if name in each else "–" for each in flat] for name in names
    }
    return [(name, shown) for name, shown in values.items() if len(set(shown)) > 1]


def percent(score: float | None) -> str:
    """``0.5123`` → ``51.2``."""
    return "–" if score is None else f"{100 * score:.1f}"
