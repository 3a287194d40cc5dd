"""Masks of the training images that were made elsewhere, such as by another run, taken into a run for a model to learn
from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from recam.data.images import image_size, read_mask, write_mask
from recam.data.roles import RunData
from recam.digests import digest_each, digest_file
from recam.engine.amount import Amount, Turn
from recam.engine.bench import Bench
from recam.engine.stage import Stage
from recam.engine.work import Work
from recam.errors import Problem, RecipeError, data_error
from recam.files import named_file
from recam.labels import IGNORE, mask_value
from recam.pipeline.stages.score import mask_path
from recam.runfolder.kinds import MASKS
from recam.runfolder.store import write_json
from recam.runfolder.supervision import CORRECTED
from recam.types import Mask, Sample

CORRECTED_STAGE = "corrected"
CORRECTED_IDS = "people.json"
"""File of that stage: ids of the images whose mask people made or changed."""
SUPERVISION = "external masks"
"""What results state: nothing is known of how they were made."""


@dataclass(frozen=True)
class TakenGiven:
    """What the taken masks depend on: what the files of the folder hold."""

    files: str


def external_masks(source: str, setting: str, name: str, group: str) -> Stage:
    """A stage of that name with the masks of a folder, ``ID.png`` of each training image.

    Args:
        setting: that names the folder, for messages.

    Raises:
        RecipeError: no folder of that name, or one without a PNG file.
    """
    folder = Path(source)
    files = sorted(folder.rglob("*.png")) if folder.is_dir() else []
    if not files:
        raise RecipeError(
            f"{setting} = {source!r} is no folder of masks. Give the one that holds ID.png of each training image, such"
            " as the folder masks of another run."
        )
    given = TakenGiven(digest_each(files, lambda path: (path.relative_to(folder).as_posix(), digest_file(path))))
    label = {"title": "masks made elsewhere"}
    return Stage(
        name, group, take(folder), given, (), ("train",), supervision=(SUPERVISION,), label=label, amounts=take_amounts
    )


def corrected_masks(source: str) -> Stage:
    """The stage with the masks that people made or changed, and the pseudo masks of all other training images.

    Raises:
        RecipeError: as `external_masks` does.
    """
    stage = external_masks(source, "masks.corrected", CORRECTED_STAGE, "masks")
    label = {"title": "pseudo masks, corrected by people"}
    make = take(Path(source), MASKS)
    return replace(stage, make=make, needs=(MASKS,), supervision=(CORRECTED,), label=label)


def take(folder: Path, rest: str = "") -> Any:
    """A stage's function that copies the masks into the run, all problems of them at once.

    Args:
        rest: the stage whose masks are taken of images that the folder has none of; empty: that is a problem.
    """

    def is_named(sample: Sample) -> bool:
        return not rest or named_file(folder, f"{sample.id}.png").is_file()

    def make(given: TakenGiven, work: Work) -> dict[str, Any]:
        values = mask_value(len(work.data.catalog.classes))
        problems = []
        for sample in work.share(work.data.train, lambda sample: mask_path(work.folder, sample.id).is_file()):
            if not is_named(sample):
                write_mask(mask_path(work.folder, sample.id), read_mask(mask_path(work.inputs[rest], sample.id)))
                continue
            found = list(_problems(folder, sample, values))
            problems += found
            if not found:
                write_mask(mask_path(work.folder, sample.id), _read(folder, sample))
        if problems:
            raise data_error(problems)
        results = {"images": len(work.data.train), "source": str(folder)}
        if not rest:
            return results
        named = [sample.id for sample in work.data.train if is_named(sample)]
        if not named:
            raise RecipeError(
                f"masks.corrected = {str(folder)!r} names no training image. Was it made for another run?"
            )
        if work.accelerator.is_main_process:
            write_json(work.folder.path / CORRECTED_IDS, {"images": named})
        return {**results, "corrected": len(named)}

    return make


def _read(folder: Path, sample: Sample) -> Mask:
    return read_mask(named_file(folder, f"{sample.id}.png"))


def _problems(folder: Path, sample: Sample, values: int) -> Iterator[Problem]:
    path = named_file(folder, f"{sample.id}.png")
    if not path.is_file():
        yield Problem("missing-mask", str(path), "no mask of this image: is the folder one of another data set?")
        return
    mask, size = read_mask(path), image_size(sample.image)
    if mask.shape != size:
        yield Problem(
            "other-size", str(path), f"the mask is {mask.shape}, its image {size}: was it made for other photos?"
        )
    elif unknown := [int(value) for value in np.unique(mask) if value >= values and value != IGNORE]:
        yield Problem(
            "unknown-class", str(path), f"values {unknown}, but classes are 1…{values - 1}: made for another data set?"
        )


def take_amounts(given: TakenGiven, data: RunData) -> list[Amount]:
    """The mask of every image is copied."""

    def set_up(bench: Bench) -> Turn:
        def turn(sample: Sample) -> None:
            write_mask(bench.folder / "taken" / f"{sample.id}.png", bench.mask(sample))

        return turn

    return [Amount("mask of an image copied", len(data.train), set_up)]
