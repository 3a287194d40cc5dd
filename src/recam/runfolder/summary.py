"""Results and costs of a run, read from its folder: a table for people, JSON for machines."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recam.errors import StoreError
from recam.frames import as_frame
from recam.runfolder.costs import Records, baseline_stage, cost_in_units, upstream_minutes
from recam.runfolder.kinds import MAP_SCORES, QUALITY, THRESHOLD
from recam.runfolder.records import read_records
from recam.runfolder.score_rows import CLASS_COLUMNS, COLUMNS, class_rows, score_rows
from recam.runfolder.store import PLAN, REPORT, RunFolder, read_json
from recam.runfolder.supervision import CORRECTED, MARK, describe_supervision, used_saliency

FEW = 10
"""Images of which nothing is said: chance is too likely to win."""


_THRESHOLDS = ("oracle", "otsu", "recipe")


@dataclass(frozen=True)
class RunSummary:
    """Results and costs of the finished stages of a run; prints itself.

    Attributes:
        root: the run folder.
        made, skipped: stages that this call worked on, and those it found finished.
        records: record of each finished stage by name; see `recam.runfolder.store`.
        planned: minutes that a plan gave a stage before it was made, by its name and key.
        shared: whether this call did its share of a run that others are still at.
    """

    root: Path
    made: tuple[str, ...]
    skipped: tuple[str, ...]
    records: dict[str, dict[str, Any]]
    planned: Mapping[tuple[str, str], float] = field(default_factory=dict)
    shared: bool = False

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: scores (mIoU in [0, 1]) and costs by stage."""
        scored_by = self._scored_by()
        scores = {
            name: (found["oracle"] or {})
            | {
                "threshold_from": "oracle" if self._has_background else "largest map",
                "otsu": found["otsu"],
                "recipe": found["recipe"],
            }
            | {
                "minutes": upstream_minutes(self.records, scored_by[name]),
                "cost_in_units": cost_in_units(self.records, scored_by[name]),
            }
            for name, found in self._maps()
        }
        masks = self._results("masks")
        used = {key: masks.get(key) for key in ("maps", "threshold", "threshold_from")}
        used |= {"class_thresholds": masks["class_thresholds"]} if masks.get("class_thresholds") else {}
        return {
            "maps": scores,
            "cost_unit": self._unit,
            "masks": {**used, "miou": self._miou("scores/masks")},
            "segmentation": {"pseudo": self._miou("predictions/pseudo"), "truth": self._miou("predictions/truth")},
            "supervision": {
                "maps": {name: self._supervision(stage) for name, stage in scored_by.items()},
                "masks": self._supervision("masks"),
                "segmentation": {kind: self._supervision(f"segment/{kind}") for kind in ("pseudo", "truth")},
            },
            "stages": {name: self._cost(name, record) for name, record in self.records.items()},
            "planned": self._compare_plan(),
        }

    def to_frame(self, per_class: bool = False) -> Any:
        """Scores as a ``pandas.DataFrame``: a row for each set of class maps, at the threshold that scores best, and
        each set of masks; scores in [0, 1], NaN where there is none.

        Args:
            per_class: a row for each class of each set of masks instead, with its IoU.

        Raises:
            DependencyError: pandas is not installed.
        """
        if per_class:
            return as_frame(list(class_rows(self.records)), CLASS_COLUMNS)
        return as_frame(list(score_rows(self.records)), COLUMNS)

    def __str__(self) -> str:
        done = ": this share is done, others are not" if self.shared else ": nothing to do, every stage is up to date"
        head = f"run {self.root}{'' if self.made else done}"
        return "\n".join([head, self.table, *(["", *self.closing] if self.closing else [])])

    @property
    def closing(self) -> list[str]:
        """Where the masks are, where the report is, and what to do with them next."""
        masks, report = self._results("masks"), self.root / REPORT / "report.html"
        place = shlex.quote(str(self.root))
        lines = [f"masks:   {self.root / 'masks'} ({masks['images']} PNG files)"] if masks else []
        lines += [f"report:  {report}"] if report.is_file() else []
        if masks:
            new = f"; recam predict {place} PHOTOS -o OUT" if "segment/pseudo" in self.records else ""
            lines.append(f"next:    recam review {place}{new}")
        elif self.shared:
            lines.append("next:    the same commands, when all shares have ended")
        elif self.records:
            lines.append("next:    the same command without --until goes on")
        return lines

    @property
    def table(self) -> str:
        """Scores and costs, without what this call did."""
        lines: list[str] = []
        scored = self._maps()
        if scored:
            scored_by = self._scored_by()
            images = self._results(scored_by[scored[0][0]])["images"]
            marks = {name: MARK if self._used_saliency(stage) else "" for name, stage in scored_by.items()}
            named = max((28, *(len(name + marks[name]) + 2 for name, _ in scored)))
            heading = f"{'mIoU of maps (' + str(images) + ' images)':<{named}}"
            unit = f"× {self._unit}" if self._unit else ""
            kinds = _THRESHOLDS if self._has_background else ("largest",)
            columns = "  ".join(f"{kind:>8} {'at' * self._has_background:>5}" for kind in kinds)
            columns = f"{columns}  {'minutes':>8} {unit:>6}"
            lines += ["", f"{heading}{columns}".rstrip()]
            for name, found in scored:
                cells = "  ".join(_score_at(found[kind]) for kind in kinds)
                costs = _cost(self.records, scored_by[name], max(6, len(unit)))
                lines.append(f"{name + marks[name]:<{named}}{cells}  {costs}".rstrip())
            lines.append(
                "oracle: the threshold that scores best on the true masks; otsu: found without any mask"
                if self._has_background
                else "largest: there is no background, each pixel is of the class of its largest map"
            )
            in_units = f"; {unit}: in units of what the maps of {self._unit} took" if unit else ""
            lines.append(f"minutes: cumulative, of all upstream stages{in_units}")
            described = dict.fromkeys(self._supervision(stage) for name, stage in scored_by.items() if marks[name])
            lines += [f"{MARK.strip()} supervision: {words}" for words in described]
        lines += self._classifiers()
        lines += [
            f"{record['label']['title']}: {record['results']['threshold']:.2f}, found without masks (agreement with the"
            f" images {record['results']['agreement']:.3f})"
            for record in self.records.values()
            if record.get("label", {}).get("kind") == THRESHOLD
        ]
        masks = self._results("masks")
        if masks:
            score = self._miou("scores/masks")
            at = f"at {masks['threshold']:.2f} ({masks['threshold_from']})"
            made = f"pseudo masks from {masks['maps']} {at if self._has_background else 'by the largest map'}"
            made += f", {len(masks.get('class_thresholds', ()))} classes at their own" * ("class_thresholds" in masks)
            outcome = f"{masks['images']} images" if score is None else f"{_percent(score)} mIoU"
            outcome += f", {masks['empty']} with a label but an empty mask" if masks.get("empty") else ""
            lines += ["", f"{made}: {outcome}{self._saliency_note('masks')}"]
            if agreements := masks.get("agreements"):
                told = ", ".join(f"{name} {value:.3f}" for name, value in agreements.items())
                lines += [f"agreement of masks with the images: {told}"]
            lines += [
                f"quality of the masks, known without true ones: {_quality(record['results'])}"
                for record in self.records.values()
                if record.get("label", {}).get("kind") == QUALITY
            ]
        for kind, model in (
            ("pseudo", "segmentation model, trained on pseudo masks"),
            ("truth", "segmentation model, trained on true masks"),
        ):
            if f"predictions/{kind}" in self.records:
                score, held_out = self._miou(f"predictions/{kind}"), self._results(f"predictions/{kind}")["images"]
                note = self._saliency_note(f"segment/{kind}")
                if kind == "pseudo" and CORRECTED in (self._supervision(f"segment/{kind}") or ""):
                    model += f", {self._results('corrected').get('corrected')} of them corrected by people"
                lines.append(f"{model}: {_percent(score)} mIoU on {held_out} held-out images{note}")
        wide = max((20, *(len(name) + 2 for name in self.records)))
        lines += ["", f"{'stage':<{wide}}{'minutes':>8} {'images/s':>9} {'peak MiB':>9}"]
        lines[-1] += f" {'planned':>8}" if self.planned else ""
        for name, record in self.records.items():
            cost = self._cost(name, record)
            speed = "" if cost["images_per_second"] is None else f"{cost['images_per_second']:.1f}"
            line = f"{name:<{wide}}{cost['minutes']:8.2f} {speed:>9} {cost['peak_memory_mb']:9.0f}"
            planned = cost["planned_minutes"]
            lines.append(line + ("" if planned is None else f" {planned:8.2f}"))
        if compared := self._compare_plan():
            whole = f"{compared['minutes']:.1f} minutes, planned {compared['planned_minutes']:.1f}"
            lines.append(f"stages that were made in one go: {whole}")
        return "\n".join(lines)

    def _classifiers(self) -> list[str]:
        """A line for each classifier, on how well it predicts image labels."""
        lines = []
        for record in self.records.values():
            labels = record.get("results", {}).get("labels")
            if labels and labels["map"] is not None:
                found = f"mAP {_percent(labels['map'])}, {_percent(labels['chance'])} by chance, on {labels['of']}"
                note = "" if labels["is_learned"] or labels["images"] < FEW else ": IT HAS LEARNED NOTHING"
                lines.append(f"image labels by {record['label']['title']}: {found}{note}")
        started = {(label["pretrained"], label["licence"]) for record in self.records.values()
                   if (label := record.get("label", {})).get("licence")}  # fmt: skip
        lines += [f"pretrained weights {name!r}: licence {terms}" for name, terms in sorted(started)]
        return ["", *lines] if lines else []

    def _results(self, stage: str) -> dict[str, Any]:
        results: dict[str, Any] = self.records.get(stage, {}).get("results", {})
        return results

    def _maps(self) -> list[tuple[str, dict[str, Any]]]:
        """(name, oracle, otsu and recipe with threshold and mIoU) of each set of maps."""
        return [
            (name, {**judged, "recipe": recipe_score(self.records[stage], name), "largest": _largest(judged)})
            for name, stage in self._scored_by().items()
            for judged in (self._results(stage)["maps"][name],)
        ]

    @property
    def _has_background(self) -> bool:
        """Whether pixels may belong to no class; else no threshold is in force."""
        return all(record.get("inputs", {}).get("background", True) for record in self.records.values())

    def _scored_by(self) -> dict[str, str]:
        """The stage that scored each set of maps, by the maps' name."""
        scored = [stage for stage, record in self.records.items() if record.get("label", {}).get("kind") == MAP_SCORES]
        return {name: stage for stage in scored for name in self._results(stage).get("maps", {})}

    @property
    def _unit(self) -> str | None:
        """Title of the maps in whose cost others are given."""
        stage = baseline_stage(self.records)
        return str(self.records[stage]["label"]["title"]) if stage else None

    def _supervision(self, stage: str) -> str | None:
        return describe_supervision(self.records.get(stage, {})) or None

    def _used_saliency(self, stage: str) -> bool:
        return used_saliency(self.records.get(stage, {}))

    def _saliency_note(self, stage: str) -> str:
        return f"; supervision: {self._supervision(stage)}" if self._used_saliency(stage) else ""

    def _miou(self, stage: str) -> float | None:
        miou: float | None = self._results(stage).get("scores", {}).get("miou")
        return miou

    def _compare_plan(self) -> dict[str, float] | None:
        """Minutes of the stages that a plan knew and that were made in one go, and what it had said; None where there
        are none."""
        costs = [self._cost(name, record) for name, record in self.records.items()]
        known = [cost for cost in costs if cost["planned_minutes"] is not None and not cost["resumed"]]
        if not known:
            return None
        return {name: sum(cost[name] for cost in known) for name in ("minutes", "planned_minutes")}

    def _cost(self, name: str, record: dict[str, Any]) -> dict[str, Any]:
        results, seconds = record.get("results", {}), record["seconds"]
        passes = len(results["history"]) if "history" in results else 1
        images = results.get("images_read", results.get("images", 0) * passes)
        speed = images / seconds if seconds and images and not record.get("resumed") else None
        return {
            "minutes": seconds / 60,
            "images_per_second": speed,
            "peak_memory_mb": record["peak_memory_mb"],
            "planned_minutes": self.planned.get((name, str(record.get("key", "")))),
            "resumed": bool(record.get("resumed")),
        }


def summarise(
    folder: RunFolder,
    order: tuple[str, ...],
    made: tuple[str, ...] = (),
    skipped: tuple[str, ...] = (),
    shared: bool = False,
) -> RunSummary:
    """The summary of a run folder, its stages in the given order; see `RunSummary`."""
    records = read_records(folder)
    ordered = {name: records[name] for name in order if name in records}
    return RunSummary(folder.root, made, skipped, ordered, read_planned(folder), shared)


def read_planned(folder: RunFolder) -> dict[tuple[str, str], float]:
    """Minutes that a plan gave each stage, by its name and key; empty without a plan, or of a damaged one, on which
    nothing hangs."""
    try:
        stages = read_json(folder.root / PLAN).get("stages", {})
        return {(name, str(each["key"])): each["seconds"] / 60 for name, each in stages.items() if each["seconds"]}
    except (StoreError, AttributeError, KeyError, TypeError):
        return {}


def recipe_score(record: Mapping[str, Any], name: str) -> dict[str, float] | None:
    """The score of a set of maps at the recipe's threshold for it, as tried nearest to that.

    Args:
        record: of the stage that scored the maps.

    Returns:
        None where nothing was scored, or the label names no such set.
    """
    threshold = next((each["threshold"] for each in record["label"].get("sets", ()) if each["name"] == name), None)
    return None if threshold is None else nearest(record["results"]["maps"][name], threshold)


def nearest(judged: Mapping[str, Any], threshold: float) -> dict[str, float] | None:
    """The score at the threshold that was tried nearest to `threshold`; None where nothing was scored."""
    tried = list(judged.get("thresholds") or ())
    if not tried:
        return None
    index = min(range(len(tried)), key=lambda place: abs(tried[place] - threshold))
    return {"threshold": tried[index], "miou": judged["curve"][index]}


def _score_at(found: Mapping[str, Any] | None) -> str:
    if found is None or found["miou"] is None:
        return f"{'none':>8} {'':>5}"
    at = found["threshold"]
    return f"{100 * found['miou']:8.2f} {'' if at is None else f'{at:.2f}':>5}"


def _largest(judged: Mapping[str, Any]) -> dict[str, Any] | None:
    """The score of the largest maps, which is that of every threshold where there is no background."""
    return {"miou": judged["oracle"]["miou"], "threshold": None} if judged["oracle"] else None


def _cost(records: Records, scores_stage: str, width: int) -> str:
    minutes, ratio = upstream_minutes(records, scores_stage), cost_in_units(records, scores_stage)
    return f"{'' if minutes is None else f'{minutes:.2f}':>8} {'' if ratio is None else f'{ratio:.2f}':>{width}}"


def _percent(score: float | None) -> str:
    return "" if score is None else f"{100 * score:.2f}"


def _quality(results: dict[str, Any]) -> str:
    agreement = f"agreement with the images {results['agreement']:.3f}"
    if "quality" not in results:
        return agreement
    return f"{results['quality']:.3f} ({results['learned']:.3f} of the labels learned × {agreement})"
