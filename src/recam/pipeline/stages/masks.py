"""Pseudo masks: class maps at a threshold."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from recam.data.images import read_mask, write_mask
from recam.engine.stage import Stage
from recam.engine.work import Work, sum_over_processes
from recam.labels import BACKGROUND, IGNORE
from recam.methods.cam import read_full
from recam.methods.thresholds import apply_threshold
from recam.pipeline.map_set import MapFolder, MapSet, ThresholdSource
from recam.pipeline.stages.score import mask_path
from recam.progress import log_line
from recam.recipe.recipe import Recipe
from recam.runfolder.kinds import MASKS
from recam.runfolder.store import StageFolder
from recam.settings import Settings, Share, section
from recam.types import Mask, Sample


@section("masks")
@dataclass(frozen=True)
class MaskSettings(Settings):
    """How class maps become pseudo masks."""

    threshold: Share | Literal["auto"] = 0.21
    """Background plane where no true mask is known; published 0.21 for ReCAM and 0.15 for CAM on VOC. ``auto``: found
    in the maps and images of the run, without masks, see `recam.methods.agreement`."""
    oracle: bool = True
    """Where the `score` split has true masks, use the threshold that scores best on them, as papers do (named oracle in
    all results)."""
    class_thresholds: dict[str, Share] = field(default_factory=dict)
    """Thresholds of single classes where they differ, e.g. ``{cat = 0.3}``: a pixel's largest map must exceed that of
    its own class."""

    @property
    def fixed(self) -> float | None:
        """The threshold that stands in the recipe; None: it is to be found."""
        return None if self.threshold == "auto" else float(self.threshold)


@dataclass(frozen=True)
class MasksGiven:
    """What pseudo masks depend on, beside the maps."""

    name: str
    maps: MapFolder
    threshold: ThresholdSource
    class_thresholds: tuple[tuple[str, float], ...]


def plan_masks(recipe: Recipe, maps: MapSet) -> Stage:
    """The stage of the pseudo masks that the maps become."""
    own = recipe.section(MaskSettings)
    source = maps.source(own.oracle)
    given = MasksGiven(maps.name, maps.folder, source, tuple(sorted(own.class_thresholds.items())))
    needs = (maps.folder.stage, *source.needs)
    label = {"title": "pseudo masks", "kind": MASKS, "colour": "red", "from": maps.title}
    return Stage("masks", "masks", make_masks, given, needs, ("seeded",), label=label)


def make_masks(given: MasksGiven, work: Work) -> dict[str, Any]:
    """Masks of all images."""
    threshold, source = given.threshold.find(work)
    own = dict(given.class_thresholds)
    levels = [own.get(name, threshold) for name in work.data.catalog.classes.names]  # (K,)
    for sample in work.share(work.data.seeded, lambda sample: mask_path(work.folder, sample.id).is_file()):
        seed = given.maps.read(work, sample)
        mask = apply_threshold(
            read_full(seed), seed.class_indices, [levels[index] for index in seed.class_indices], seed.ignore
        )
        write_mask(mask_path(work.folder, sample.id), mask)
    empty = _count_empty(work)
    used = {"threshold": threshold, "threshold_from": source, **({"class_thresholds": own} if own else {})}
    return {"images": len(work.data.seeded), "maps": given.name, "empty": empty, **used}


def _count_empty(work: Work) -> int:
    """Images with a label whose mask shows no class; reported, since their labels say that something is there."""
    work.accelerator.wait_for_everyone()
    labelled = [sample for sample in work.data.seeded if sample.labels]
    count = np.zeros(1, np.int64)
    for sample in labelled[work.accelerator.process_index :: work.accelerator.num_processes]:
        mask = read_mask(mask_path(work.folder, sample.id))
        count += not ((mask != BACKGROUND) & (mask != IGNORE)).any()
    sum_over_processes(work, count)
    empty = int(count[0])
    if empty and work.accelerator.is_main_process:
        log_line(
            f"{work.folder.name}: {empty} of {len(labelled)} images with a label have an empty mask. Lower"
            " masks.threshold, or look at the classifier's scores and at pictures/ first."
        )
    return empty


@dataclass(frozen=True)
class PseudoMasks:
    """Reads the mask of a sample that a stage made: a pseudo mask, or a confident label."""

    folder: StageFolder

    def __call__(self, sample: Sample) -> Mask:
        return read_mask(mask_path(self.folder, sample.id))
