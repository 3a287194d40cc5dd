"""A folder of masks without classes, made elsewhere: one JSON file per image, as Segment Anything's automatic mask
generator gives them with ``output_mode="coco_rle"``, or as in SA-1B, where the list stands under ``annotations``."""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recam.data.coco_masks import Runs, pack_shape, run_lengths
from recam.data.images import image_size
from recam.errors import DataError, Problem, first_line, printable
from recam.files import named_file
from recam.types import Sample

MOST_BYTES, MOST_MASKS = 128 << 20, 10_000
"""Of one image's file: a photo has some hundred masks of some hundred bytes each."""
AGAIN = "Write it again, e.g. json.dump(SamAutomaticMaskGenerator(sam, output_mode='coco_rle').generate(image), file)."
Lengths = NDArray[np.int64]
"""(r,) pixels outside, inside, outside, … a mask, column by column; they sum to H·W."""


@dataclass(frozen=True)
class FreeMask:
    """A mask whose class is not known.

    Attributes:
        lengths: its run lengths.
        predicted_iou: what its maker thinks of it; None: not given.
        stability: its stability score; None: not given.
    """

    lengths: Lengths
    predicted_iou: float | None = None
    stability: float | None = None


@dataclass(frozen=True)
class FreeMaskFolder:
    """Reads the masks of a sample; picklable, so that worker processes can.

    Attributes:
        folder: where ``ID.json`` lies, in sub-folders where ids have them.
    """

    folder: Path

    def path(self, sample: Sample) -> Path:
        """Where the masks of a sample lie."""
        return named_file(self.folder, f"{sample.id}.json")

    def __call__(self, sample: Sample, size: tuple[int, int]) -> list[FreeMask]:
        """The masks of a sample of size (H, W). Raises `DataError` as `read_free_masks`."""
        return read_free_masks(self.path(sample), size)

    def missing(self, samples: Sequence[Sample]) -> str:
        """Which of the samples have no file, in a sentence; empty where all have one. Nothing is read."""
        if not self.folder.is_dir():
            found = "a file" if self.folder.exists() else "nothing"
            return f"{self.folder} is no folder: there is {found} of that name."
        lost = [sample.id for sample in samples if not self.path(sample).is_file()]
        if not lost:
            return ""
        first = ", ".join(f"{sample_id}.json" for sample_id in lost[:3])
        return f"{len(lost)} of {len(samples)} images have no file in {self.folder} (first: {first})."

    def problems(
        self, samples: Sequence[Sample], show: Callable[[Sequence[Sample]], Iterable[Sample]] = iter
    ) -> Iterator[Problem]:
        """What is wrong with the files of the samples, each read; `show` iterates over them with progress."""
        for sample in show(samples):
            path = self.path(sample)
            try:
                self(sample, image_size(sample.image))
            except DataError as error:
                yield Problem("bad-masks", printable(path), str(error).removeprefix(f"{printable(path)} "))


def read_free_masks(path: Path, size: tuple[int, int]) -> list[FreeMask]:
    """The masks of one file.

    Args:
        size: (H, W) of the image.

    Raises:
        DataError: naming the file, with all that is wrong in it: no JSON, too large, no list, entries that hold no
            run-length code, one that is damaged or of another size, or scores that are no numbers.
    """
    entries, masks, wrong = _read_list(path), list[FreeMask](), dict[str, list[int]]()
    for number, entry in enumerate(entries):
        found = _read_entry(entry, size)
        if isinstance(found, str):
            wrong.setdefault(found, []).append(number)
        else:
            masks.append(found)
    if wrong:
        told = "; ".join(f"{len(which)} {why} (first: number {which[0]})" for why, which in wrong.items())
        raise DataError(printable(f"{path} of {len(entries)} masks has {told}. {AGAIN}"))
    return masks


def _read_list(path: Path) -> list[Any]:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DataError(f"{path} is larger than {MOST_BYTES >> 20} MiB: no image has so many masks. {AGAIN}")
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON ({first_line(error)}). {AGAIN}") from error
    entries = content.get("annotations") if isinstance(content, dict) else content
    if not isinstance(entries, list):
        raise DataError(printable(f"{path} holds no list of masks, but {reprlib.repr(content)}. {AGAIN}"))
    if len(entries) > MOST_MASKS:
        raise DataError(f"{path} lists {len(entries)} masks, more than {MOST_MASKS} of one image. {AGAIN}")
    return entries


def _read_entry(entry: Any, size: tuple[int, int]) -> FreeMask | str:
    """The mask, or why it cannot be used."""
    if not isinstance(entry, dict):
        return "that are no objects"
    shape, _ = pack_shape(entry.get("segmentation"))
    if not isinstance(shape, Runs):
        return "without run lengths (segmentation: size and counts) of at least one pixel"
    if shape.size != size:
        height, width = shape.size
        return f"of {width}×{height} pixels, but the image has {size[1]}×{size[0]}"
    lengths = run_lengths(shape.counts)
    if lengths is None or lengths.sum() != size[0] * size[1]:
        return "with damaged run lengths"
    scores = [entry.get(name) for name in ("predicted_iou", "stability_score")]
    if not all(score is None or _is_number(score) for score in scores):
        return "whose predicted_iou or stability_score is no number"
    return FreeMask(lengths, *scores)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
