"""What is known of one image when a model has seen it, whatever ran the model. Needs neither PyTorch nor a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from recam.data.large_photos import enlarge, working_copy
from recam.data.views import Planes
from recam.labels import mask_values
from recam.pipeline.windows import Asking, make_mask
from recam.types import Image, Mask

PRESENT = 0.5
"""Probability from which the classifier's own prediction counts a class as present."""


@dataclass(frozen=True)
class Prediction:
    """What was found in one image.

    Attributes:
        mask: (H, W) uint8, 0 background, 1…K classes.
        classes: names of all K classes; mask value k is ``classes[k - 1]``.
        probabilities: (K,) in [0, 1], how sure the model is of each class anywhere in the image: the largest pixel probability of a
            segmentation model, the classifier's sigmoid where there is none.
        planes: (n, H, W) uint8, the probability of each class at each pixel, 255 for 1; None where it was not asked for.
        plane_values: (n,) the mask value of each plane, background first.
    """

    mask: Mask
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]
    planes: NDArray[np.uint8] | None = None
    plane_values: NDArray[np.uint8] | None = None

    @property
    def found(self) -> tuple[str, ...]:
        """Names of the classes in the mask."""
        present = set(np.flatnonzero(np.bincount(self.mask.ravel(), minlength=256)).tolist())
        return tuple(name for value, name in enumerate(self.classes, start=1) if value in present)


class Model(Protocol):
    """Anything that predicts: the networks of a run, or exported ones."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the K classes."""
        ...

    @property
    def identity(self) -> Mapping[str, Any]:
        """JSON-ready; changes when what it predicts may have changed."""
        ...

    def __call__(self, image: Image) -> Prediction:
        """The mask of one image (H, W, 3) uint8 RGB."""
        ...


class SegmentationPrediction:
    """Makes a `Prediction` of what a segmentation network says of an image or a window of it."""

    def __init__(self, classes: tuple[str, ...], asking: Asking, keep: bool) -> None:
        self.classes, self.asking, self.keep = classes, asking, keep

    def __call__(self, image: Image, probabilities_of: Any) -> Prediction:
        """`probabilities_of` takes an image (h, w, 3) and gives (K+1, h, w), background first."""
        answer = make_mask(image, probabilities_of, self.asking, self.keep)
        values = mask_values(range(len(self.classes)))
        return Prediction(answer.planes, self.classes, tuple(answer.highest[1:].tolist()), answer.probabilities, values)


def predict_bounded(image: Image, asking: Asking, predict: Callable[[Image], Prediction]) -> Prediction:
    """What `predict` makes of an image; of a large one that no window slides over, made of its `working_copy` and enlarged."""
    copy = image if asking.slides_over(image) else working_copy(image, asking.max_side)
    made = predict(copy)
    if copy is image:
        return made
    size = (image.shape[0], image.shape[1])
    return replace(made, mask=enlarge(made.mask, size), planes=None if made.planes is None else enlarge(made.planes, size))


def predict_from_maps(
    image: Image,
    maps: Planes,
    present: list[int],
    threshold: float,
    class_thresholds: Mapping[str, float],
    classes: tuple[str, ...],
    sure: tuple[float, ...],
    how: Asking,
    keep: bool,
) -> Prediction:
    """The mask of class maps (n, H, W) of the classes in `present`, against a background plane: `threshold`, or of the class of a pixel's
    largest map its own in `class_thresholds`, by name."""
    background = np.full(image.shape[:2], threshold, np.float32)
    if present and class_thresholds:
        levels = [class_thresholds.get(classes[index], threshold) for index in present]
        background = np.asarray(levels, np.float32)[maps.argmax(0)]  # (H, W)
    planes = np.concatenate([background[None], maps])  # (n+1, H, W)
    if keep or how.refine != "none":
        planes = planes / planes.sum(0).clip(1e-8)
    answer = make_mask(image, lambda _: planes, how, keep)
    values = mask_values(present)
    return Prediction(values[answer.planes], classes, sure, answer.probabilities, values)
