"""Which data set, which of its splits does what, and the samples of each role."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from recam.data.catalog import Background, Catalog, Roles, fingerprint, open_kind
from recam.data.ignored import NoData, as_colour, check_first_value, ignoring
from recam.data.read_catalog import ReadCatalog
from recam.data.reading import Bands, Page, Reading, ValueRange
from recam.data.splits import no_training_split
from recam.digests import Digest, FileDigests
from recam.errors import DataError
from recam.progress import track
from recam.settings import Settings, section
from recam.types import Sample

OPTION = {"opens": True}
"""Metadata of a field that is passed on to the data set when it is opened, unless it stands at its default."""
Role = Literal["train", "score", "val", "seeded", "unlabelled"]
Fingerprint = Callable[[Iterable[Sample], Digest], str]
SHOW_AFTER = 1.0
"""Seconds that reading files may take before it is shown; the next time their hashes are known and there is nothing to
show."""


@section("data")
@dataclass(frozen=True)
class DataSettings(Settings):
    """Which data set, and which of its splits does what."""

    location: str = ""
    """KIND:PATH, e.g. ``voc:VOCdevkit/VOC2012``, ``coco:coco2014``, ``folder:photos``, ``scenes:``."""
    classes: tuple[str, ...] | None = None
    """Keep just these classes; the others become ignore in masks and no label."""
    background: Background = "rest"
    """``rest``: what belongs to no class is background, 0 in masks; ``none``: every pixel belongs to one of the image's
    classes, as in histology and land cover: no threshold, no value 0 in masks."""
    first_value: Literal[0, 1] = field(default=1, metadata=OPTION)
    """Value of the first class in true masks: 1, and 0 is background or, without one, a pixel that nobody has named; or
    0 where there is no background."""
    no_data: NoData | None = None
    """Pixels of exactly this value, or RGB colour, hold nothing: 255 in masks, as the black frames of satellite tiles;
    None: there are none."""
    options: dict[str, Any] = field(default_factory=dict)
    """What this kind of data set takes besides, e.g. ``{protocol = "recam"}`` for COCO."""
    train: str | None = None
    """Split that image labels are learned from and that pseudo masks are made for; None: the data set's own."""
    score: str | None = None
    """Split (usually a part of `train`) whose true masks score maps and pseudo masks; None: the data set's own."""
    val: str | None = None
    """Held-out split on which segmentation models are scored; None: the data set's own."""
    one_label: bool = False
    """Only images that show exactly one of the classes, in every split; those left out are read by nothing."""
    labels_from: str | None = field(default=None, metadata=OPTION)
    """Labels from file names, by a pattern with a field ``{label}``, e.g. ``{label}_{id}``, or by a regular expression
    with a group ``(?P<label>…)``; None: from the table, or from sub-folders."""
    label_separator: str | None = field(default=None, metadata=OPTION)
    """What parts several labels in a file name, e.g. ``+``; None: a name has one label."""
    unlisted: Literal["unlabelled", "negative"] = field(default="unlabelled", metadata=OPTION)
    """Images that the table does not name: ``unlabelled``, of which nothing is learned until there are masks; or
    ``negative``, showing none of the classes."""
    group: str | None = field(default=None, metadata=OPTION)
    """Images that stay together in splits, as those of one patient or slide: a column of the table, or a pattern of
    file names with a field ``{group}``."""
    bands: Bands | None = None
    """Which bands of the image files networks read, in this order, 1 the first (as GDAL and QGIS count), e.g. ``[4, 3,
    2]``; None: grey or RGB."""
    page: Page | None = None
    """Which page of TIFFs, or frame of animations, is the image, 1 the first; None: files of several are refused."""
    value_range: ValueRange | None = None
    """Values that become black and white in images of more than 8 bits, ``[[low, high]]`` for all bands or a pair for
    each; None: percentiles 0.5 and 99.5 of the training images. A run keeps what it found."""
    max_side: Annotated[int, Field(ge=32)] | None = None
    """Images with a longer side than this (pixels) are reduced to it before a network reads them, when maps are made
    and segmentation models trained and applied; masks have the image's own size all the same. None: never reduced."""
    on_problems: Literal["stop", "skip"] = "stop"
    """What to do where the check finds damaged files: stop and report all of them, or leave them out."""

    def __post_init__(self) -> None:
        _ = self.reading  # which checks its parts
        as_colour(self.no_data)
        check_first_value(self.first_value, self.background)

    @property
    def reading(self) -> Reading:
        """How image files are read."""
        return Reading(self.bands, self.page, self.value_range)

    @property
    def has_background(self) -> bool:
        """Whether pixels may belong to no class."""
        return self.background == "rest"

    def open(self) -> Catalog:
        """The data set. Raises as `recam.data.catalog.open_catalog` does."""
        chosen = {
            each.name: getattr(self, each.name)
            for each in fields(self)
            if OPTION.items() <= each.metadata.items() and getattr(self, each.name) != each.default
        }
        catalog = open_kind(self.location, self.classes, **{**self.options, **chosen})
        read = catalog if self.reading.is_plain else ReadCatalog(catalog, self.reading)
        return ignoring(read, self.background, self.no_data)

    def roles(self, catalog: Catalog) -> Roles:
        """Which split does what: as named here, else the data set's own choice."""
        own = catalog.roles
        return Roles(
            own.train if self.train is None else self.train,
            own.score if self.score is None else self.score,
            own.val if self.val is None else self.val,
        )


def in_every_image(samples: Sequence[Sample], names: Sequence[str]) -> str:
    """Why classes that all images show cannot be learned, and what to do; empty where there are none.

    Args:
        names: of the classes.
    """
    counts = Counter(label for sample in samples for label in sample.labels)
    always = [names[label] for label, count in sorted(counts.items()) if count == len(samples) > 1]
    if not always:
        return ""
    return (
        f"all {len(samples)} images are labelled {', '.join(always)}, so none shows what is there without, and a"
        " classifier cannot learn it. Add images without it: of one class these are rows with an empty label, or images"
        " without a row and data.unlisted = 'negative'."
    )


@dataclass(frozen=True)
class RunData:
    """The data set of a run, by role.

    Attributes:
        catalog: the open data set.
        settings: which split plays which role, where not the catalog's own choice.
        excluded: ids of samples that the check found damaged and the recipe skips.
        unscored: splits whose true masks show no class at all, by the check: they count as splits without masks.
        digests: what files hold.
        quiet: show no progress (all processes but the first).
        left_out: classes of the data set that no training image is labelled with; `catalog` is without them.
    """

    catalog: Catalog
    settings: DataSettings
    excluded: frozenset[str] = frozenset()
    unscored: frozenset[str] = frozenset()
    digests: FileDigests = field(default_factory=FileDigests)
    quiet: bool = False
    left_out: tuple[str, ...] = ()

    def split(self, role: Role) -> str | None:
        """Name of the split that plays a role; None where none does."""
        split: str | None = getattr(self.settings.roles(self.catalog), role)
        return split

    @property
    def channels(self) -> int:
        """Number of bands that networks read."""
        return self.settings.reading.channels

    @cached_property
    def train(self) -> list[Sample]:
        """Samples whose image labels are learned from. Raises `DataError` where there is none."""
        if self.split("train") is None:
            raise DataError(f"{self.settings.location}: {no_training_split(self.catalog.splits)}.")
        samples = self._samples("train")
        if not samples:
            one = " with exactly one label (data.one_label)" if self.settings.one_label else ""
            raise DataError(f"the split {self.split('train')!r} holds no usable image{one}; `recam check` reports why.")
        return samples

    @cached_property
    def score(self) -> list[Sample]:
        """Samples with a true mask that score maps and pseudo masks; empty where there is no truth."""
        return self._with_truth("score")

    @cached_property
    def val(self) -> list[Sample]:
        """Held-out samples with a true mask that score segmentation models; empty where there is no truth."""
        return self._with_truth("val")

    @cached_property
    def seeded(self) -> list[Sample]:
        """Samples that class maps are made for: those to train on and those to score."""
        known = {sample.id for sample in self.train}
        return self.train + [sample for sample in self.score if sample.id not in known]

    @cached_property
    def unlabelled(self) -> list[Sample]:
        """Samples of which no label is known."""
        return [sample for sample in self.catalog.unlabelled() if sample.id not in self.excluded]

    def fingerprint(self, role: str, of: Fingerprint = fingerprint) -> str:
        """Hash of a role's ids, labels and files, see `recam.data.catalog.fingerprint`; or of what else of its samples
        `of` reads."""
        if (role, of) not in self._fingerprints:
            samples = getattr(self, role)
            shown = track(samples, "reading files", len(samples), quiet=self.quiet, after=SHOW_AFTER)
            with self.digests.collect() as files:
                self._fingerprints[role, of] = of(shown, self.digests), files
        found, files = self._fingerprints[role, of]
        self.digests.note(files)
        return found

    def content(self, path: str) -> str | None:
        """Hash of what a file holds; None where the name is none of a file, such as that of published weights."""
        return self.digests(Path(path)) if path and Path(path).is_file() else None

    @cached_property
    def _fingerprints(self) -> dict[tuple[str, Fingerprint], tuple[str, set[str]]]:
        return {}

    def _with_truth(self, role: Role) -> list[Sample]:
        return (
            []
            if self.split(role) in self.unscored
            else [sample for sample in self._samples(role) if sample.mask is not None]
        )

    def _samples(self, role: Role) -> list[Sample]:
        split = self.split(role)
        samples = self.catalog.samples(split) if split else ()
        kept = [sample for sample in samples if sample.id not in self.excluded]
        return [sample for sample in kept if len(sample.labels) == 1] if self.settings.one_label else kept
