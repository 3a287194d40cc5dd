"""Groups that the names of images suggest: many names that begin alike, as the tiles of one slide do."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

_PART = re.compile("[_-]")
FEWEST_GROUPS, PER_GROUP = 3, 3
"""Beginnings, and images of each on average, from which names are taken to suggest groups."""
COVERED = 0.8
"""Share of the images whose names must have a beginning in common with another one."""


@dataclass(frozen=True)
class SuggestedGroups:
    """What names suggest.

    Attributes:
        count: number of beginnings.
        largest: the most frequent one.
        images: how many images begin with that.
        pattern: `data.group` that reads them.
    """

    count: int
    largest: str
    images: int
    pattern: str


def suggest_groups(labels_by_id: Mapping[str, frozenset[str]]) -> SuggestedGroups | None:
    """The shortest beginnings, up to a ``_`` or ``-``, that part the images; None where names suggest nothing.

    Beginnings that are classes, or say what the labels say, as in ``horse_12``, are no groups.

    Args:
        labels_by_id: class names of each image by its id.
    """
    names = {image_id: image_id.rpartition("/")[2] for image_id in labels_by_id}
    marks = {image_id: [match.start() for match in _PART.finditer(name)] for image_id, name in names.items()}
    for depth in range(max((len(at) for at in marks.values()), default=0)):
        found = {image_id: names[image_id][: at[depth]] for image_id, at in marks.items() if len(at) > depth}
        counts = Counter(found.values())
        shared = {begin: count for begin, count in counts.items() if count > 1}
        if (
            len(shared) >= FEWEST_GROUPS
            and sum(shared.values()) >= max(COVERED * len(names), PER_GROUP * len(shared))
            and not _are_labels(found, labels_by_id)
        ):
            largest, count = counts.most_common(1)[0]
            return SuggestedGroups(len(counts), largest, count, _pattern(found, names, depth))
    return None


def _are_labels(found: Mapping[str, str], labels_by_id: Mapping[str, frozenset[str]]) -> bool:
    """Whether a beginning is a class, or each stands for one set of labels and each set of labels for one of them."""
    classes = {name.casefold() for names in labels_by_id.values() for name in names}
    if any(begin.casefold() in classes for begin in found.values()):
        return True
    of_begin: dict[str, set[frozenset[str]]] = defaultdict(set)
    of_labels: dict[frozenset[str], set[str]] = defaultdict(set)
    for image_id, begin in found.items():
        of_begin[begin].add(labels_by_id[image_id])
        of_labels[labels_by_id[image_id]].add(begin)
    return all(len(sets) == 1 for sets in of_begin.values()) and all(len(each) == 1 for each in of_labels.values())


def _pattern(found: Mapping[str, str], names: Mapping[str, str], depth: int) -> str:
    """``{group}_{id}`` where that can be read in one way alone, else a regular expression."""
    signs = {names[image_id][len(begin)] for image_id, begin in found.items()}
    single = all(len(_PART.findall(names[image_id])) == 1 for image_id in found)
    if depth == 0 and len(signs) == 1 and single:
        return f"{{group}}{signs.pop()}{{id}}"
    return rf"(?P<group>{'[^_-]*[_-]' * depth}[^_-]*)[_-].+"
