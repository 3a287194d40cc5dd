"""What came out, in words: the sentence that a report begins with, tables of scores, settings to copy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from recam.report.reading import Outcome, RunView, maps_title
from recam.runfolder.supervision import MARK


@dataclass(frozen=True)
class Headline:
    """The first thing to read.

    Attributes:
        number: e.g. ``51.2``; empty where nothing has come out yet.
        unit: what stands right behind it.
        sentence: what the number is.
        more: further sentences.
    """

    number: str
    unit: str
    sentence: str
    more: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join((f"{self.number}{self.unit}", self.sentence, *self.more)).strip()


@dataclass(frozen=True)
class Cell:
    """A score in a table.

    Attributes:
        text: the score, or what stands for none.
        note: small beside it, e.g. its threshold or a difference.
        better: of a difference, whether it is one for the better; None for a note that is no difference.
    """

    text: str
    note: str = ""
    better: bool | None = None


def headline(runs: Sequence[RunView]) -> Headline:
    """One sentence with its number, of one run or of several."""
    told = _of_one(runs[0]) if len(runs) == 1 else _of_several(runs)
    return replace(told, more=(*told.more, *_supervision(runs)))


def _supervision(runs: Sequence[RunView]) -> list[str]:
    """A sentence for each run, and each kind of supervision beyond image labels, that its marked results took."""
    where = [f" in {run.name}" if len(runs) > 1 else "" for run in runs]
    return [
        f"{MARK.strip()} Supervision{of_run}: {words}."
        for run, of_run in zip(runs, where, strict=True)
        for words in run.supervision
    ]


def _of_one(run: RunView) -> Headline:
    found, masks = run.headline, run.results("masks")
    later = _unfinished(run)
    if found is None or found.miou is None:
        return _unscored(run, later)
    if found.key == "scores/masks":
        return Headline(
            percent(found.miou),
            " % mIoU",
            f"of the pseudo masks on {_images(found)}{_made_from(run)}.",
            (*_models(run), *later),
        )
    more = [] if masks or found.kind == "prediction" else ["Pseudo masks are still to be made."] if run.missing else []
    if found.judged:
        at = f"at threshold {found.judged['oracle']['threshold']:.2f}, the best on the true masks"
        told = f"of {found.title} on {_images(found)}, {at}{_lead(run, found)}."
    else:
        told = f"of the {found.title.lower()} on {_images(found)}."
    return Headline(
        percent(found.miou), " % mIoU", told, (*more, *(() if found.kind == "prediction" else _models(run)), *later)
    )


def _unscored(run: RunView, later: tuple[str, ...]) -> Headline:
    masks = run.results("masks")
    if masks:
        told = (
            f"pseudo masks, made from {_source(run)} at threshold {masks['threshold']:.2f}. There are no true masks to"
            " score them by."
        )
        return Headline(str(masks["images"]), "", told, later)
    for stage in ("seeds/recam", "seeds/cam", "seeds/given"):
        if images := run.results(stage).get("images"):
            return Headline(str(images), "", "images have class maps; pseudo masks are still to be made.", later)
    for stage, what in (("reactivate", "reactivated classifier"), ("classify", "classifier")):
        if history := run.histories.get(stage):
            epochs = f"{len(history)} epoch{'s' * (len(history) != 1)}"
            return Headline(
                f"{history[-1]['loss']:.3f}",
                "",
                f"is the loss of the {what} after {epochs}; class maps are still to be made.",
                later,
            )
    return Headline("", "", "Nothing has come out yet: no training has finished.", later)


def _of_several(runs: Sequence[RunView]) -> Headline:
    found = [(run, run.headline.miou, run.headline) for run in runs if run.headline and run.headline.miou is not None]
    if not found:
        return Headline(str(len(runs)), "", "runs side by side; none of them is scored.")
    best, miou, outcome = max(found, key=lambda each: each[1])
    others = [f"{100 * (miou - other):.1f} points above {run.name}" for run, other, _ in found if run is not best]
    same = len({each.key for _, _, each in found}) == 1
    told = f"of {outcome.title} in {best.name}" if outcome.judged else f"of the {outcome.title.lower()} of {best.name}"
    alike = len({run.classes for run in runs}) == 1 and len({outcome.images for _, _, outcome in found}) == 1
    more: tuple[str, ...] = (
        () if same else ("The runs have not come equally far: these numbers are of different things.",)
    )
    more += () if alike else ("The runs have other classes or other scored images: compare with care.",)
    return Headline(percent(miou), " % mIoU", f"{told}{': ' if others else ''}{', '.join(others)}.", more)


def score_table(run: RunView) -> list[tuple[str, list[Cell]]]:
    """(title, cells for oracle, Otsu, recipe) of each set of class maps; masks and models have one score, at no
    threshold."""

    def cell(found: dict[str, float] | None) -> Cell:
        return Cell("none") if not found else Cell(percent(found["miou"]), f"at {found['threshold']:.2f}")

    rows = []
    for found in run.outcomes:
        if found.judged:
            rows.append((found.title, [cell(found.judged[kind]) for kind in ("oracle", "otsu", "recipe")]))
        else:
            rows.append((found.title, [Cell(percent(found.miou), f"{found.images} images")]))
    return rows


def comparison_table(runs: Sequence[RunView]) -> list[tuple[str, list[Cell]]]:
    """(title, a cell a run) of everything that was scored, with the difference to the first run."""
    titles = {found.key: found.title for run in runs for found in run.outcomes}
    rows = []
    for key, title in titles.items():
        scores = [found.miou if (found := run.find(key)) else None for run in runs]
        cells = []
        for place, score in enumerate(scores):
            first = scores[0]
            if place and score is not None and first is not None:
                cells.append(Cell(percent(score), f"{100 * (score - first):+.1f}".replace("-", "−"), score >= first))
            else:
                cells.append(Cell(percent(score)))
        rows.append((title, cells))
    return rows


def differing_settings(runs: Sequence[RunView]) -> list[tuple[str, list[str]]]:
    """(name, a value a run) of the settings and versions that are not the same in all runs."""
    flat = [
        flatten(run.settings.get("recipe", {})) | flatten({"version": run.settings.get("packages", {})}) for run in runs
    ]
    names = dict.fromkeys(name for each in flat for name in each)
    values = {
        name: [json.dumps(each[name], ensure_ascii=False) if name in each else "–" for each in flat] for name in names
    }
    return [(name, told) for name, told in values.items() if len(set(told)) > 1]


def flatten(tree: dict[str, Any]) -> dict[str, Any]:
    """Settings by dotted name."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict) and name != "options":
            flat |= {f"{name}.{inner}": each for inner, each in flatten(value).items()}
        else:
            flat[name] = value
    return flat


def recipe_text(recipe: dict[str, Any]) -> str:
    """The settings as a recipe file (TOML) that `recam run --recipe` takes; None, which TOML lacks, is every such
    setting's default."""
    top = [
        f"{name} = {_toml(value)}"
        for name, value in recipe.items()
        if not isinstance(value, dict) and value is not None
    ]
    for section, fields in recipe.items():
        if isinstance(fields, dict):
            top += [
                "",
                f"[{section}]",
                *(f"{name} = {_toml(value)}" for name, value in fields.items() if value is not None),
            ]
    return "\n".join(top) + "\n"


def percent(score: float | None) -> str:
    """``0.5123`` → ``51.2``."""
    return "–" if score is None else f"{100 * score:.1f}"


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return (
            "{ "
            + ", ".join(f"{json.dumps(name)} = {_toml(each)}" for name, each in value.items() if each is not None)
            + " }"
            if value
            else "{}"
        )
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _made_from(run: RunView) -> str:
    masks, maps = run.results("masks"), run.find(run.masked_from)
    if not masks:
        return ""
    how = "the best on the true masks" if masks["threshold_from"] == "oracle" else "the recipe's"
    return f", made from {_source(run)} at threshold {masks['threshold']:.2f}, {how}{_lead(run, maps) if maps else ''}"


def _source(run: RunView) -> str:
    return maps_title(run.masked_from)


def _lead(run: RunView, found: Outcome) -> str:
    """How far class maps are from CAM's."""
    cam = run.find("cam")
    if cam is None or cam.miou is None or found.miou is None or found.key == "cam":
        return ""
    points = 100 * (found.miou - cam.miou)
    return f", {abs(points):.1f} points {'above' if points >= 0 else 'below'} CAM"


def _models(run: RunView) -> tuple[str, ...]:
    model, bound = run.find("predictions/pseudo"), run.find("predictions/truth")
    if model is None or model.miou is None:
        return ()
    told = f"The segmentation model trained on them reaches {percent(model.miou)} % on {model.images} held-out images"
    return (f"{told}; trained on true masks, {percent(bound.miou)} %." if bound else f"{told}.",)


def _unfinished(run: RunView) -> tuple[str, ...]:
    if not run.missing:
        return ()
    first, count = run.missing[0], len(run.missing)
    return (f"The run is not at its end: {count} stage{'s' * (count != 1)} to go, {first} first.",)


def _images(found: Outcome) -> str:
    return f"{found.images} image{'s' * (found.images != 1)}"
