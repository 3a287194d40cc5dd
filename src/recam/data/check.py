"""Everything that is wrong with a data set, found before hours are spent on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recam.ahead import map_ahead
from recam.data.catalog import Catalog, PassedOver, Roles, open_catalog
from recam.data.images import one_large_at_a_time
from recam.data.mask_check import Findings, find, judge
from recam.data.splits import no_training_split
from recam.errors import DataError, DependencyError, Problem, printable
from recam.labels import BACKGROUND, IGNORE, mask_value
from recam.types import Sample, Source

MOST_FREQUENT = 10
HARMLESS = frozenset({"unlisted-image", "empty-segmentation", "joined-labels", "split-spelling"})
"""Kinds that a catalog reports but that keep nothing else from being used: notes, not problems."""


@dataclass(frozen=True)
class SplitCounts:
    """What one split holds: numbers of usable images."""

    images: int
    unlabelled: int
    with_mask: int
    images_per_class: dict[str, int]


@dataclass(frozen=True)
class CheckReport:
    """What a data set holds and what is wrong with it; it prints itself.

    Attributes:
        images: usable images, each counted once even where it is in several splits.
        images_per_class: by class name; an image counts for each of its labels.
        unlabelled: images without any label.
        problems: what keeps something from being used.
        notes: what may be as it should, but is worth a look; nothing is kept from being used.
        splits: by name.
        pairs: the most frequent pairs of labels, with the number of images that hold both, most frequent first.
        sizes: ``{"height": {"min", "median", "max"}, "width": …}`` in pixels, over the decoded images; empty where none
            was decoded.
        roles: which split does what; None where the data set could not be opened.
        passed_over: what lies in its folders and is not used, by kind.
    """

    images: int = 0
    classes: tuple[str, ...] = ()
    images_per_class: dict[str, int] = field(default_factory=dict)
    unlabelled: int = 0
    problems: tuple[Problem, ...] = ()
    notes: tuple[Problem, ...] = ()
    splits: dict[str, SplitCounts] = field(default_factory=dict)
    pairs: tuple[tuple[str, str, int], ...] = ()
    sizes: dict[str, dict[str, float]] = field(default_factory=dict)
    roles: Roles | None = None
    passed_over: tuple[PassedOver, ...] = ()

    @property
    def ok(self) -> bool:
        """No problem was found."""
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """The report as a JSON-ready dictionary."""
        return {
            "images": self.images,
            "classes": list(self.classes),
            "images_per_class": dict(self.images_per_class),
            "unlabelled": self.unlabelled,
            "problems": [problem.as_dict() for problem in self.problems],
            "notes": [note.as_dict() for note in self.notes],
            "splits": {name: asdict(counts) for name, counts in self.splits.items()},
            "pairs": [{"classes": [one, other], "images": n} for one, other, n in self.pairs],
            "sizes": self.sizes,
            "roles": asdict(self.roles) if self.roles else None,
            "passed_over": [kind.as_dict() for kind in self.passed_over],
        }

    def __str__(self) -> str:
        return "\n".join(map(printable, self._lines()))

    def _lines(self) -> Iterator[str]:
        yield f"{self.images} images, {len(self.classes)} classes, {self.unlabelled} images without label"
        if self.classes:
            yield from ("", *self._table())
        if self.roles:
            yield _describe_roles(self.roles, [name for name, counts in self.splits.items() if counts.images])
        for side, numbers in self.sizes.items():
            yield f"{side}: {numbers['min']:g} to {numbers['max']:g} pixels, median {numbers['median']:g}"
        if self.pairs:
            yield "most frequent pairs: " + ", ".join(f"{one} + {other} ({n})" for one, other, n in self.pairs)
        for kind, count in Counter(note.kind for note in self.notes).items():
            first = next(note for note in self.notes if note.kind == kind)
            others = f" (and {count - 1} more such notes)" if count > 1 else ""
            yield f"note [{kind}] {first.where}: {first.message}{others}"
        yield ""
        yield (
            f"{len(self.problems)} problem{'s' * (len(self.problems) != 1)}:" if self.problems else "No problem found."
        )
        yield from (f"  [{p.kind}] {p.where}: {p.message}" for p in self.problems)
        if self.passed_over:
            yield from ("", "passed over:", *(f"  {kind}" for kind in self.passed_over))

    def _table(self) -> Iterator[str]:
        columns = {"": ["images", "without label", "with mask", *self.classes]}
        for name, counts in self.splits.items():
            numbers = [counts.images, counts.unlabelled, counts.with_mask, *counts.images_per_class.values()]
            columns[name] = [str(number) for number in numbers]
        widths = [max(map(len, [name, *cells])) for name, cells in columns.items()]
        for row in zip(*([name, *cells] for name, cells in columns.items()), strict=True):
            yield "  ".join(
                cell.ljust(width) if i == 0 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
        yield ""


def check(
    data: Catalog | str,
    splits: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    decode: bool = True,
    progress: Callable[[int, int], None] | None = None,
    roles: Roles | None = None,
    **options: Any,
) -> CheckReport:
    """Look at every list, label, image and mask of a data set.

    Args:
        data: an open catalog, or ``KIND:PATH``; what cannot be opened gives a report with that one problem.
        splits: check these only; default all.
        classes: as for `open_catalog`; an open catalog has chosen its own.
        decode: False checks lists, labels and file names only, in seconds.
        progress: called with (images done, images in all), from the thread that called `check`.
        roles: which split does what; default: as the data set itself has it.
        options: as for `open_catalog`.

    Raises:
        RecipeError: unknown kind of data set, or unknown option.
    """
    if isinstance(data, Catalog):
        if classes is not None or options:
            raise ValueError("classes and options are chosen when a catalog is opened")
        catalog = data
    else:
        try:
            catalog = open_catalog(data, classes, **options)
        except DataError as error:
            return CheckReport(problems=(Problem("cannot-open", data, str(error)),))

    problems: list[Problem] = []
    by_split: dict[str, Sequence[Sample]] = {}
    for split in catalog.splits if splits is None else splits:
        try:
            by_split[split] = catalog.samples(split)
        except DataError as error:
            problems.append(Problem("unknown-split", split, str(error)))
    roles = roles or catalog.roles
    if roles.train is None:
        problems.append(
            Problem("no-training-split", ", ".join(catalog.splits), f"{no_training_split(catalog.splits)}.")
        )
    reported = catalog.problems(list(by_split))
    problems += [problem for problem in reported if problem.kind not in HARMLESS]

    samples = {sample.id: sample for of_split in by_split.values() for sample in of_split}
    if not samples and not problems:
        problems.append(Problem("no-images", ", ".join(by_split), "not one image to use. Fill the lists."))
    counts = _count(samples.values(), catalog)
    notes = [problem for problem in reported if problem.kind in HARMLESS]
    notes += [*_splits_overlap(roles, by_split), *_classes_without_image(catalog, roles, splits)]
    looks = _look_at_all(list(samples.values()), len(catalog.classes), progress) if decode else ()
    heights, widths = Counter[int](), Counter[int]()
    findings: dict[str, Findings] = {}
    for sample, look in looks:
        problems += look.problems
        findings[sample.id] = look.findings
        absent = [catalog.classes.names[index] for index in look.class_indices if index not in sample.labels]
        if absent:
            message = f"the mask shows {', '.join(absent)}, which the image's labels do not name."
            notes.append(Problem("label-mask-mismatch", sample.id, message))
        if look.size:
            heights[look.size[0]] += 1
            widths[look.size[1]] += 1
    judged = judge(by_split, findings, catalog.classes.names)
    problems += judged.problems
    notes += judged.notes

    return CheckReport(
        images=counts.images,
        classes=catalog.classes.names,
        images_per_class=counts.images_per_class,
        unlabelled=counts.unlabelled,
        problems=tuple(problems),
        notes=tuple(notes),
        splits={split: _count(of_split, catalog) for split, of_split in by_split.items()},
        pairs=_frequent_pairs(samples.values(), catalog),
        sizes={"height": _spread(heights), "width": _spread(widths)} if heights else {},
        roles=roles,
        passed_over=tuple(catalog.passed_over()),
    )


def _describe_roles(roles: Roles, splits: Iterable[str]) -> str:
    """Which split does what, in a line."""
    doing = {"trained on": roles.train, "scored on": roles.score, "held out": roles.val}
    unused = [split for split in splits if split not in doing.values()] if roles.train in set(splits) else []
    reported = [f"{role}: {split or 'none'}" for role, split in doing.items()]
    return "; ".join([*reported, *([f"not used in a run: {', '.join(unused)}"] if unused else [])])


def _count(samples: Iterable[Sample], catalog: Catalog) -> SplitCounts:
    samples = list(samples)
    found = Counter(label for sample in samples for label in sample.labels)
    return SplitCounts(
        images=len(samples),
        unlabelled=sum(not sample.labels for sample in samples),
        with_mask=sum(sample.mask is not None for sample in samples),
        images_per_class={name: found[index] for index, name in enumerate(catalog.classes.names)},
    )


def _frequent_pairs(samples: Iterable[Sample], catalog: Catalog) -> tuple[tuple[str, str, int], ...]:
    found = Counter(pair for sample in samples for pair in combinations(sample.labels, 2))
    names = catalog.classes.names
    return tuple((names[one], names[other], n) for (one, other), n in found.most_common(MOST_FREQUENT))


def _classes_without_image(catalog: Catalog, roles: Roles, splits: Sequence[str] | None) -> list[Problem]:
    """A note where nothing can be learned of some classes; none where the training split is not looked at, or teaches
    nothing at all."""
    if roles.train is None or (splits is not None and roles.train not in splits):
        return []
    try:
        shown = {label for sample in catalog.samples(roles.train) for label in sample.labels}
    except DataError:  # an unknown split is a problem of its own
        return []
    absent = [name for index, name in enumerate(catalog.classes.names) if index not in shown]
    if not absent or not shown:
        return []
    message = (
        f"no image is labelled {', '.join(absent)}, so a run leaves these classes out. Add images, if they should be"
        " learned."
    )
    return [Problem("class-without-image", roles.train, message)]


def _splits_overlap(roles: Roles, by_split: Mapping[str, Sequence[Sample]]) -> list[Problem]:
    train, val = roles.train, roles.val
    shared = {s.id for s in by_split.get(train or "", ())} & {s.id for s in by_split.get(val or "", ())}
    if not shared or train == val:
        return []
    message = f"{len(shared)} images are in both (first: {min(shared)}), so scores on {val} will flatter the model."
    return [Problem("split-overlap", f"{train}, {val}", message)]


def _spread(sizes: Counter[int]) -> dict[str, float]:
    return {"min": min(sizes), "median": float(np.median(list(sizes.elements()))), "max": max(sizes)}


@dataclass(frozen=True)
class _Look:
    """What decoding a sample found: (H, W), the class indices its mask shows, what is wrong, and what others are
    compared with."""

    size: tuple[int, int] | None
    class_indices: tuple[int, ...]
    problems: tuple[Problem, ...]
    findings: Findings


def _look_at_all(
    samples: Sequence[Sample], n_classes: int, progress: Callable[[int, int], None] | None
) -> Iterator[tuple[Sample, _Look]]:
    """Decode with all cores, in order; no more pictures at once than a few for each core."""
    for done, (sample, look) in enumerate(map_ahead(partial(_look_at, n_classes=n_classes), samples), start=1):
        yield sample, look
        if progress:
            progress(done, len(samples))


def _look_at(sample: Sample, n_classes: int) -> _Look:
    with one_large_at_a_time(sample.image):
        return _look_into(sample, n_classes)


def _look_into(sample: Sample, n_classes: int) -> _Look:
    image, problems = _read("unreadable-image", sample.image)
    size = None if image is None else (image.shape[0], image.shape[1])
    if sample.mask is None:
        return _Look(size, (), tuple(problems), find(sample, image, None))
    mask, mask_problems = _read("unreadable-mask", sample.mask)
    problems += mask_problems
    if mask is None:
        return _Look(size, (), tuple(problems), find(sample, image, None))
    if size and mask.shape != size:
        message = (
            f"the mask is {mask.shape[1]}×{mask.shape[0]} pixels, its image {size[1]}×{size[0]}. Make them the same"
            " size; an image that is"
            " turned upright by its EXIF orientation needs a mask that is turned as well."
        )
        problems.append(Problem("size-mismatch", sample.mask.where, message))
    findings = find(sample, image, mask)
    values = findings.mask_values or ()
    class_of = {mask_value(index): index for index in range(n_classes)}
    foreign = [str(value) for value in values if value not in class_of and value not in (BACKGROUND, IGNORE)]
    if foreign:
        message = (
            f"holds the value{'s' * (len(foreign) > 1)} {', '.join(foreign)}, but {n_classes} classes use 1 to"
            f" {max(class_of)}"
            f" ({BACKGROUND} background, {IGNORE} ignore). Renumber the mask, or name all classes."
        )
        problems.append(Problem("mask-value", sample.mask.where, message))
    return _Look(size, tuple(class_of[value] for value in values if value in class_of), tuple(problems), findings)


def _read(kind: str, source: Source) -> tuple[NDArray[np.uint8] | None, list[Problem]]:
    try:
        return source.read(), []
    except (DataError, DependencyError) as error:
        return None, [Problem(kind, source.where, str(error).removeprefix(f"{source.where} "))]
