"""EDAM's post-processing (Wu et al., Embedded Discriminative Attention Mechanism, CVPR 2021; ReCAM paper, Table 4: with
ReCAM it is ReCAM-M).

A saliency map measures how much a pixel stands out, of whatever class. It is supervision beyond image labels, so
results made with it must be labelled so.

Followed: the published settings. Departures: where several maps exceed β the largest wins, not the class that comes
first; a salient pixel where all maps are below α is ignored, where the published code calls it background. The setting
``published_rule`` decides both as published. The code's path by a CRF and saliency together, which its README calls, is
broken and left out.

Letters: n maps of one image, H×W image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from recam.errors import DataError, RecipeError
from recam.labels import BACKGROUND, IGNORE, check_class_indices, mask_values
from recam.methods.cam import read_full
from recam.methods.refine import maps_of_mask
from recam.settings import Settings, Share, check_shares, section
from recam.types import Image, Maps, Mask, SeedMaps, check_maps


@section("edam")
@dataclass(frozen=True)
class EdamSettings(Settings):
    """EDAM's post-processing, `refine = ["edam"]`: three thresholds; the defaults are the published ones."""

    saliency_threshold: Share = 20 / 255
    """θ: a pixel is background up to this saliency. The published command has 20 of 255."""
    ignore_below: Share = 1e-6
    """α: a salient pixel where no map reaches it is ignored."""
    confident_above: Share = 0.99999
    """β: a pixel with a map above it has that class, whatever its saliency."""
    published_rule: bool = False
    """Of several maps above β the class that comes first, and background where a salient pixel has no map above α, as
    in the published code."""

    def __post_init__(self) -> None:
        shares = {
            "saliency_threshold": self.saliency_threshold,
            "ignore_below": self.ignore_below,
            "confident_above": self.confident_above,
        }
        check_shares("EDAM", shares)
        if self.ignore_below > self.confident_above:
            raise RecipeError(
                f"EDAM: ignore_below {self.ignore_below} is above confident_above {self.confident_above}: exchange them"
            )


def edam_mask(
    cams: Maps,
    class_indices: Sequence[int] | NDArray[np.integer],
    saliency: NDArray[np.floating],
    settings: EdamSettings | None = None,
) -> Mask:
    """Seed mask of class maps with the background of a saliency map.

    Args:
        cams: (n, H, W) class maps in [0, 1].
        class_indices: (n,) the class of each, 0…K−1.
        saliency: (H, W) float in [0, 1].
        settings: published ones if None.

    Returns:
        (H, W): the class of the largest map where that is above β or the pixel is salient; background where it is not
        salient; 255 where it is and all maps are below α. All background without any map.

    Raises:
        DataError: maps and saliency that do not fit, either of them outside [0, 1] or NaN; class indices that are none,
            or not one for each map.
    """
    settings = settings or EdamSettings()
    check_saliency(saliency, cams.shape[1:])
    check_maps(cams)
    check_class_indices(class_indices, len(cams))
    if not len(cams):
        return np.full(saliency.shape, BACKGROUND, np.uint8)
    largest, salient = cams.max(0), saliency > settings.saliency_threshold  # (H, W)
    # A map of 0 claims nothing, even where α = 0 ignores nothing.
    claimed = (largest > settings.confident_above) | (salient & (largest >= settings.ignore_below) & (largest > 0))
    chosen = cams.argmax(0)
    if settings.published_rule:
        chosen = np.where(largest > settings.confident_above, (cams > settings.confident_above).argmax(0), chosen)
    winner = np.where(claimed, chosen + 1, 0)  # (H, W): 0 is background, i the i-th map
    mask: Mask = mask_values(class_indices)[winner]
    if settings.published_rule:
        return mask
    mask[salient & ~claimed & (largest < settings.ignore_below)] = IGNORE
    return mask


@dataclass(frozen=True)
class EdamRefiner:
    """`edam_mask` of an image's class maps: full-size maps of 0 and 1, its 255 as pixels to ignore; any threshold
    between gives the mask.

    Attributes:
        saliency_of: the saliency map of an image, (H, W) float in [0, 1].
        settings: published ones.
    """

    saliency_of: Callable[[Image], NDArray[np.floating]]
    settings: EdamSettings = field(default_factory=EdamSettings)

    def __call__(self, image: Image, seed: SeedMaps) -> SeedMaps:
        # Planes instead of classes: mask value i is the i-th map.
        mask = edam_mask(read_full(seed), range(len(seed.maps)), self.saliency_of(image), self.settings)
        return maps_of_mask(mask, seed)


def check_saliency(saliency: NDArray[np.floating], size: tuple[int, ...], what: str = "the saliency map") -> None:
    """Raises `DataError` naming `what` where a saliency map is not (H, W) of `size`, float, in [0, 1]."""
    if saliency.shape != size:
        raise DataError(
            f"{what} is {saliency.shape} for maps of {tuple(size)}: make it for the same images at their full size."
        )
    if saliency.dtype.kind != "f":
        raise DataError(f"{what} is {saliency.dtype}, not float in [0, 1]: divide an 8-bit picture by 255.")
    if saliency.size and not 0 <= saliency.min() <= saliency.max() <= 1:
        raise DataError(f"{what} has values {saliency.min():g}…{saliency.max():g}: it must be in [0, 1].")
