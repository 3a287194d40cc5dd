"""A catalog: a data set as classes and splits of samples, whatever its layout on disk."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from recam.digests import Digest, digest_each, digest_file
from recam.errors import DataError, Problem, RecipeError, near_matches, printable
from recam.files import named_file
from recam.labels import ClassSet
from recam.registry import Registry
from recam.types import Sample

Background = Literal["rest", "none"]


@dataclass(frozen=True)
class Roles:
    """Which split of a data set does what, where the recipe does not name it.

    Attributes:
        train: image labels are read from here, seeds and pseudo masks are made for it; None where no split is called
            so, and the recipe must name one.
        score: seeds and masks are scored here against the truth (a subset of `train` in VOC); None where there is no
            truth.
        val: held-out images on which segmentation models are scored; None where there are none.
    """

    train: str | None
    score: str | None
    val: str | None


@dataclass(frozen=True)
class PassedOver:
    """Files or folders that a data set holds and that are not used: no problem, but reported.

    Attributes:
        kind: short machine-readable name, e.g. ``"unread-ending"``.
        count: number of files or folders.
        why: what they are and what to do where they should be used, a sentence that fits any count.
        examples: the first few paths.
    """

    kind: str
    count: int
    why: str
    examples: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"kind": self.kind, "count": self.count, "why": self.why, "examples": list(self.examples)}

    def __str__(self) -> str:
        shown = ", ".join(map(printable, self.examples)) + ", …" * (self.count > len(self.examples))
        return f"[{self.kind}] {self.count}: {printable(self.why)}" + (f" First: {shown}" if self.examples else "")


def passed_over(kind: str, paths: Iterable[object], why: str) -> list[PassedOver]:
    """One entry for all of `paths`, or none where there are none."""
    every = [str(path) for path in paths]
    return [PassedOver(kind, len(every), why, tuple(every[:3]))] if every else []


class Catalog(ABC):
    """A data set. Opening one reads lists and labels, never a picture.

    A subclass is a new file in `recam.data` with ``@catalogs.register("name")`` and an
    ``__init__(self, location, *, classes=None)``, which may take options of its own by keyword; ``name:location`` on
    the command line then opens it. Rows that cannot be used (an image that is not there, an unknown class name) are
    left out of `samples` and reported by `problems`, so that one look finds all of them.
    """

    classes: ClassSet
    roles: Roles

    @property
    @abstractmethod
    def splits(self) -> tuple[str, ...]:
        """The names that `samples` takes (a catalog may take more, such as a path to a list)."""

    @abstractmethod
    def samples(self, split: str) -> Sequence[Sample]:
        """The usable samples of a split, in a fixed order. Raises `DataError` with near matches for an unknown
        split."""

    @abstractmethod
    def problems(self, splits: Iterable[str] | None = None) -> list[Problem]:
        """What is wrong with lists, labels and file names of the given splits (default: all), without decoding
        pictures."""

    def unlabelled(self) -> Sequence[Sample]:
        """Usable images of which no label is known, in no split: nothing is learned from them as if they showed no
        class. Their `Sample.labels` are empty."""
        return ()

    def passed_over(self) -> list[PassedOver]:
        """What lies in the data set's folders and is not used, by kind, for all splits; `recam check` ends with it."""
        return []


catalogs: Registry[type[Catalog]] = Registry(
    "data set", "recam.catalogs", ("recam.data.folder", "recam.data.voc", "recam.data.coco", "recam.scenes.catalog")
)


def open_catalog(
    location: str,
    classes: Sequence[str] | None = None,
    *,
    background: Background = "rest",
    no_data: int | Sequence[int] | None = None,
    **options: Any,
) -> Catalog:
    """Open the data set named ``KIND:PATH``, e.g. ``voc:VOCdevkit/VOC2012``, ``folder:photos``, ``scenes:``.

    Args:
        location: kind and place, separated by the first colon.
        classes: keep just these classes; the others become ignore in masks and no label.
        background: ``rest``: what belongs to no class, 0 in masks; ``none``: every pixel belongs to one of the image's
            classes, and 0 in true masks is a pixel that nobody has named.
        no_data: value, or one for each band, of pixels that hold nothing, in the 8 bits that images are read in: 255 in
            masks.
        options: what the kind of data set takes besides, e.g. ``protocol="recam"`` for COCO.

    Raises:
        RecipeError: unknown kind or option, with near matches.
        DataError: nothing at that place that can be read as such a data set.
    """
    from recam.data.ignored import check_first_value, ignoring

    if background not in get_args(Background):
        raise RecipeError(f"background = {background!r}.{near_matches(str(background), get_args(Background))}")
    check_first_value(options.get("first_value"), background)
    return ignoring(open_kind(location, classes, **options), background, no_data)


def open_kind(location: str, classes: Sequence[str] | None = None, **options: Any) -> Catalog:
    """As `open_catalog`, by the options of the kind alone."""
    kind, colon, place = location.partition(":")
    if not colon:
        raise DataError(
            f"a data set is named KIND:PATH, got {location!r}. Kinds: {', '.join(sorted(catalogs))}, e.g."
            f" folder:{location}"
        )
    catalog = catalogs[kind]
    known = [n for n, p in inspect.signature(catalog).parameters.items() if p.kind is p.KEYWORD_ONLY and n != "classes"]
    for name in options:
        if name not in known:
            raise RecipeError(f"the data set kind {kind!r} has no option {name!r}.{near_matches(name, known)}")
    return catalog(place, classes=classes, **options)  # type: ignore[call-arg]


def fingerprint(samples: Iterable[Sample], digest: Digest = digest_file) -> str:
    """A hash that changes when any id, label, group, image, mask or colour without data of `samples` does, and with
    nothing else: not where files lie, nor when they were written. Nothing is decoded.

    Args:
        digest: what a file holds; `recam.digests.FileDigests` reads none twice.
    """

    def describe(sample: Sample) -> tuple[object, ...]:
        mask = sample.mask.fingerprint(digest) if sample.mask else "-"
        found = sample.id, sample.labels, sample.image.fingerprint(digest), mask
        rest = {"group": sample.group, "no data": sample.no_data}
        return (*found, *((name, value) for name, value in rest.items() if value is not None))

    return digest_each(samples, describe)


@dataclass(frozen=True)
class MapFiles:
    """The `fingerprint` of files that are named after images, such as maps made elsewhere; equal for the same files.

    Attributes:
        folder: where they lie, in sub-folders where ids have them.
        ending: e.g. ``.png``.
    """

    folder: Path
    ending: str

    def __call__(self, samples: Iterable[Sample], digest: Digest) -> str:
        """A hash that changes when the file of any sample does. Raises `DataError` for one that is missing."""
        return digest_each(
            samples, lambda sample: (sample.id, digest(named_file(self.folder, f"{sample.id}{self.ending}")))
        )
