"""What the check of a data set found, as people and programs read it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from recam.data.catalog import PassedOver, Roles
from recam.data.image_check import as_lists, describe_range
from recam.errors import Problem, printable

PROBLEMS, NOTES = 20, 3
"""Of each kind that the printed report shows."""


@dataclass(frozen=True)
class SplitCounts:
    """What one split holds: numbers of usable images, and of the groups that they are in."""

    images: int
    unlabelled: int
    with_mask: int
    images_per_class: dict[str, int]
    groups: int = 0


@dataclass(frozen=True)
class CheckReport:
    """What a data set holds and what is wrong with it; it prints itself.

    Attributes:
        images: usable images, each counted once even where it is in several splits.
        images_per_class: by class name; an image counts for each of its labels.
        unlabelled: images that show none of the classes, as their empty label states.
        unlisted: images of which no label is known; in no split, and not counted in `images`.
        background: whether pixels may belong to no class.
        labels_per_image: the fewest and the most labels of an image; None without any image.
        problems: what keeps something from being used.
        notes: what may be as it should, but is worth a look; nothing is kept from being used.
        splits: by name.
        pairs: the most frequent pairs of labels, with the number of images that hold both, most frequent first.
        sizes: ``{"height": {"min", "median", "max"}, "width": …}`` in pixels, over the decoded images; empty where none
            was decoded.
        kinds: how many image files are of which kind (colours, bits), the most frequent first; empty where none was
            decoded.
        value_range: (low, high) that become black and white in images of more than 8 bits, for each band or for all;
            None where there are none in the training split.
        large: images of 12 megapixels or more.
        roles: which split does what; None where the data set could not be opened.
        passed_over: what lies in its folders and is not used, by kind.
    """

    images: int = 0
    classes: tuple[str, ...] = ()
    images_per_class: dict[str, int] = field(default_factory=dict)
    unlabelled: int = 0
    unlisted: int = 0
    labels_per_image: tuple[int, int] | None = None
    background: bool = True
    problems: tuple[Problem, ...] = ()
    notes: tuple[Problem, ...] = ()
    splits: dict[str, SplitCounts] = field(default_factory=dict)
    pairs: tuple[tuple[str, str, int], ...] = ()
    sizes: dict[str, dict[str, float]] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)
    value_range: tuple[tuple[float, float], ...] | None = None
    large: int = 0
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
            "unlisted": self.unlisted,
            "background": self.background,
            "labels_per_image": self.labels_per_image and list(self.labels_per_image),
            "problems": [problem.as_dict() for problem in self.problems],
            "notes": [note.as_dict() for note in self.notes],
            "splits": {name: asdict(counts) for name, counts in self.splits.items()},
            "pairs": [{"classes": [one, other], "images": n} for one, other, n in self.pairs],
            "sizes": self.sizes,
            "kinds": self.kinds,
            "value_range": as_lists(self.value_range),
            "large": self.large,
            "roles": asdict(self.roles) if self.roles else None,
            "passed_over": [kind.as_dict() for kind in self.passed_over],
        }

    def __str__(self) -> str:
        return "\n".join(map(printable, self._lines()))

    def _lines(self) -> Iterator[str]:
        yield (
            f"{self.images} images, {len(self.classes)} class{'es' * (len(self.classes) != 1)},"
            f" {self.unlabelled} images that show none of them"
        )
        if self.unlisted:
            yield f"{self.unlisted} more images are unlabelled: nothing states what they show, so none of it is learned"
        if not self.background:
            yield "no background: every pixel belongs to one of the image's classes"
        if self.labels_per_image and self.labels_per_image[1] == 1 < len(self.classes):
            yield f"{'exactly' if self.labels_per_image[0] else 'at most'} one label per image"
        if self.classes:
            yield from ("", *self._table())
        if self.roles:
            yield _describe_roles(self.roles, [name for name, counts in self.splits.items() if counts.images])
        for side, numbers in self.sizes.items():
            yield f"{side}: {numbers['min']:g} to {numbers['max']:g} pixels, median {numbers['median']:g}"
        if self.kinds:
            yield "image files: " + "; ".join(f"{kind} ({count})" for kind, count in self.kinds.items())
        if self.value_range:
            yield f"black to white in more than 8 bits: {describe_range(self.value_range)}"
        if self.pairs:
            yield "most frequent pairs: " + ", ".join(f"{one} + {other} ({n})" for one, other, n in self.pairs)
        yield from _first_of_each_kind(self.notes, NOTES, "note ")
        yield ""
        yield (
            f"{len(self.problems)} problem{'s' * (len(self.problems) != 1)}:" if self.problems else "No problem found."
        )
        yield from _first_of_each_kind(self.problems, PROBLEMS, "  ")
        if self.passed_over:
            yield from ("", "passed over:", *(f"  {kind}" for kind in self.passed_over))

    def _table(self) -> Iterator[str]:
        grouped = any(counts.groups for counts in self.splits.values())
        columns = {"": ["images", *["groups"] * grouped, "without label", "with mask", *self.classes]}
        for name, counts in self.splits.items():
            numbers = [counts.images, *[counts.groups] * grouped, counts.unlabelled, counts.with_mask]
            numbers += counts.images_per_class.values()
            columns[name] = [str(number) for number in numbers]
        widths = [max(map(len, [name, *cells])) for name, cells in columns.items()]
        for row in zip(*([name, *cells] for name, cells in columns.items()), strict=True):
            yield "  ".join(
                cell.ljust(width) if i == 0 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
        yield ""


def _first_of_each_kind(found: Sequence[Problem], limit: int, before: str) -> Iterator[str]:
    """A line for each of the first `limit` of a kind, and one for how many more there are, kinds in order."""
    by_kind: dict[str, list[Problem]] = {}
    for each in found:
        by_kind.setdefault(each.kind, []).append(each)
    for kind, of_kind in by_kind.items():
        yield from (f"{before}[{kind}] {each.where}: {each.message}" for each in of_kind[:limit])
        if len(of_kind) > limit:
            yield f"{before}[{kind}] and {len(of_kind) - limit} more; --json lists them all"


def _describe_roles(roles: Roles, splits: Iterable[str]) -> str:
    """Which split does what, in a line."""
    doing = {"trained on": roles.train, "scored on": roles.score, "held out": roles.val}
    unused = [split for split in splits if split not in doing.values()] if roles.train in set(splits) else []
    reported = [f"{role}: {split or 'none'}" for role, split in doing.items()]
    return "; ".join([*reported, *([f"not used in a run: {', '.join(unused)}"] if unused else [])])
