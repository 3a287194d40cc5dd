"""Everything that is wrong with a data set, found before hours are spent on it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from itertools import combinations
from typing import Any, TypeVar

import numpy as np

from recam.ahead import map_ahead
from recam.data.catalog import Catalog, Roles
from recam.data.check_report import CheckReport, SplitCounts
from recam.data.ignored import LABEL_NEEDED
from recam.data.image_check import ImageFindings, count_draws, judge_images, read_and_find
from recam.data.images import one_large_at_a_time
from recam.data.mask_check import Findings, find, judge
from recam.data.reading import PLAIN
from recam.data.roles import DataSettings, in_every_image
from recam.data.splits import no_training_split
from recam.errors import DataError, DependencyError, Problem
from recam.labels import BACKGROUND, IGNORE, mask_value
from recam.settings import read_settings
from recam.types import Sample, Source

Found = TypeVar("Found")
MOST_FREQUENT = 10
NONE = frozenset({"nan", "none", "null", "n/a", "na", "-", "?"})
"""Names, in lower case, that programs and people write where there is no label."""
HARMLESS = frozenset(
    {
        "unlisted-image",
        "empty-segmentation",
        "number-as-text",
        "joined-labels",
        "split-spelling",
        "groups-suggested",
        "missing-group",
        LABEL_NEEDED,
    }
)
"""Kinds that a catalog reports but that keep nothing else from being used: notes, not problems."""


def check(
    data: Catalog | str,
    splits: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    decode: bool = True,
    progress: Callable[[int, int], None] | None = None,
    settings: DataSettings | None = None,
    **options: Any,
) -> CheckReport:
    """Look at every list, label, image and mask of a data set.

    Args:
        data: an open catalog, or ``KIND:PATH``; what cannot be opened gives a report with that one problem.
        splits: check these only; default all.
        classes: as for `open_catalog`; an open catalog has chosen its own.
        decode: False checks lists, labels and file names only, in seconds.
        progress: called with (images done, images in all), from the thread that called `check`.
        settings: of section ``data`` that an open catalog was opened with: which split does what, how images are read.
        options: settings of section ``data`` by name, and what the kind of data set takes besides.

    Raises:
        RecipeError: unknown kind of data set, unknown option, or a value that it cannot have.
    """
    if isinstance(data, Catalog):
        if classes is not None or options:
            raise ValueError("classes and options are chosen when a catalog is opened")
        catalog = data
        roles = settings.roles(catalog) if settings else catalog.roles
    else:
        settings = _read_options(data, classes, options)
        try:
            catalog = settings.open()
        except DataError as error:
            return CheckReport(problems=(Problem("cannot-open", data, str(error)),))
        roles = settings.roles(catalog)

    problems: list[Problem] = []
    by_split: dict[str, Sequence[Sample]] = {}
    for split in catalog.splits if splits is None else splits:
        try:
            by_split[split] = catalog.samples(split)
        except DataError as error:
            problems.append(Problem("unknown-split", split, str(error)))
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
    notes += [*_classes_in_every_image(catalog, roles, splits), *_doubtful_classes(catalog.classes.names)]
    labelled, unlisted = list(samples.values()), catalog.unlabelled()
    counted = labelled if roles.train is None else _training_samples(catalog, roles, splits)
    looker = partial(look_at, n_classes=len(catalog.classes), draws=count_draws(counted))
    looks = _look_at_all([*labelled, *unlisted], looker, progress) if decode else ()
    heights, widths = Counter[int](), Counter[int]()
    findings: dict[str, Findings] = {}
    files: dict[str, ImageFindings] = {}
    for sample, look in looks:
        problems += look.problems
        if look.file:
            files[sample.id] = look.file
        if sample.id in samples:
            findings[sample.id] = look.findings
        absent = [catalog.classes.names[index] for index in look.class_indices if index not in sample.labels]
        if absent and sample.id in samples:
            message = f"the mask shows {', '.join(absent)}, which the image's labels do not name."
            notes.append(Problem("label-mask-mismatch", sample.id, message))
        if look.size:
            heights[look.size[0]] += 1
            widths[look.size[1]] += 1
    judged = judge(by_split, findings, catalog.classes.names)
    problems += judged.problems
    notes += judged.notes
    reading, bounded = (settings.reading, settings.max_side is not None) if settings else (PLAIN, True)
    together = judge_images(files, reading, bounded, settings.location if settings else "images")
    notes += together.notes

    return CheckReport(
        images=counts.images,
        classes=catalog.classes.names,
        images_per_class=counts.images_per_class,
        unlabelled=counts.unlabelled,
        unlisted=len(unlisted),
        background=catalog.classes.background,
        labels_per_image=_spread_of_labels(labelled),
        problems=tuple(problems),
        notes=tuple(notes),
        splits={split: _count(of_split, catalog) for split, of_split in by_split.items()},
        pairs=_frequent_pairs(samples.values(), catalog),
        sizes={"height": _spread(heights), "width": _spread(widths)} if heights else {},
        kinds=together.kinds,
        value_range=together.value_range,
        large=together.large,
        roles=roles,
        passed_over=tuple(catalog.passed_over()),
    )


def _read_options(location: str, classes: Sequence[str] | None, options: Mapping[str, Any]) -> DataSettings:
    """Options as settings of section ``data``; those that it does not have are the kind's own, and so are counts under
    the name of a split, as of scenes to draw."""
    known = {each.name for each in fields(DataSettings)} - {"location", "options"}
    counts = {name for name in ("train", "score", "val") if isinstance(options.get(name), int)}
    rest = {name: value for name, value in options.items() if name not in known - counts}
    own = {name: value for name, value in options.items() if name not in rest}
    kept = {} if classes is None else {"classes": list(classes)}
    return read_settings(DataSettings, {"location": location, "options": rest, **own, **kept})


def _count(samples: Iterable[Sample], catalog: Catalog) -> SplitCounts:
    samples = list(samples)
    found = Counter(label for sample in samples for label in sample.labels)
    return SplitCounts(
        images=len(samples),
        unlabelled=sum(not sample.labels for sample in samples),
        with_mask=sum(sample.mask is not None for sample in samples),
        images_per_class={name: found[index] for index, name in enumerate(catalog.classes.names)},
        groups=len({sample.group for sample in samples if sample.group}),
    )


def _spread_of_labels(samples: Sequence[Sample]) -> tuple[int, int] | None:
    counts = [len(sample.labels) for sample in samples]
    return (min(counts), max(counts)) if counts else None


def _frequent_pairs(samples: Iterable[Sample], catalog: Catalog) -> tuple[tuple[str, str, int], ...]:
    found = Counter(pair for sample in samples for pair in combinations(sample.labels, 2))
    names = catalog.classes.names
    return tuple((names[one], names[other], n) for (one, other), n in found.most_common(MOST_FREQUENT))


def _doubtful_classes(names: Sequence[str]) -> list[Problem]:
    """Notes of classes that are spelled alike, and of one that is called as what stands for none."""
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(re.sub(r"[\s_-]+", " ", name.casefold()), []).append(name)
    notes = [
        Problem("class-spelling", ", ".join(same), "are classes apart. Write them alike if they are one.")
        for same in alike.values()
        if len(same) > 1
    ]
    message = "is read as a class. An image that shows none of the classes has an empty label."
    return notes + [Problem("class-spelling", repr(name), message) for name in names if name.casefold() in NONE]


def _classes_without_image(catalog: Catalog, roles: Roles, splits: Sequence[str] | None) -> list[Problem]:
    """A note where nothing can be learned of some classes; none where the training split is not looked at, or teaches
    nothing at all."""
    shown = {label for sample in _training_samples(catalog, roles, splits) for label in sample.labels}
    absent = [name for index, name in enumerate(catalog.classes.names) if index not in shown]
    if not absent or not shown:
        return []
    message = (
        f"no image is labelled {', '.join(absent)}, so a run leaves these classes out. Add images, if they should be"
        " learned."
    )
    return [Problem("class-without-image", str(roles.train), message)]


def _classes_in_every_image(catalog: Catalog, roles: Roles, splits: Sequence[str] | None) -> list[Problem]:
    """A note on classes that all training images show."""
    samples = _training_samples(catalog, roles, splits)
    message = in_every_image(samples, catalog.classes.names)
    return [Problem("class-in-every-image", str(roles.train), message)] if message else []


def _training_samples(catalog: Catalog, roles: Roles, splits: Sequence[str] | None) -> Sequence[Sample]:
    """The samples of the training split, where it is looked at."""
    if roles.train is None or (splits is not None and roles.train not in splits):
        return ()
    try:
        return catalog.samples(roles.train)
    except DataError:  # an unknown split is a problem of its own
        return ()


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
class Look:
    """What decoding a sample found: (H, W), the class indices its mask shows, what is wrong, what others are compared
    with, and what its image's file holds."""

    size: tuple[int, int] | None
    class_indices: tuple[int, ...]
    problems: tuple[Problem, ...]
    findings: Findings
    file: ImageFindings | None = None


def _look_at_all(
    samples: Sequence[Sample], look: Callable[[Sample], Look], progress: Callable[[int, int], None] | None
) -> Iterator[tuple[Sample, Look]]:
    """Decode with all cores, in order; no more pictures at once than a few for each core."""
    for done, (sample, found) in enumerate(map_ahead(look, samples), start=1):
        yield sample, found
        if progress:
            progress(done, len(samples))


def look_at(sample: Sample, n_classes: int, draws: Mapping[str, int]) -> Look:
    """Decode the image and the mask of a sample, and compare them.

    Args:
        draws: by id, of how many pixels the values are counted.
    """
    with one_large_at_a_time(sample.image):
        return _look_into(sample, n_classes, draws.get(sample.id, 0))


def _look_into(sample: Sample, n_classes: int, draws: int) -> Look:
    found, problems = _read("unreadable-image", sample.image, lambda: read_and_find(sample.image, draws))
    image, file = found or (None, None)
    size = None if image is None else (image.shape[0], image.shape[1])
    if sample.mask is None:
        return Look(size, (), tuple(problems), find(sample, None), file)
    mask, mask_problems = _read("unreadable-mask", sample.mask, sample.mask.read)
    problems += mask_problems
    if mask is None:
        return Look(size, (), tuple(problems), find(sample, None), file)
    if size and mask.shape != size:
        message = (
            f"the mask is {mask.shape[1]}×{mask.shape[0]} pixels, its image {size[1]}×{size[0]}. Make them the same"
            " size; an image that is"
            " turned upright by its EXIF orientation needs a mask that is turned as well."
        )
        problems.append(Problem("size-mismatch", sample.mask.where, message))
    findings = find(sample, mask)
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
    shown = tuple(class_of[value] for value in values if value in class_of)
    return Look(size, shown, tuple(problems), findings, file)


def _read(kind: str, source: Source, read: Callable[[], Found]) -> tuple[Found | None, list[Problem]]:
    try:
        return read(), []
    except (DataError, DependencyError) as error:
        return None, [Problem(kind, source.where, str(error).removeprefix(f"{source.where} "))]
