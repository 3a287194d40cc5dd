"""The threshold of class maps, found in them and in the images, by no mask: see `recam.methods.agreement`.

Where a refiner reads the mask at the threshold, what comes out of it is judged, not what goes in: on thin and small
objects the threshold that is best before a CRF can be far from the one that is best after it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recam.data.roles import RunData
from recam.engine.amount import Amount, Spread, Turn
from recam.engine.bench import Bench
from recam.engine.stage import Stage
from recam.engine.tasks import Plain
from recam.engine.work import Work, sum_over_processes
from recam.files import atomic_write
from recam.methods.agreement import (
    BACKGROUND_CLASS,
    THRESHOLDS,
    choose_best,
    find_threshold,
    measure_agreement,
    measure_coverage,
)
from recam.methods.cam import read_strided, strided_size
from recam.methods.refine import EVEN, Refiner
from recam.methods.thresholds import OtsuThreshold
from recam.pipeline.map_set import MapFolder, MapSet
from recam.pipeline.refiner import RefineContext, RefinerStep
from recam.pipeline.stages.pixels import (
    IMAGES,
    PIXELS,
    REFINED,
    STAGE,
    JudgedPixels,
    agreement_amount,
    count_judged,
    draw_pixels,
    plan_pixels,
    read_at,
)
from recam.progress import log_line
from recam.recipe.recipe import Recipe
from recam.runfolder.kinds import THRESHOLD
from recam.runfolder.maps import read_seed
from recam.types import Sample

TRIED, LOWEST = 9, 0.2
"""Thresholds that are tried then, evenly in their logarithm, from this part of Otsu's up to Otsu's: of objects that are
few or small, agreement has a second peak above it, where most of them have vanished."""
VERSION = 2
"""2 since agreement counts what masks show of the labels."""
LOW = 0.2
"""Below this agreement, nothing separates the inside of the masks from the outside."""


@dataclass(frozen=True)
class ThresholdGiven:
    """What the threshold depends on, beside the maps and the pixels that it is judged by."""

    maps: MapFolder
    step: RefinerStep | None
    """The refiner that reads the mask at the threshold; None: none does."""


def plan_threshold(
    recipe: Recipe,
    maps: MapSet,
    oracle: bool,
    weights: str | None,
    step: RefinerStep | None = None,
    folder: MapFolder | None = None,
) -> list[Stage]:
    """The stages that find the maps' threshold; none where the recipe has one, or the oracle's is wanted and known.

    Args:
        step: the refiner that comes next.
        folder: where maps of the images that judge lie, if not with all maps.
    """
    if not maps.finds or not maps.source(oracle).found:
        return []
    given = ThresholdGiven(folder or maps.folder, step if is_judged(step) else None)
    label = {"title": f"threshold of {maps.title}", "kind": THRESHOLD}
    needs = (given.maps.stage, STAGE)
    found = Stage(maps.finds, "masks", find, given, needs, ("train",), VERSION, label=label, amounts=find_amounts)
    return [plan_pixels(recipe, weights), found]


def images_judged(step: RefinerStep | None) -> int:
    """How many images, at most, find the threshold of maps before this refiner."""
    return REFINED if is_judged(step) else IMAGES


def is_judged(step: RefinerStep | None) -> bool:
    """Whether what comes out of this refiner is judged, and not what goes in."""
    return step is not None and step.uses_threshold and not step.uses_saliency and not step.reads_files


def find(given: ThresholdGiven, work: Work) -> dict[str, Any]:
    """The threshold, how well masks at it can be learned, and Otsu's beside."""
    judged = JudgedPixels.read(work, REFINED if given.step else IMAGES)
    samples = judged.samples
    shape = (len(samples), PIXELS)
    values, winners, otsu = np.zeros(shape, np.float32), np.zeros(shape, np.int64), OtsuThreshold()
    index = {sample.id: position for position, sample in enumerate(samples)}
    for sample in work.share(samples, lambda sample: False):
        seed = given.maps.read(work, sample)
        place, maps = index[sample.id], read_strided(seed)
        rows, columns = judged.draw(sample, maps.shape[1:])
        at = maps[:, rows, columns]  # (n, P)
        values[place], winners[place] = at.max(0), np.array(sample.labels)[at.argmax(0)]
        if seed.ignore is not None:  # pixels that hold no data are no object at any threshold
            values[place, read_at(seed.ignore, rows, columns)] = 0
        otsu.update(maps)
    sum_over_processes(work, values, winners, otsu.histogram)
    pixels = judged.as_pixels(values, winners)
    split = otsu.threshold() if np.count_nonzero(otsu.histogram) > 1 else 0.0
    if given.step and split:
        thresholds = np.geomspace(split * LOWEST, split, TRIED)
        masks, shown = _refine(given, work, judged, thresholds)  # (T, N, P), (T, N, K)
        agreement = measure_agreement(pixels, masks.reshape(len(thresholds), -1))
        found = choose_best(thresholds, agreement * measure_coverage(shown, judged.labels))
    else:
        found = find_threshold(pixels)
    chosen = found.threshold if given.step else min(found.threshold, split)
    report_low(work, found.agreement)
    return {
        "images": len(samples),
        "threshold": chosen,
        "agreement": found.agreement,
        "thresholds": list(found.thresholds),
        "curve": list(found.curve),
        "otsu": split,
    }


def report_low(work: Work, agreement: float) -> None:
    """One line where masks agree with the images so little that they may follow nothing in them."""
    if agreement < LOW and work.accelerator.is_main_process:
        log_line(
            f"{work.folder.name}: masks agree with colours and features of early layers by {agreement:.2f} alone (of"
            " 1): they may follow nothing in the images. Look at pictures/ before you trust them."
        )


def find_amounts(given: ThresholdGiven, data: RunData) -> list[Amount]:
    """Images are refined at each threshold, where a refiner reads it; then masks at all thresholds are compared."""
    images = count_judged(data, REFINED if given.step else IMAGES)
    thresholds = TRIED if given.step else len(THRESHOLDS)
    return [*refined_amounts(given, images * TRIED), agreement_amount(images, thresholds)]


def refined_amounts(given: ThresholdGiven, turns: int) -> list[Amount]:
    """So many images are refined, where a refiner comes next."""
    if not given.step:
        return []

    def refines(bench: Bench) -> Turn:
        assert given.step
        level = EVEN if bench.background else None
        return RefinedPixels((given.step.untrained(bench),), bench.seeds, bench.folder, 0, level)

    spread: Spread = "pool" if given.step.in_processes else ""
    return [Amount("image refined at a threshold", turns, refines, given.step, spread)]


def _refine(
    given: ThresholdGiven, work: Work, judged: JudgedPixels, thresholds: NDArray[np.floating]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(T, N, P) class of the pixels drawn from each image in its refined mask at each threshold, −1 for background; and
    (T, N, K) which classes it shows anywhere."""
    assert given.step
    contexts = [RefineContext(dict(work.inputs), work.accelerator.device, float(each)) for each in thresholds]
    source = work.inputs[given.maps.stage].path / given.maps.inner
    refiners_of = tuple(given.step.make_for_each(each) for each in contexts)
    judge = RefinedPixels(refiners_of, source, work.folder.path, judged.seed)
    return judge.read(work, judged, given.step.in_processes)


@dataclass(frozen=True)
class RefinedPixels:
    """Refines the maps of an image at each threshold and keeps the classes of the pixels drawn, and which of its labels
    it shows at all; picklable where the refiners are."""

    refiners_of: tuple[Callable[[Sample], Refiner], ...]
    source: Path
    folder: Path
    seed: int
    threshold: float | None = EVEN
    """Of the refined maps; None: there is no background."""

    def target(self, sample: Sample) -> Path:
        """The file of a sample."""
        return self.folder / "pixels" / f"{sample.id}.npz"

    def is_done(self, sample: Sample) -> bool:
        """Whether that is there."""
        return self.target(sample).is_file()

    def read(self, work: Work, judged: JudgedPixels, in_processes: bool) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Of all images that judge, (T, N, P) class of the pixels drawn, −1 for background; and (T, N, K) which classes
        are shown anywhere."""
        work.each(judged.samples, Plain(self.is_done, self), in_processes)
        work.accelerator.wait_for_everyone()
        shown = np.zeros((len(self.refiners_of), *judged.labels.shape), np.bool_)
        classes = []
        for row, sample in enumerate(judged.samples):
            with np.load(self.target(sample), allow_pickle=False) as file:
                classes.append(file["pixels"])
                shown[:, row, list(sample.labels)] = file["shown"]
        return np.stack(classes, 1), shown

    def __call__(self, sample: Sample) -> None:
        image, seed = sample.image.read(), read_seed(self.source / f"{sample.id}.npz")
        rows, columns = draw_pixels(strided_size(seed.size), sample.id, self.seed)
        found, shown = [], []
        level = -1.0 if self.threshold is None else self.threshold  # below all maps: none is background
        for refiner_of in self.refiners_of:
            refined = refiner_of(sample)(image, seed)
            classes = np.concatenate([[BACKGROUND_CLASS], refined.class_indices])
            whole = np.concatenate([np.full_like(refined.maps[:1], level), refined.maps]).argmax(0)  # (h, w)
            shown.append([(whole == index + 1).any() for index in range(len(refined.class_indices))])
            at = read_strided(refined)[:, rows, columns]  # (n, P)
            is_object = at.max(0) > level
            if seed.ignore is not None:
                is_object &= ~read_at(seed.ignore, rows, columns)
            found.append(np.where(is_object, classes[1:][at.argmax(0)], BACKGROUND_CLASS))
        with atomic_write(self.target(sample)) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, pixels=np.stack(found).astype(np.int64), shown=np.array(shown, np.bool_))
