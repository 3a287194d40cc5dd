"""Masks without classes, such as those of Segment Anything, given classes by the votes of class maps: SEPL (Chen et
al., "SAM Enhanced Pseudo Labels for Weakly Supervised Semantic Segmentation", 2023).

Class maps know what is there and roughly where; masks of SAM know where things end and nothing of what they are. R_k
are the pixels that class maps give to class k at their threshold. A mask M is given to the class that covers most of
it, and accepted where |M ∩ R_k| / |M| > `inside`, or |M ∩ R_k| / |R_k| ≥ `covers`. What lies in no mask at all keeps
the class of the maps; what lies in rejected masks alone is background.

Followed: the published code (cskyl/SAM_WSSS). Departures: a mask is offered to the class that covers most of it, where
the code offers it to classes in the order of their numbers; where accepted masks of two classes overlap, the one that
its class covers more of is on top, where the code has the class of the higher number; `by = "iou"`, one mask for each
class, and the floors on SAM's own scores are ours. Without a background, rejected masks change nothing.

Masks are run lengths, column by column as in COCO's format, so that hundreds of masks of a large photo need no more
memory than the photo.

Letters: n maps of one image, H×W its size, M masks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from recam.data.coco_masks import paint_runs
from recam.data.free_masks import FreeMask, Lengths
from recam.errors import DataError
from recam.labels import BACKGROUND
from recam.methods.arguments import check_image
from recam.methods.cam import read_full
from recam.methods.refine import check_threshold, maps_of_mask
from recam.preprocess import rgb_of
from recam.settings import Settings, Share
from recam.types import Image, Mask, SeedMaps


@dataclass(frozen=True)
class VoteSettings(Settings):
    """Which masks are accepted; the defaults are SEPL's."""

    by: Literal["coverage", "iou"] = "coverage"
    """``coverage``: every mask that its class covers enough of; ``iou``: for each class the one mask with the largest
    IoU."""
    inside: Share = 0.5
    """Part of a mask that must have the class, exclusive."""
    covers: Share = 0.85
    """Or part of all pixels of the class that lie in the mask."""
    least_iou: Share = 0.3
    """IoU that a mask must have with ``by = "iou"``."""
    outside: Literal["keep", "ignore", "background"] = "keep"
    """Pixels of a class that lie in no mask at all: keep it (SEPL), 255 in masks, or background."""
    least_predicted_iou: Share = 0.0
    """SAM's own estimate below which a mask is passed over; masks without one never are."""
    least_stability: Share = 0.0
    """The same of its stability score."""


def as_lengths(mask: NDArray[np.bool_]) -> Lengths:
    """Run lengths of a mask (H, W)."""
    columns = mask.T.ravel()
    changes = np.flatnonzero(columns != np.concatenate([[False], columns[:-1]])).tolist()
    ends = np.array([0, *changes, columns.size], np.int64)
    return ends[1:] - ends[:-1]


def count_overlaps(masks: Sequence[Lengths], regions: NDArray[np.integer], n: int) -> NDArray[np.int64]:
    """Pixels of each region in each mask: M run lengths and (H, W) of 0 (none), 1…n → (M, n).

    Raises:
        DataError: run lengths that do not sum to H·W.
    """
    columns = regions.T.ravel()
    if wrong := [number for number, runs in enumerate(masks) if runs.sum() != columns.size]:
        raise DataError(
            f"masks {wrong[:3]} have {masks[wrong[0]].sum()} pixels, but the image {columns.size}: make them for the"
            " same image."
        )
    overlaps = np.zeros((len(masks), n), np.int64)
    for plane in range(n):
        before = np.concatenate([[0], np.cumsum(columns == plane + 1)])  # pixels of the region before each position
        for number, runs in enumerate(masks):
            ends = np.cumsum(runs)
            starts, stops = ends[::2], ends[1::2]
            overlaps[number, plane] = (before[stops] - before[starts[: len(stops)]]).sum()
    return overlaps


def elect(
    overlaps: NDArray[np.int64], areas: NDArray[np.int64], totals: NDArray[np.int64], settings: VoteSettings
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Which region each mask is given to, and how much of the mask that covers.

    Args:
        overlaps: (M, n) pixels of each region in each mask.
        areas: (M,) pixels of each mask.
        totals: (n,) pixels of each region.

    Returns:
        (M,) 1…n, 0 for masks that are rejected; (M,) in [0, 1].
    """
    union = (areas[:, None] + totals - overlaps).clip(1)
    score = overlaps / union if settings.by == "iou" else overlaps / areas[:, None].clip(1)  # (M, n)
    best, each = score.argmax(1), np.arange(len(score))
    shared, score = overlaps[each, best], score[each, best]  # (M,)
    if settings.by == "coverage":
        accepted = (score > settings.inside) | (shared >= settings.covers * totals[best])
    else:
        first = [np.flatnonzero(best == plane) for plane in range(len(totals))]
        largest = [mine[score[mine].argmax()] for mine in first if len(mine)]
        accepted = np.isin(each, largest) & (score >= settings.least_iou)
    return np.where(accepted & (shared > 0), best + 1, 0), shared / areas.clip(1)


def vote(
    regions: NDArray[np.integer], n: int, masks: Sequence[FreeMask], settings: VoteSettings, background: bool
) -> tuple[Mask, NDArray[np.bool_]]:
    """The mask that accepted masks and regions make together.

    Args:
        regions: (H, W) 0 where no class is, 1…n.
        n: number of classes.
        background: pixels may belong to no class.

    Returns:
        (H, W) 0, 1…n; (H, W) pixels to ignore.
    """
    lengths = [mask.lengths for mask in masks if _is_trusted(mask, settings)]
    found = regions.T.ravel().astype(np.uint8)  # column by column, as run lengths are
    in_any = np.zeros_like(found)
    for each in lengths:
        paint_runs(in_any, each, 1)
    left = (found > BACKGROUND) & (in_any == 0)
    ignore = left & (background and settings.outside == "ignore")
    if background:
        found[(in_any > 0) | (settings.outside == "background")] = BACKGROUND
    if lengths:
        overlaps = count_overlaps(lengths, regions, n)  # (M, n)
        areas = np.array([each[1::2].sum() for each in lengths], np.int64)
        totals = np.bincount(regions.ravel(), minlength=n + 1)[1:]
        chosen, inside = elect(overlaps, areas, totals, settings)
        for number in np.argsort(inside, kind="stable"):
            if chosen[number]:
                paint_runs(found, lengths[number], int(chosen[number]))
    height, width = regions.shape
    return found.reshape(width, height).T.copy(), ignore.reshape(width, height).T.copy()


@dataclass(frozen=True)
class VoteRefiner:
    """`vote` on an image's class maps: full-size maps of 0 and 1; any threshold between gives the mask.

    Attributes:
        masks_of: masks without classes of an image (H, W, 3) uint8.
        threshold: background of the maps that come in; None: there is no background.
        settings: SEPL's.
    """

    masks_of: Callable[[Image], Sequence[FreeMask]]
    threshold: float | None = 0.21
    settings: VoteSettings = field(default_factory=VoteSettings)

    def __post_init__(self) -> None:
        check_threshold(self.threshold, "sam_votes")

    def __call__(self, image: Image, seed: SeedMaps) -> SeedMaps:
        if not len(seed.maps):
            return seed
        check_image(rgb_of(image), seed.size)
        cams = read_full(seed)  # (n, H, W)
        regions = cams.argmax(0) + 1
        if self.threshold is not None:
            regions[cams.max(0) <= self.threshold] = BACKGROUND
        mask, ignore = vote(regions, len(cams), self.masks_of(image), self.settings, self.threshold is not None)
        made = maps_of_mask(mask, seed)
        if not ignore.any():
            return made
        both = ignore if made.ignore is None else ignore | made.ignore
        return SeedMaps(made.maps, made.class_indices, made.size, both)


def _is_trusted(mask: FreeMask, settings: VoteSettings) -> bool:
    floors = ((mask.predicted_iou, settings.least_predicted_iou), (mask.stability, settings.least_stability))
    return all(value is None or value >= floor for value, floor in floors)
