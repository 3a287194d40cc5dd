"""How good pseudo masks are, as far as image labels and images show: no mask is read for it.

For settings, trainings and chains on one data set, higher is better; between data sets it compares nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from recam.engine.stage import Stage
from recam.engine.work import Work
from recam.evaluation.label_scores import part_learned
from recam.pipeline.stages.pixels import STAGE as PIXELS_STAGE
from recam.pipeline.stages.pixels import judge_amounts, judge_masks
from recam.runfolder.kinds import AGREEMENTS, MASKS, QUALITY
from recam.runfolder.store import write_json

SHOWN = 12


@dataclass(frozen=True)
class QualityGiven:
    """What quality depends on, beside masks and pixels: the stage of the classifier, empty for external maps."""

    classifier: str


def plan_quality(classifier: str) -> Stage:
    """The stage that judges the run's pseudo masks."""
    needs = (MASKS, PIXELS_STAGE, *([classifier] if classifier else []))
    label = {"title": "quality of the masks", "kind": QUALITY}
    stage = Stage(QUALITY, "masks", measure, QualityGiven(classifier), needs, ("train",), label=label)
    return replace(stage, amounts=lambda given, data: judge_amounts(data))


def measure(given: QualityGiven, work: Work) -> dict[str, Any]:
    """Agreement of masks and images, of all together and of each; with the part of held-out labels that the classifier
    has learned, quality."""
    judged = judge_masks(work, work.inputs[MASKS])
    worst = dict(sorted(judged.images.items(), key=lambda each: each[1]))
    if work.accelerator.is_main_process:
        write_json(work.folder.path / AGREEMENTS, worst)
    found: dict[str, Any] = {"images": len(worst), "agreement": judged.agreement, "worst": list(worst)[:SHOWN]}
    labels = work.inputs[given.classifier].record["results"].get("labels", {}) if given.classifier else {}
    if labels.get("of") == "held-out images":
        found["learned"] = part_learned(labels)
        found["quality"] = found["learned"] * judged.agreement
    return found
