"""Masks that people made or changed, for the segmentation model of the same run to learn from."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recam.data.images import write_mask
from recam.errors import DataError, StoreError
from recam.review.chosen import Chosen, save_recipe
from recam.review.decisions import Decisions
from recam.review.judged import judged_mask
from recam.review.layers import Item, ReviewedRun
from recam.types import Mask

FOLDER = "corrections"
"""In RUN/review: what `masks.corrected` names."""


@dataclass(frozen=True)
class Corrections:
    """What was written for a model to learn from.

    Attributes:
        folder: ``ID.png`` of each image whose mask people made or changed.
        masks: how many.
        images: training images of the run; the others keep their pseudo masks.
        recipe: the settings by which they are learned from, and the command.
    """

    folder: Path
    masks: int
    images: int
    recipe: Chosen

    def __str__(self) -> str:
        return (
            f"{self.masks} of {self.images} training images have a mask that people made or changed, in {self.folder};"
            f" the others keep their pseudo masks\nnext: {self.recipe.command}"
        )

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        found = {"folder": str(self.folder), "masks": self.masks, "images": self.images}
        return {**found, "recipe": str(self.recipe.path), "command": self.recipe.command}


def write_corrections(
    run: ReviewedRun, decisions: Decisions, advance: Callable[[int, int], None] = lambda done, total: None
) -> Corrections:
    """Write ``RUN/review/corrections/`` and ``RUN/review/corrected.toml``, the run's recipe with `masks.corrected`.

    A training image counts whose mask was accepted and is another than its pseudo mask of now: painted by hand, made at
    thresholds chosen by hand, or cleared of a label. Of all other images, rejected ones as well, the pseudo mask stays.

    Args:
        advance: called with (done, total).

    Raises:
        StoreError: no mask was changed, or one that was accepted is not there any more.
        DataError: a mask is damaged.
    """
    trained = [item for item in run.items if item.split == "train"]
    folder = run.review / FOLDER
    # Written beside and renamed at the end: never half of them.
    fresh = folder.with_name(f".{FOLDER}.{uuid.uuid4().hex[:8]}.tmp")
    count = 0
    try:
        for done, item in enumerate(trained):
            advance(done, len(trained))
            mask = _changed(run, decisions, item)
            if mask is not None:
                write_mask(fresh / f"{item.id}.png", mask)
                count += 1
        advance(len(trained), len(trained))
        if not count:
            raise StoreError(
                "no accepted mask of a training image differs from its pseudo mask, so a model would learn nothing new."
                " Fix masks on the page first."
            )
        if folder.exists():
            shutil.rmtree(folder)
        fresh.rename(folder)
    except OSError as error:
        raise StoreError(f"{folder} cannot be written ({error.strerror}).") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    tree = run.recipe.as_dict()
    tree["masks"] |= {"corrected": str(folder.resolve())}
    return Corrections(folder, count, len(trained), save_recipe(run, tree, "corrected.toml", "corrected masks"))


def _changed(run: ReviewedRun, decisions: Decisions, item: Item) -> Mask | None:
    state = decisions.state(item.id)
    if state.verdict != "accepted":
        return None
    mask, _ = judged_mask(run, item, state)
    before = run.read_mask(run.masks, item) if run.masks else None
    if before is not None and before.shape != mask.shape:
        raise DataError(
            f"{item.id}: the accepted mask has {mask.shape}, its pseudo mask {before.shape}. Judge it again."
        )
    return None if before is not None and np.array_equal(mask, before) else mask
