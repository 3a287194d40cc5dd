"""How a trained network is applied to an image: the same settings for a run, `recam.Predictor`, its ONNX twin and the
command line."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, Self

import numpy as np
from pydantic import Field

from recam.data.ignored import NoData, as_colour, find_no_data
from recam.errors import RecipeError, near_matches
from recam.labels import IGNORE
from recam.methods.refinements import REFINEMENTS, Refinement
from recam.settings import Settings, section
from recam.types import Image, Mask

SMALLEST_WINDOW = 32
LARGEST_SCALE = 16
"""An image 16 times as wide takes 256 times the memory; a larger scale is a slip."""


@section("predict")
@dataclass(frozen=True)
class InferenceSettings(Settings):
    """How the segmentation model is applied."""

    scales: tuple[float, ...] = (1.0,)
    """Test-time scales; probabilities are averaged."""
    flip: bool = True
    """Horizontal-flip TTA: also read each mirrored image."""
    window: int | None = None
    """Side (pixels) of a window that slides over larger images, read at their own size; None: images are read whole,
    reduced to `max_side`."""
    overlap: float = 0.25
    """Share of a window that the next one overlaps, from 0 to below 1."""
    refine: Refinement = "none"
    """Refine probabilities along image edges: ``crf`` as published (the extra crf), or ``pamr``, which needs no further
    package."""
    max_side: Annotated[int, Field(ge=32)] | None = None
    """Larger images are first reduced to this longer side (pixels); not with a window. None: `data.max_side`."""

    no_data: NoData | None = None
    """Pixels of exactly this value, or RGB colour, become 255. None: `data.no_data`."""

    def __post_init__(self) -> None:
        as_colour(self.no_data)
        wrong = []
        if not self.scales or not all(0 < scale <= LARGEST_SCALE for scale in self.scales):  # NaN is neither
            wrong.append(f"scales {self.scales}: give at least one scale, all above 0 and at most {LARGEST_SCALE}")
        if self.window is not None and self.window < SMALLEST_WINDOW:
            wrong.append(f"a window of {self.window} pixels: take {SMALLEST_WINDOW} or more, or none at all")
        if not 0 <= self.overlap < 1:
            wrong.append(f"overlap {self.overlap}: give a share from 0 to below 1")
        if self.refine not in REFINEMENTS:
            wrong.append(f"unknown refinement {self.refine!r}.{near_matches(self.refine, REFINEMENTS).rstrip('.?')}")
        if wrong:
            raise RecipeError("; ".join(wrong) + ".")

    def changed(self, has_segmenter: bool, **changes: Any) -> Self:
        """These settings with others laid over them; None keeps a setting, and a window of 0 is none.

        Args:
            has_segmenter: whether a segmentation model is applied, or a classifier for its class maps.
            changes: fields by name, e.g. ``scales=[0.5, 1.0]``.

        Raises:
            RecipeError: a window for class maps; or values that make no sense.
        """
        new = {name: value for name, value in changes.items() if value is not None}
        if "scales" in new:
            new["scales"] = tuple(new["scales"])
        if "window" in new:
            new["window"] = new["window"] or None
            if new["window"] and not has_segmenter:
                raise RecipeError("a sliding window needs a segmentation model, and there is none: leave out window.")
        return replace(self, **new)

    def ignore(self, image: Image, mask: Mask) -> Mask:
        """The mask (H, W) with 255 where its image (H, W, 3) holds no data."""
        found = find_no_data(image, as_colour(self.no_data))
        return mask if found is None else np.where(found, np.uint8(IGNORE), mask)

    def slides_over(self, image: Image) -> bool:
        """Whether a window slides over this image (H, W, 3)."""
        return self.window is not None and max(image.shape[:2]) > self.window
