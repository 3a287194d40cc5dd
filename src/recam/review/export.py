"""What was decided, as a clean data set that ``recam run --data folder:DIR`` takes."""

from __future__ import annotations

import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from recam.cells import is_formula, table_text
from recam.data.images import IMAGE_ENDINGS, ImageFile, write_mask, write_png
from recam.errors import DataError, Problem, RecamError, StoreError
from recam.files import write_bytes
from recam.labels import ClassSet
from recam.review.decisions import Decisions, State
from recam.review.judged import classes_shown, judged_mask, labels_of
from recam.review.layers import Item, ReviewedRun
from recam.types import Mask

Photos = Literal["copy", "link"]
_COLUMNS = ("image", "labels", "split")
_Row = tuple[str, tuple[str, ...], str]
"""Photo's name below ``images``, labels by name, split."""


@dataclass(frozen=True)
class ExportReport:
    """What an export wrote.

    Attributes:
        output: the folder.
        images, masks: how many.
        corrected_masks, corrected_labels: how many of them were corrected by hand.
        classes: names in the order of the mask values.
        left_out: classes that no image of the export is labelled with any more.
        problems: images that could not be exported, and why.
        notes: what happened to masks and names on the way that a person may not expect, a sentence each.
    """

    output: Path
    images: int
    masks: int
    corrected_masks: int
    corrected_labels: int
    classes: tuple[str, ...]
    left_out: tuple[str, ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [
            f"{self.images} images and {self.masks} masks in {self.output}, {self.corrected_masks} masks and "
            f"{self.corrected_labels} labels of them corrected by hand; next: recam run --data folder:{self.output} -o"
            " NEW-RUN"
        ]
        lines += [f"classes without an image, left out: {', '.join(self.left_out)}"] * bool(self.left_out)
        lines += self.notes
        lines += [f"{len(self.problems)} images could not be exported:"] * bool(self.problems)
        lines += [f"  {problem.where}: {problem.message}" for problem in self.problems]
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        counted = {name: getattr(self, name) for name in ("images", "masks", "corrected_masks", "corrected_labels")}
        names = {"classes": list(self.classes), "left_out": list(self.left_out)}
        problems = [problem.as_dict() for problem in self.problems]
        return {"output": str(self.output), **counted, **names, "problems": problems, "notes": list(self.notes)}


def export_decisions(
    run: ReviewedRun,
    decisions: Decisions,
    output: Path,
    photos: Photos = "copy",
    everything: bool = False,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> ExportReport:
    """Write accepted images, their masks and labels: ``images/``, ``masks/``, ``labels.csv``, ``classes.txt``.

    Classes that no exported image is labelled with are left out, since nothing could be learned of them; the mask
    values of the others move up, and pixels of the classes left out become 255. So do pixels of labels that a person
    removed (see `judged_mask`); the report
    counts them, as it does masks that show a class which is no label of their image: they are kept as accepted.

    Names stand in ``labels.csv`` literally, also those that a spreadsheet would take for a formula: the table is a data
    set, whose names must be those of the files and of ``classes.txt``. The report names them. Where a class name holds
    a sign that parts labels, each class has its own column.

    Args:
        output: a new or empty folder.
        photos: ``copy``, or ``link`` for symbolic links to where they are. Drawn scenes are written in either case.
        everything: also images that are rejected or not reviewed, with their labels and without a mask; those whose
            labels nobody knows without a row.
        advance: called with (done, total).

    Raises:
        StoreError: a folder that holds something, no photos, nothing accepted, or class names that no table can hold.
    """
    if run.no_photos:
        raise StoreError(
            f"an export needs the photos, which are not available: {run.no_photos} Name their place with --data"
            " KIND:PATH."
        )
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise StoreError(f"{output} is there already. Name a new or an empty folder.")
    states = {item: decisions.state(item.id) for item in run.items}
    chosen = [item for item, state in states.items() if everything or state.verdict == "accepted"]
    if not any(state.verdict == "accepted" for state in states.values()):
        raise StoreError("nothing is accepted yet, so there is nothing to export. Accept masks on the page first.")
    labels = {item: labels_of(run, item, states[item]) for item in chosen}
    present = {index for of_image in labels.values() for index in of_image}
    if not present:
        raise StoreError(
            "no accepted image holds any label, so nothing could be learned from the export. Accept images with labels."
        )
    classes, table = ClassSet(run.classes).select([run.classes[index] for index in sorted(present)])
    _check_names(classes.names)
    # Written beside and renamed at the end: never half an export.
    folder = output.with_name(f".{output.name}.{uuid.uuid4().hex[:8]}.tmp")
    rows: list[_Row] = []
    problems, masks, corrected = [], 0, 0
    removed: Counter[int] = Counter()
    unlabelled: Counter[int] = Counter()
    try:
        for done, item in enumerate(chosen):
            advance(done, len(chosen))
            try:
                name, mask, cleared = _write_item(run, item, states[item], folder, table, photos)
                removed.update(cleared)
                if mask is not None and item.split != "unlabelled":
                    unlabelled.update(
                        classes_shown(mask).intersection(range(len(run.classes))).difference(labels[item])
                    )
            except RecamError as error:
                problems.append(Problem("not-exported", item.id, str(error)))
                continue
            source = states[item].source
            masks += mask is not None
            corrected += mask is not None and source is not None and source.layer == "corrected"
            split = "val" if item.split == "val" else "train"
            if item.split != "unlabelled" or states[item].labels is not None:
                rows.append((name, tuple(run.classes[index] for index in labels[item]), split))
            elif mask is not None:  # what was accepted of it is all that is known
                shown = sorted(classes_shown(mask).intersection(present))
                rows.append((name, tuple(run.classes[index] for index in shown), split))
        _write_table(folder, rows, classes.names)
        write_bytes(folder / "classes.txt", "\n".join((*classes.names, "")).encode())
        if output.is_dir():
            output.rmdir()
        output.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(output)
    except OSError as error:
        raise StoreError(
            f"{output} cannot be written ({error.strerror}). Nothing was damaged; free space or name another folder."
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    advance(len(chosen), len(chosen))
    left_out = tuple(name for name in run.classes if name not in classes)
    relabelled = sum(states[item].labels is not None and labels[item] != item.labels for item in chosen)
    names = [*(name for name, *_ in rows), *classes.names]
    notes = tuple(_notes(run.classes, removed, unlabelled, names, decisions.damaged, run.background))
    return ExportReport(
        output, len(rows), masks, corrected, relabelled, classes.names, left_out, tuple(problems), notes
    )


def _check_names(names: Sequence[str]) -> None:
    """Raises `StoreError` for class names that would not read back from ``labels.csv``."""
    taken = [name for name in names if name in _COLUMNS] if _needs_columns(names) else []
    if taken:
        parted = next(name for name in names if _needs_columns([name]))
        raise StoreError(
            f"{parted!r} needs a column per class in labels.csv, where {', '.join(map(repr, taken))} means something"
            " else. "
            "Rename one of them in the data set of the run."
        )


def _needs_columns(names: Sequence[str]) -> bool:
    """Whether a name holds what parts labels within a cell."""
    return any(set(name) & set(";,|") for name in names)


def _notes(
    classes: Sequence[str],
    removed: Counter[int],
    unlabelled: Counter[int],
    names: Sequence[str],
    damaged: int,
    background: bool = True,
) -> Iterator[str]:
    """Notes of the report beside its numbers; `removed` and `unlabelled` count masks by class index."""

    def counted(masks: Counter[int]) -> str:
        return ", ".join(f"{classes[index]} in {count}" for index, count in sorted(masks.items()))

    if not background:
        yield "there is no background: read this folder with data.background = 'none'"
    if removed:
        yield f"pixels of removed labels became 255 (ignore), masks by class: {counted(removed)}"
    if unlabelled:
        yield f"masks show classes that are no label of their image, kept as accepted: {counted(unlabelled)}"
    formulas = [name for name in names if is_formula(name)]
    if formulas:
        yield (
            f"{len(formulas)} names begin with a sign that a spreadsheet takes for a formula (first: {formulas[0]!r});"
            " they stand in "
            "labels.csv as they are, so open it as text"
        )
    if damaged:
        yield f"{damaged} damaged lines of decisions.jsonl count for nothing"


def _write_item(
    run: ReviewedRun, item: Item, state: State, folder: Path, table: np.ndarray, photos: Photos
) -> tuple[str, Mask | None, frozenset[int]]:
    """Write mask and photo of one image.

    Gives the photo's name below ``images``, the mask (H, W) in the run's classes, and the class indices whose pixels in
    it became 255.
    """
    assert item.sample
    mask, cleared = judged_mask(run, item, state) if state.verdict == "accepted" else (None, frozenset[int]())
    source = item.sample.image
    # As `Folder` takes an id from a name: the part before an ending that it knows.
    known = isinstance(source, ImageFile) and source.path.suffix.lower() in IMAGE_ENDINGS
    name = f"{item.id}{source.path.suffix}" if known and isinstance(source, ImageFile) else f"{item.id}.png"
    target = folder / "images" / name
    if isinstance(source, ImageFile):
        if not source.path.is_file():
            raise DataError(f"{source.path} is not there any more.")
        target.parent.mkdir(parents=True, exist_ok=True)
        if photos == "link":
            target.symlink_to(source.path.resolve())
        else:
            shutil.copy2(source.path, target)
    else:
        write_png(target, source.read())
    if mask is not None:
        write_mask(folder / "masks" / f"{item.id}.png", table[mask])
    return name, mask, cleared


def _write_table(folder: Path, rows: list[_Row], classes: Sequence[str]) -> None:
    """Without held-out images no column of splits: the folder then holds out one in five by itself."""
    held_out = any(split == "val" for *_, split in rows)
    columns = _needs_columns(classes)
    lines: list[Sequence[object]] = [("image", *(classes if columns else ("labels",)), *["split"] * held_out)]
    for name, labels, split in sorted(rows):
        cells = [int(each in labels) for each in classes] if columns else [";".join(labels)]
        lines.append((name, *cells, *[split] * held_out))
    write_bytes(folder / "labels.csv", table_text(lines).encode())
