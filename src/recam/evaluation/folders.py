"""Scoring any two folders of masks against each other, whoever made them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from recam.data.images import MASK_ENDINGS, read_mask
from recam.data.mask_folder import list_masks, read_classes, unread_message, without_background
from recam.errors import DataError, Problem, StoreError, data_error
from recam.evaluation.mask_scorer import MaskScorer
from recam.evaluation.metrics import Scores
from recam.evaluation.pixel_counts import save_image_scores
from recam.files import checked_path, require_folder
from recam.labels import BACKGROUND, IGNORE, ClassSet, nfc, present_values
from recam.types import Mask

_TOLD = 5


def evaluate(
    masks: Path | str,
    truth: Path | str,
    classes: Sequence[str] | Path | None = None,
    *,
    partial: bool = False,
    per_image: Path | str | None = None,
    progress: Callable[[int, int], None] | None = None,
    background: bool = True,
) -> Scores:
    """Score the masks of one folder against those of another; pairs have the same path without ending, sub-folders
    included, in whatever Unicode form.

    Args:
        masks: folder of predictions, values 0…K, or 255 for ignore (counted as wrong).
        truth: folder of true masks, values 0…K, or 255 for pixels that are not counted.
        classes: names of the classes 1…K, or the path of a list, see `recam.data.mask_folder.read_classes`; None names
            them by number up to the largest found.
        partial: score the pairs that are there instead of refusing masks or truths without counterpart.
        per_image: also write a row per image to this CSV, as runs do; see `recam.evaluation.pixel_counts.ImageScore`,
            read by `recam.evaluation.pixel_counts.read_image_scores`. An image counts as many labels as its truth shows
            classes.
        progress: called with (pairs done, pairs in all) after each pair.
        background: False: every pixel belongs to a class, and 0 in true masks is a pixel that nobody has named.

    Raises:
        DataError: everything that is wrong, at once: masks without truth and truths without mask, files that cannot be
            read, pairs of different size, values outside the classes, names that occur with two endings, and, unless
            `partial`, files that may be masks and are not read.
        StoreError: `per_image` is no name of a CSV, or cannot be written.
    """
    table = None if per_image is None else Path(per_image)
    if table and (table.suffix.lower() != ".csv" or table.is_dir()):
        raise StoreError(f"per_image: {table} is no name of a table. Name a file that ends in .csv.")
    if table:
        require_folder(table.parent)
    scorer, problems = MaskScorer(_as_class_set(classes, background), background), _Problems()
    n_classes, rows = scorer.n_classes, []
    predicted, true = (
        _find_masks(checked_path(masks), problems, partial),
        _find_masks(checked_path(truth), problems, partial),
    )
    pairs = sorted(predicted.keys() & true.keys())
    if not partial or not pairs:
        problems.add("missing-truth", truth, "masks have no true mask", sorted(predicted.keys() - true.keys()))
        problems.add("missing-mask", masks, "true masks have no mask", sorted(true.keys() - predicted.keys()))
    sizes, values, unreadable = [], [], []
    for done, name in enumerate(pairs, start=1):
        try:
            mask, wanted = read_mask(predicted[name]), read_mask(true[name])
        except DataError as error:
            unreadable.append(str(error))
        else:
            strange = [
                f"{where / name}: {outside}"
                for where, one in ((Path(masks), mask), (Path(truth), wanted))
                if (outside := _outside(one, n_classes))
            ]
            values += strange
            if mask.shape != wanted.shape:
                sizes.append(f"{name} {mask.shape[0]}×{mask.shape[1]}, truth {wanted.shape[0]}×{wanted.shape[1]}")
            elif not strange:
                wanted = wanted if background else np.where(wanted == BACKGROUND, np.uint8(IGNORE), wanted)
                rows.append(scorer.score(name, mask, wanted))
        if progress:
            progress(done, len(pairs))
    problems.add("unreadable", masks, "pairs cannot be read", unreadable)
    problems.add("mask-size", masks, "masks are not of the size of the truth (height×width)", sizes)
    problems.add("mask-values", masks, f"masks hold values that are neither 0…{n_classes} nor {IGNORE}", values)
    problems.raise_any()
    if table:
        save_image_scores(table, rows)
    return scorer.scores()


def _as_class_set(classes: Sequence[str] | Path | None, background: bool) -> ClassSet | None:
    if classes is None:
        return None
    named = read_classes(classes) if isinstance(classes, str | Path) else ClassSet(without_background(classes))
    return replace(named, background=background)


class _Problems:
    """Gathers problems, one for each kind with the number of files and the first few of them."""

    def __init__(self) -> None:
        self._found: list[Problem] = []

    def add(self, kind: str, where: Path | str, what: str, names: Sequence[str]) -> None:
        if names:
            more = f"; … and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
            self._found.append(
                Problem(kind, str(where), f"{len(names)} {what}: {'; '.join(names[:_TOLD])}{more}. {_ADVICE[kind]}")
            )

    def report(self, kind: str, where: Path | str, message: str) -> None:
        self._found.append(Problem(kind, str(where), message))

    def raise_any(self) -> None:
        if self._found:
            raise data_error(self._found)


_ADVICE = {
    "missing-truth": "Remove them, or score the pairs alone with partial.",
    "missing-mask": "Make them, or score the pairs alone with partial.",
    "duplicate-name": "Keep one file of each name.",
    "unreadable-folder": "Give read permission.",
    "unreadable": "Replace them by intact copies.",
    "mask-size": "Bring each mask to the size of its image.",
    "mask-values": "Correct the list of classes, or the masks.",
}


def _find_masks(folder: Path, problems: _Problems, partial: bool) -> dict[str, Path]:
    """Masks by their name in composed form."""
    if (folder / "run.json").is_file():
        raise DataError(f"{folder} is a run folder. Name the masks in it: {folder / 'masks'}, or predictions/NAME.")
    found = list_masks(folder)
    problems.add("duplicate-name", folder, "names occur twice", found.twice)
    problems.add("unreadable-folder", folder, "folders may not be read", [problem.where for problem in found.problems])
    if found.unread and not (partial and found.masks):
        problems.report("unread-mask", folder, unread_message(found.unread))
    masks: dict[str, Path] = {}
    same = []
    for name, path in found.masks.items():
        first = masks.setdefault(nfc(name), path)
        if first != path:
            same.append(f"{first.name} and {path.name}, which are spelled in different Unicode forms")
    problems.add("duplicate-name", folder, "names occur twice", same)
    if not masks and not (found.unread or found.problems):
        raise DataError(f"{folder} holds no mask ({', '.join(MASK_ENDINGS)}). Name the folder that the masks are in.")
    return masks


def _outside(mask: Mask, n_classes: int) -> str:
    return ", ".join(str(value) for value in present_values(mask) if n_classes < value < IGNORE)
