"""Draws the pictures of bad-masks.md: built-in scenes, their true masks, and the same masks with one flaw each.

python docs/site/draw_symptoms.py

The flaws are drawn, not made by a run: each shows what to look for, as plainly as can be.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageFilter

from recam.data.catalog import open_catalog
from recam.types import Image, Mask
from recam.visualize import overlay_mask, panel

FOLDER = Path(__file__).parent
TITLES = ("photo", "what you see", "what it should be")


def part_alone(mask: Mask) -> Mask:
    """Just the third of the object at its right end, where these animals have the head that tells them apart."""
    columns = np.flatnonzero((mask > 0).any(0))
    kept = mask.copy()
    kept[:, : columns[-1] - len(columns) // 3] = 0
    return kept


def too_wide(mask: Mask) -> Mask:
    """Grown by a sixteenth of the picture."""
    return _filtered(mask, PIL.ImageFilter.MaxFilter(2 * (mask.shape[1] // 16) + 1))


def with_context(mask: Mask) -> Mask:
    """The lower rows of the object through the whole picture, as water or rails would be."""
    rows = np.flatnonzero((mask > 0).any(1))
    spilt = mask.copy()
    spilt[rows[len(rows) * 3 // 4] :] = mask.max()
    return spilt


def wrong_class(mask: Mask) -> Mask:
    """The right half of the object as another class."""
    columns = np.flatnonzero((mask > 0).any(0))
    mixed = mask.copy()
    right = mixed[:, columns[len(columns) // 2] :]
    right[right > 0] = mask.max() % 10 + 1
    return mixed


def small_ones_gone(mask: Mask) -> Mask:
    """Without the class that covers least."""
    values, counts = np.unique(mask[mask > 0], return_counts=True)
    return np.where(mask == values[counts.argmin()], 0, mask).astype(np.uint8)


def in_blocks(mask: Mask) -> Mask:
    """In cells of a sixteenth of the picture."""
    side = mask.shape[0] // 16
    return np.kron(mask[side // 2 :: side, side // 2 :: side], np.ones((side, side), np.uint8))


FLAWS: dict[str, tuple[Callable[[Mask], Mask], str]] = {
    "part-alone": (part_alone, "horse"),
    "too-wide": (too_wide, "sheep"),
    "with-context": (with_context, "boat"),
    "wrong-class": (wrong_class, "cow"),
    "small-ones-gone": (small_ones_gone, "person"),
    "in-blocks": (in_blocks, "elephant"),
}


def main() -> None:
    for name, (flaw, shown) in FLAWS.items():
        image, mask = find_scene(shown, several=name == "small-ones-gone")
        wrong = np.where(mask == 255, 0, mask).astype(np.uint8)
        row = [image, overlay_mask(image, flaw(wrong)), overlay_mask(image, wrong)]
        picture = PIL.Image.fromarray(panel([row], TITLES, tile=192))
        picture.quantize(128, dither=PIL.Image.Dither.NONE).save(FOLDER / f"symptom-{name}.png", optimize=True)


def find_scene(name: str, several: bool) -> tuple[Image, Mask]:
    """The first scene with this class: alone, or beside others; over a twelfth of the picture in all."""
    catalog = open_catalog("scenes:", seed=7, size=192, train=200, val=0)
    wanted = catalog.classes.names.index(name)
    for sample in catalog.samples("train"):
        if wanted in sample.labels and (len(sample.labels) > 1) == several and sample.mask is not None:
            mask = sample.mask.read()
            if ((mask > 0) & (mask < 255)).mean() > 1 / 12:
                return sample.image.read(), mask
    raise LookupError(f"no scene shows {name}")


def _filtered(mask: Mask, change: PIL.ImageFilter.Filter) -> Mask:
    return np.asarray(PIL.Image.fromarray(mask).filter(change))


if __name__ == "__main__":
    main()
