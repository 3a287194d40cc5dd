"""A data set's masks compared with its labels and with each other, and files whose values mean something else than is
read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from recam.data.ignored import IgnoringMask, stored_mask
from recam.data.images import MaskFile, read_mask
from recam.data.opening import open_picture
from recam.data.palettes import palette_colours, reordered
from recam.errors import Problem
from recam.labels import BACKGROUND, IGNORE, mask_value, present_values
from recam.types import Mask, Sample, Source

UNSCORED = "unscored-split"
"""Kind of the note on a split whose true masks show no class at all: nothing is scored on it."""
_EXAMPLES = 3
_TWO_VALUES = {BACKGROUND, IGNORE}


@dataclass(frozen=True)
class Findings:
    """What was found in the pictures of one sample, for `judge` to compare with those of others.

    Attributes:
        mask_values: that occur in its mask; None where it has none that can be read.
        two_values: its mask's file holds nothing but 0 and 255, and 255 somewhere.
        reordered: palette indices in use whose colour VOC has at another index → that index.
        unnamed: without a background, whether its mask holds 0, and its greatest value below 255.
    """

    mask_values: tuple[int, ...] | None = None
    two_values: bool = False
    reordered: Mapping[int, int] | None = None
    unnamed: tuple[bool, int] | None = None


@dataclass(frozen=True)
class Judgement:
    """What is wrong with the masks of a data set as a whole, and what is worth a look."""

    problems: tuple[Problem, ...]
    notes: tuple[Problem, ...]


def find(sample: Sample, mask: Mask | None) -> Findings:
    """Look at the decoded mask (H, W) of a sample, and at the file it came from.

    Raises:
        DataError: the file has gone, or been damaged, since it was decoded.
    """
    if mask is None or sample.mask is None:
        return Findings()
    values = present_values(mask)
    stored = stored_mask(sample.mask)
    assert stored is not None
    two_values, order = _holds_two_values(stored, values), _reordered(stored, mask)
    return Findings(tuple(values), two_values, order, _find_unnamed(sample.mask))


def judge(
    by_split: Mapping[str, Sequence[Sample]], findings: Mapping[str, Findings], names: Sequence[str]
) -> Judgement:
    """Compare the findings (by id) of all samples with their labels and with each other.

    Args:
        names: of the classes.
    """
    samples = {sample.id: sample for of_split in by_split.values() for sample in of_split}
    shown = {id_: found for id_, found in findings.items() if found.mask_values is not None}
    without_class = {id_ for id_, found in shown.items() if not _class_values(found, len(names))}
    two_valued = [id_ for id_, found in shown.items() if found.two_values and samples[id_].labels]
    problems = []
    if two_valued and len(without_class) == len(shown):
        problems.append(_two_values_problem([samples[id_] for id_ in two_valued], names))
        notes = []
    else:
        notes = [*_labels_without_pixels(samples, shown, names)]
    notes += _gathered(
        "mask-all-ignore",
        [samples[id_].mask for id_, found in shown.items() if found.mask_values == (IGNORE,)],
        "{count} hold{s} nothing but {ignore} (ignore), so nothing is learned from {them} or scored on {them} (first:"
        " {first}).",
    )
    for split, of_split in by_split.items():
        masked = [sample.id for sample in of_split if sample.id in shown]
        if masked and all(id_ in without_class for id_ in masked):
            message = (
                f"none of its {len(masked)} true masks shows a pixel of any class, so nothing is scored on it:"
                " whatever finds least would"
                " score best."
            )
            notes.append(Problem(UNSCORED, split, message))
    notes += _numbered_from_zero(samples, shown, names)
    notes += _palette_notes({samples[id_].mask: found.reordered for id_, found in shown.items() if found.reordered})
    return Judgement(tuple(problems), tuple(notes))


def _class_values(found: Findings, n_classes: int) -> list[int]:
    return [value for value in found.mask_values or () if mask_value(0) <= value <= mask_value(n_classes - 1)]


def _two_values_problem(samples: Sequence[Sample], names: Sequence[str]) -> Problem:
    masks = [sample.mask.where for sample in samples if sample.mask]
    last = mask_value(len(names) - 1)
    several = f"the classes are {mask_value(0)} ({names[0]}) to {last} ({names[-1]})"
    classes = f"the class {names[0]} is {last}" if len(names) == 1 else several
    message = (
        f"{len(masks)} mask{'s hold' if len(masks) > 1 else ' holds'} only {BACKGROUND} and {IGNORE}; {IGNORE} is"
        f" ignore, {classes}"
        f" (first: {_examples(masks)}). Write the value of its class in place of {IGNORE}."
    )
    return Problem("mask-only-ignore", str(Path(masks[0]).parent), message)


def _labels_without_pixels(
    samples: Mapping[str, Sample], shown: Mapping[str, Findings], names: Sequence[str]
) -> list[Problem]:
    notes = []
    for index, name in enumerate(names):
        labelled = [id_ for id_ in shown if index in samples[id_].labels]
        # Masks of nothing but ignore have a note of their own.
        without = {id_: found for id_, found in shown.items() if mask_value(index) not in (found.mask_values or ())}
        missing = [id_ for id_ in labelled if id_ in without and without[id_].mask_values != (IGNORE,)]
        if missing:
            message = (
                f"{len(missing)} of {len(labelled)} images that are labelled {name} and have a true mask show no pixel"
                " of it there"
                f" (first: {_examples(missing)})."
            )
            notes.append(Problem("label-not-in-mask", name, message))
    return notes


def _numbered_from_zero(
    samples: Mapping[str, Sample], shown: Mapping[str, Findings], names: Sequence[str]
) -> list[Problem]:
    """A note where masks without a background hold 0 and never the value of the last class."""
    found = {id_: each.unnamed for id_, each in shown.items() if each.unnamed}
    zero = [id_ for id_, (has_zero, _) in found.items() if has_zero]
    if not zero or max(greatest for _, greatest in found.values()) != mask_value(len(names) - 1) - 1:
        return []
    return _gathered(
        "masks-from-zero",
        [samples[id_].mask for id_ in zero],
        f"{{count}} hold{{s}} 0, which is read as a pixel that nobody has named, and no mask holds {len(names)}, the"
        f" value of {names[-1]} (first: {{first}}). If the first class is 0 in these masks: data.first_value = 0.",
    )


def _palette_notes(found: Mapping[Source | None, Mapping[int, int]]) -> list[Problem]:
    if not found:
        return []
    first = next(iter(found.values()))
    pairs = ", ".join(f"index {index} is VOC's colour {value}" for index, value in sorted(first.items())[:_EXAMPLES])
    return _gathered(
        "palette-order",
        list(found),
        f"{{count}} hold{{s}} VOC's colours at other indices (first: {{first}}; {pairs}). Indices are read; if colours"
        " are meant,"
        " save as RGB.",
    )


def _gathered(kind: str, sources: Sequence[Source | None], message: str) -> list[Problem]:
    """One note on all files that share something; none where no file does."""
    files = [source.where for source in sources if source]
    if not files:
        return []
    several = len(files) > 1
    count = f"{len(files)} files" if several else "the file"
    first = _examples([Path(file).name for file in files])
    filled = message.format(
        count=count, s="" if several else "s", them="them" if several else "it", first=first, ignore=IGNORE
    )
    return [Problem(kind, files[0], filled)]


def _examples(names: Sequence[str]) -> str:
    return ", ".join(names[:_EXAMPLES]) + ", …" * (len(names) > _EXAMPLES)


def _holds_two_values(source: Source, values: Sequence[int]) -> bool:
    if not isinstance(source, MaskFile) or IGNORE not in values or not _TWO_VALUES.issuperset(values):
        return False
    # Where classes were selected, others became 255.
    return source.table is None or _TWO_VALUES.issuperset(present_values(read_mask(source.path)))


def _find_unnamed(source: Source) -> tuple[bool, int] | None:
    if not isinstance(source, IgnoringMask) or source.background:
        return None
    values = present_values(source.inner.read())
    return BACKGROUND in values, max((value for value in values if value != IGNORE), default=BACKGROUND)


def _reordered(source: Source, mask: Mask) -> Mapping[int, int] | None:
    if not isinstance(source, MaskFile):
        return None
    with open_picture(source.path) as picture:
        if picture.mode != "P" or picture.format == "GIF":  # of a GIF, colours are read
            return None
        colours = palette_colours(picture)
    used = present_values(mask if source.table is None else read_mask(source.path))
    return reordered(colours, used)
