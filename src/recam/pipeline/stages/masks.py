"""Pseudo masks: class maps at a threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from accelerate import Accelerator
from numpy.typing import NDArray

from recam.data.images import read_mask, write_mask
from recam.data.roles import RunData
from recam.engine.amount import Amount, Turn
from recam.engine.bench import Bench
from recam.engine.stage import Stage
from recam.engine.tasks import Plain
from recam.engine.work import Work
from recam.labels import BACKGROUND, IGNORE, mask_values
from recam.methods.cam import read_full
from recam.methods.refine import EVEN
from recam.methods.thresholds import apply_threshold
from recam.pipeline.map_set import MapFolder, MapSet, ThresholdSource
from recam.pipeline.stages.pixels import STAGE as PIXELS_STAGE
from recam.pipeline.stages.pixels import judge_amounts, judge_masks
from recam.pipeline.stages.score import HasMask, mask_path
from recam.progress import log_line
from recam.recipe.recipe import Recipe
from recam.runfolder.kinds import MASKS
from recam.runfolder.maps import read_seed
from recam.runfolder.store import StageFolder
from recam.settings import CountOrNone, Settings, Share, section
from recam.types import Mask, Sample

KEPT = 0.9
"""A round is kept that agrees with the images by at least this part of what masks before it did, and shows at least
this part of the labels that they show. Masks by a model are smoother than a CRF's, which follow the very colours that
agreement is measured by: on photos they agree a little less and are better; where the model has come undone, they agree
by half or less. A model that forgets rare classes is seen by what its masks no longer show (docs/log.md)."""
CHOICE_VERSION = 2
"""2 since a round must show the labels."""


@section("masks")
@dataclass(frozen=True)
class MaskSettings(Settings):
    """How class maps become pseudo masks."""

    threshold: Share | Literal["auto"] = "auto"
    """Background plane where no true mask is known. ``auto``: found in the maps and images of the run, without masks,
    see `recam.methods.agreement`; published for VOC: 0.21 for ReCAM and 0.15 for CAM. Without a background there is no
    threshold, whatever stands here."""
    oracle: bool = True
    """Where the `score` split has true masks, use the threshold that scores best on them, as papers do (named oracle in
    all results)."""
    class_thresholds: dict[str, Share] = field(default_factory=dict)
    """Thresholds of single classes where they differ, e.g. ``{cat = 0.3}``: a pixel's largest map must exceed that of
    its own class."""
    rounds: CountOrNone | Literal["auto"] = 0
    """How often a `round` follows the refiners. ``auto``: once, and its masks are kept unless they agree clearly
    less with the images, or show clearly fewer of their labels."""
    round: tuple[str, ...] = ()
    """Refiners of a round, e.g. ``["self_training", "crf"]``: a segmentation model learns from the masks, and its
    own masks of the same images, restricted to their labels and refined, take their place."""

    corrected: str = ""
    """Folder of masks that people made or changed, ``ID.png`` of some training images, as ``recam review RUN
    --retrain`` writes it: the segmentation model learns from these, and from pseudo masks of all other images; empty:
    from pseudo masks alone."""

    def conflicts(self, recipe: Recipe) -> list[str]:
        if self.rounds and not self.round:
            return ['masks.rounds repeats masks.round, which is empty: set it, e.g. to ["self_training"]']
        return []

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


@dataclass(frozen=True)
class ChosenGiven:
    """Stages with masks of the same images, before and after a round: the latter are taken, unless they agree with the
    images, or show labels, by less than `KEPT` of what the former do."""

    stages: tuple[str, str]
    kept: float


def masks_stage(recipe: Recipe, maps: MapSet, name: str, group: str) -> Stage:
    """A stage of that name with the masks that the maps become."""
    own = recipe.section(MaskSettings)
    source = maps.source(own.oracle)
    given = MasksGiven(maps.name, maps.folder, source, tuple(sorted(own.class_thresholds.items())))
    needs = (maps.folder.stage, *source.needs)
    label = {"title": f"masks of {maps.title}"}
    return Stage(name, group, make_masks, given, needs, ("seeded",), label=label, amounts=mask_amounts, shared=True)


def plan_masks(recipe: Recipe, maps: MapSet, before: MapSet | None = None) -> list[Stage]:
    """The stage of the pseudo masks that the maps become, and what it chooses from.

    Args:
        before: earlier maps, whose masks stay where those of the last agree clearly less with the images; needs
            `recam.pipeline.stages.pixels`.
    """
    label = {"title": "pseudo masks", "kind": MASKS, "colour": "red", "from": maps.title}
    if before is None:
        return [replace(masks_stage(recipe, maps, MASKS, "masks"), label=label)]
    several = [masks_stage(recipe, each, masks_of(each), "masks") for each in (before, maps)]
    names = several[0].name, several[1].name
    needs = (*names, PIXELS_STAGE)
    given = ChosenGiven(names, KEPT)
    best = Stage(MASKS, "masks", take_best, given, needs, ("seeded", "train"), CHOICE_VERSION, label=label)
    return [*several, replace(best, amounts=best_amounts)]


def masks_of(maps: MapSet) -> str:
    """The stage with masks of these maps that are not, or not yet, the run's pseudo masks."""
    return f"rounds/{maps.stem}/masks"


def make_masks(given: MasksGiven, work: Work) -> dict[str, Any]:
    """Masks of all images."""
    threshold, source = given.threshold.find(work)
    own = dict(given.class_thresholds)
    levels = None
    if threshold is not None:
        levels = [own.get(name, threshold) for name in work.data.catalog.classes.names]  # (K,)
    source_of = work.inputs[given.maps.stage].path / given.maps.inner
    work.each(work.data.seeded, Plain(HasMask(work.folder), MaskWriter(source_of, work.folder, levels)))
    empty, classes = _look_at(work)
    used = {"threshold": threshold or 0.0, "threshold_from": source, **({"class_thresholds": own} if own else {})}
    return {"images": len(work.data.seeded), "maps": given.name, "empty": empty, "classes": classes, **used}


@dataclass(frozen=True)
class MaskWriter:
    """Writes the mask of an image's maps; picklable.

    Attributes:
        levels: (K) height of the background plane where a class's map is the largest; None: there is none.
    """

    maps: Path
    folder: StageFolder
    levels: Sequence[float] | None

    def __call__(self, sample: Sample) -> None:
        seed = read_seed(self.maps / f"{sample.id}.npz")
        heights = self.levels and [self.levels[index] for index in seed.class_indices]
        mask = apply_threshold(read_full(seed), seed.class_indices, heights, seed.ignore)
        write_mask(mask_path(self.folder, sample.id), mask)


@dataclass(frozen=True)
class MaskCopy:
    """Writes the mask of an image that another stage made; picklable."""

    source: StageFolder
    folder: StageFolder

    def __call__(self, sample: Sample) -> None:
        write_mask(mask_path(self.folder, sample.id), read_mask(mask_path(self.source, sample.id)))


def mask_amounts(given: MasksGiven, data: RunData) -> list[Amount]:
    """Every image gets a mask, which is looked at once."""

    def set_up(bench: Bench) -> Turn:
        level = EVEN if bench.background else None

        def turn(sample: Sample) -> None:
            seed, path = read_seed(bench.seeds / f"{sample.id}.npz"), bench.folder / "masks" / f"{sample.id}.png"
            write_mask(path, apply_threshold(read_full(seed), seed.class_indices, level, seed.ignore))
            read_mask(path)

        return turn

    return [Amount("mask of an image", len(data.seeded), set_up)]


def best_amounts(given: ChosenGiven, data: RunData) -> list[Amount]:
    """Masks of each stage are judged, and those of one are copied, which is about as much as to make them."""
    own = mask_amounts(MasksGiven("", MapFolder(""), ThresholdSource(), ()), data)
    return [*own, *judge_amounts(data, len(given.stages))]


def _look_at(work: Work) -> tuple[int, dict[str, dict[str, float]]]:
    """Images with a label whose mask shows no class, reported, since their labels say that something is there; and of
    each class how many images have its label (``labelled``), in how many of these the mask shows it (``shown``), and
    which share of the pixels it has there, in the mean (``area``)."""
    work.accelerator.wait_for_everyone()
    names = work.data.catalog.classes.names
    labelled = [sample for sample in work.data.seeded if sample.labels]
    count, found = work.count(labelled, ShownTask(work.folder, len(names))).counts
    empty = int(count[0])
    if empty and work.accelerator.is_main_process:
        log_line(
            f"{work.folder.name}: {empty} of {len(labelled)} images with a label have an empty mask. Lower"
            " masks.threshold, or look at the classifier's scores and at pictures/ first."
        )
    classes = {
        name: {"labelled": int(images), "shown": int(shown), "area": float(area / max(shown, 1) / 1_000_000)}
        for name, images, shown, area in zip(names, *found, strict=True)
    }
    return empty, classes


@dataclass(frozen=True)
class ShownTask:
    """Counts what masks show of their images' labels: a `recam.engine.tasks.CountTask`."""

    folder: StageFolder
    n_classes: int
    width = 0

    def start(self, accelerator: Accelerator) -> ShownCounter:
        return ShownCounter(self.folder, (np.zeros(1, np.int64), np.zeros((3, self.n_classes), np.int64)))


@dataclass(frozen=True)
class ShownCounter:
    """Attributes:
    counts: empty masks (1); by class (3, K) images with its label, those whose mask shows it, and the sum of its
        shares of their pixels in parts per million.
    """

    folder: StageFolder
    counts: tuple[NDArray[np.int64], NDArray[np.int64]]

    def __call__(self, sample: Sample) -> None:
        empty, found = self.counts
        mask, own = read_mask(mask_path(self.folder, sample.id)), np.array(sample.labels)
        pixels = np.bincount(mask.ravel(), minlength=256)[mask_values(own)[1:]]  # (n,)
        empty += not ((mask != BACKGROUND) & (mask != IGNORE)).any()
        found[:, own] += np.stack([np.ones_like(pixels), pixels > 0, pixels * 1_000_000 // mask.size])


def take_best(given: ChosenGiven, work: Work) -> dict[str, Any]:
    """Masks of all images by the round, or by what came before it where the round has come undone."""
    before, after = given.stages
    found = {name: judge_masks(work, work.inputs[name]) for name in given.stages}
    agrees = found[after].agreement >= given.kept * found[before].agreement
    shows = found[after].shown >= given.kept * found[before].shown
    best = work.inputs[after if agrees and shows else before]
    work.each(work.data.seeded, Plain(HasMask(work.folder), MaskCopy(best, work.folder)))
    work.accelerator.wait_for_everyone()
    results = {name: work.inputs[name].record["results"] for name in given.stages}
    agreements = {results[name]["maps"]: judged.agreement for name, judged in found.items()}
    shown = {results[name]["maps"]: judged.shown for name, judged in found.items()}
    if work.accelerator.is_main_process:
        values = ", ".join(f"{name} {value:.3f} ({shown[name]:.0%})" for name, value in agreements.items())
        log_line(
            f"{work.folder.name}: agreement with the images, and labels shown: {values}; those of"
            f" {results[best.name]['maps']} are kept."
        )
    return {**results[best.name], "agreements": agreements, "labels_shown": shown}


@dataclass(frozen=True)
class PseudoMasks:
    """Reads the mask of a sample that a stage made: a pseudo mask, or a confident label."""

    folder: StageFolder

    def __call__(self, sample: Sample) -> Mask:
        return read_mask(mask_path(self.folder, sample.id))
