"""What the image files of a data set hold: of which kinds they are, which values become black and white, and mixtures
of files that do not look alike to a network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recam.data.decoded import Decoded, Kind
from recam.data.decoding import decode
from recam.data.images import ImageFile
from recam.data.reading import Reading
from recam.data.rendering import chosen_bands, is_empty, render
from recam.data.spread import spread_evenly
from recam.errors import Problem
from recam.types import Image, Sample, Source

PERCENTILES = (0.5, 99.5)
"""Of the values of the training images, those that become black and white."""
VALUES = 1 << 20
"""Pixels that are drawn of all images together, about."""
FEWEST, MOST = 64, 1 << 16
"""Pixels that are drawn of one image: fewer than the first would not be worth its decoding."""
LARGE_PHOTO = 12_000_000
"""Pixels from which a photo is reported where `data.max_side` is not set."""
IMAGE_NOTES = ("mixed-depth", "mixed-bands", "alpha-chosen", "large-photos")
"""Kinds of the notes."""


@dataclass(frozen=True)
class ImageFindings:
    """What was found in one image file.

    Attributes:
        kind: what it holds.
        pixels: how many.
        drawn: (m, n) values of its bands at pixels drawn, NaN without data; None of 8 bits, and where none are wanted.
        alpha_chosen: transparency is among the chosen bands.
    """

    kind: Kind
    pixels: int
    drawn: NDArray[np.float64] | None = None
    alpha_chosen: bool = False


@dataclass(frozen=True)
class ImageJudgement:
    """What a data set's image files hold together.

    Attributes:
        kinds: how many are of which kind, the most frequent first.
        value_range: (low, high) for each band, or for all; None where all files have 8 bits.
        large: how many are `LARGE_PHOTO` or more.
        notes: what is worth a look.
    """

    kinds: dict[str, int]
    value_range: tuple[tuple[float, float], ...] | None
    large: int
    notes: tuple[Problem, ...]


def count_draws(samples: Sequence[Sample]) -> dict[str, int]:
    """By id, how many pixels are drawn of each image that values are counted in; even over the images where there are
    too many for all."""
    each = min(MOST, max(FEWEST, VALUES // max(1, len(samples))))
    return {samples[index].id: each for index in spread_evenly(len(samples), VALUES // FEWEST)}


def read_and_find(source: Source, draws: int) -> tuple[Image, ImageFindings | None]:
    """An image (H, W, n), and what its file holds; None where it is no file.

    Args:
        draws: pixels whose values are wanted, where it has more than 8 bits.

    Raises:
        DataError, DependencyError: as `ImageFile.read`.
    """
    if not isinstance(source, ImageFile):
        return source.read(), None
    decoded = decode(source.path, source.reading)
    image = render(decoded, source.reading)
    alpha_chosen = bool(source.reading.bands) and decoded.alpha in chosen_bands(decoded, source.reading)
    wanted = draws and decoded.values is not None and decoded.values.dtype != np.uint8
    drawn = _draw(decoded, source.reading, draws) if wanted else None
    return image, ImageFindings(decoded.kind, image.shape[0] * image.shape[1], drawn, alpha_chosen)


def judge_images(findings: Mapping[str, ImageFindings], reading: Reading, bounded: bool, where: str) -> ImageJudgement:
    """Put together what was found in the files (by id).

    Args:
        reading: how they are read.
        bounded: `data.max_side` bounds what networks read, or nobody knows.
        where: the data set, as notes name it.
    """
    kinds = dict(Counter(str(found.kind) for found in findings.values()).most_common())
    large = sum(found.pixels >= LARGE_PHOTO for found in findings.values())
    notes = [*_mixtures(findings, kinds, reading, where)]
    if large and not bounded:
        notes.append(
            Problem(
                "large-photos",
                where,
                f"{large} images have {LARGE_PHOTO // 10**6} megapixels or more, and data.max_side is not set: where"
                " the recipe does not set it either, networks read them whole. Set it, e.g. to 1024; masks have the"
                " photo's own size all the same.",
            )
        )
    return ImageJudgement(kinds, _count_range(findings), large, tuple(notes))


def _draw(decoded: Decoded, reading: Reading, count: int) -> NDArray[np.float64]:
    """(m, n) values of the bands that are read: of `count` pixels drawn, or of all where there are not as many."""
    values = decoded.values
    assert values is not None
    height, width = values.shape[:2]
    bands = list(chosen_bands(decoded, reading))
    if height * width <= count:
        found = values[..., bands].reshape(-1, len(bands))
    else:
        rng = np.random.default_rng(0)  # the same pixels whatever other images there are
        rows, columns = rng.integers(height, size=count), rng.integers(width, size=count)
        found = values[rows, columns][:, bands]
    drawn = found.astype(np.float64)
    drawn[is_empty(found, decoded.empty)] = np.nan
    return drawn


def _count_range(findings: Mapping[str, ImageFindings]) -> tuple[tuple[float, float], ...] | None:
    """Percentiles of each band; of all together where images differ in their number of bands."""
    drawn = [found.drawn for found in findings.values() if found.drawn is not None]
    if not drawn:
        return None
    alike = len({values.shape[1] for values in drawn}) == 1
    pooled = np.concatenate(drawn if alike else [values.reshape(-1, 1) for values in drawn])  # (N, n)
    return tuple(_ends(pooled[:, band]) for band in range(pooled.shape[1]))


def _ends(values: NDArray[np.float64]) -> tuple[float, float]:
    known = values[~np.isnan(values)]
    if not known.size:
        return 0.0, 1.0
    low, high = (float(f"{end:.6g}") for end in np.percentile(known, PERCENTILES))
    return (low, high) if low < high else (low, low + 1.0)  # one value alone is black


def _mixtures(
    findings: Mapping[str, ImageFindings], kinds: Mapping[str, int], reading: Reading, where: str
) -> list[Problem]:
    listed = ", ".join(f"{count} × {kind}" for kind, count in kinds.items())
    notes = []

    def note(kind: str, message: str) -> None:
        notes.append(Problem(kind, where, message))

    found_kinds = [found.kind for found in findings.values()]
    depths = {(kind.bits, kind.is_float) if kind.is_deep else (8, False) for kind in found_kinds}
    if len(depths) > 1:
        note(
            "mixed-depth",
            f"images of different depth ({listed}): 8 bits are read as they are, all others through one range of"
            " values, so the same thing may look different to a network. Save all in one way.",
        )
    bands = {kind.bands for kind in found_kinds}
    if len(bands) > 1 and not bands <= {1, 3}:
        note(
            "mixed-bands",
            f"images of different numbers of bands ({listed}): a band may hold another thing in each. Check"
            " data.bands, or leave one kind out.",
        )
    chosen = [id_ for id_, found in findings.items() if found.alpha_chosen]
    if chosen:
        note(
            "alpha-chosen",
            f"data.bands = {list(reading.bands or ())} names a band that {len(chosen)} files mark as transparency"
            f" (first: {chosen[0]}). It is read as any other band; GIS programs mark a fourth band so by default.",
        )
    return notes


def describe_range(value_range: Sequence[Sequence[float]]) -> str:
    """A value range in a line."""
    return ", ".join(f"{low:g} to {high:g}" for low, high in value_range)


def as_lists(value_range: tuple[tuple[float, float], ...] | None) -> list[list[float]] | None:
    """JSON-ready."""
    return None if value_range is None else [list(pair) for pair in value_range]


def as_range(value: Any) -> tuple[tuple[float, float], ...] | None:
    """A value range as JSON holds it."""
    return None if value is None else tuple((float(low), float(high)) for low, high in value)
