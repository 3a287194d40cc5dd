"""The prediction of one image, whatever ran the model. Needs neither PyTorch nor a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from recam.data.arrays import ImageLike, as_image, as_images
from recam.data.images import write_mask, write_png
from recam.data.large_photos import enlarge, working_copy
from recam.data.mask_folder import OVERLAY
from recam.data.reading import PLAIN, Reading
from recam.errors import DataError
from recam.inference.notebook import as_html
from recam.inference.settings import InferenceSettings
from recam.inference.windows import make_mask
from recam.labels import mask_values, output_values
from recam.preprocess import Planes
from recam.types import Image, Mask
from recam.visualize import overlay_mask

PRESENT = 0.5
"""Probability from which the classifier's own prediction counts a class as present."""


def find_present(probabilities: Sequence[float], background: bool) -> list[int]:
    """Class indices that a classifier finds in an image: those of `PRESENT` and above; without a background at least
    the most probable one."""
    found = [index for index, probability in enumerate(probabilities) if probability >= PRESENT]
    return found if found or background else [int(np.argmax(probabilities))]


@dataclass(frozen=True, repr=False)
class Prediction:
    """Mask and class probabilities of one image; prints itself, and shows itself in a notebook.

    Attributes:
        mask: (H, W) uint8, 0 background, 1…K classes, 255 where the image holds no data.
        classes: names of all K classes; mask value k is ``classes[k - 1]``.
        probabilities: (K,) in [0, 1], of each class anywhere in the image: the largest pixel probability of a
            segmentation model, the classifier's sigmoid where there is none.
        planes: (n, H, W) uint8, the probability of each class at each pixel, 255 for 1; None where these were not kept.
        plane_values: (n,) the mask value of each plane, background first where there is one.
        image: (H, W, n) uint8, what was predicted, as it was read; None where it was not kept.

    Example:
        >>> prediction = Predictor("runs/photos")("photo.jpg")
        >>> prediction.overlay().show()
        >>> prediction.save("out/photo.png", overlay=True)
    """

    mask: Mask
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]
    planes: NDArray[np.uint8] | None = None
    plane_values: NDArray[np.uint8] | None = None
    image: Image | None = None

    @property
    def found(self) -> tuple[str, ...]:
        """Names of the classes in the mask."""
        return tuple(self.shares)

    @property
    def shares(self) -> dict[str, float]:
        """Share of the pixels, in (0, 1], of each class in the mask, by name."""
        counts = np.bincount(self.mask.ravel(), minlength=256)
        names = enumerate(self.classes, start=1)
        return {name: int(counts[value]) / self.mask.size for value, name in names if counts[value]}

    def overlay(self, opacity: float = 0.55) -> PIL.Image.Image:
        """The mask laid over the image, as `recam.visualize.overlay_mask` does it.

        Args:
            opacity: of the colour inside a region, 0 (contour only) to 1 (solid).

        Raises:
            DataError: the image was not kept.
        """
        if self.image is None:
            raise DataError(
                "this prediction has no image to lay its mask over. Use recam.visualize.overlay_mask(image, mask)."
            )
        return PIL.Image.fromarray(overlay_mask(self.image, self.mask, opacity))

    def save(self, path: str | Path, overlay: bool = False) -> Path:
        """Write the mask as a PNG with the VOC palette.

        Args:
            path: of the PNG; folders are made.
            overlay: also write ``NAME_overlay.png`` beside it, as `recam predict` does.

        Returns:
            The path.

        Raises:
            DataError: another ending than ``.png``, which would change the values; no image for the overlay.
            StoreError: the file cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() != ".png":
            raise DataError(f"{path}: masks are PNG files. Name it {path.with_suffix('.png').name}.")
        if overlay:  # first: where the mask is, the other is
            write_png(path.with_name(f"{path.stem}{OVERLAY}.png"), np.asarray(self.overlay()))
        write_mask(path, self.mask)
        return path

    def __str__(self) -> str:
        height, width = self.mask.shape
        shown = ", ".join(f"{name} {100 * share:.1f} %" for name, share in self.shares.items())
        return f"mask of {width}×{height} pixels: {shown or 'no class found'}"

    def __repr__(self) -> str:
        return f"<Prediction: {self}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the overlay, and the classes found."""
        values = {name: value for value, name in enumerate(self.classes, start=1)}
        found = {
            values[name]: (name, share, self.probabilities[values[name] - 1]) for name, share in self.shares.items()
        }
        return as_html(self.mask, self.image, found, str(self))


class Model:
    """Anything that predicts: the networks of a run, or exported ones.

    Attributes:
        classes: names of the K classes.
        background: whether pixels may belong to no class.
        settings: how the model is applied.
        keep_planes: also return the probability of each class at each pixel.
        reading: how image files are read for it.
    """

    classes: tuple[str, ...]
    background: bool
    settings: InferenceSettings
    keep_planes: bool
    reading: Reading = PLAIN

    @property
    def identity(self) -> Mapping[str, Any]:
        """JSON-ready; changes when what it predicts may have changed."""
        raise NotImplementedError

    @overload
    def __call__(self, image: ImageLike) -> Prediction: ...

    @overload
    def __call__(self, image: list[Any] | tuple[Any, ...]) -> list[Prediction]: ...

    def __call__(self, image: ImageLike | list[Any] | tuple[Any, ...]) -> Prediction | list[Prediction]:
        """The mask of one image, or those of a list of images.

        Args:
            image: a path; a PIL image; an array (H, W, 3), grey (H, W) or RGBA (H, W, 4), of uint8 or of floats in [0,
                1]; a tensor of the same, also (3, H, W); see `recam.data.arrays.as_image`. A list of them: a list. For
                a model of chosen bands, or of more than 8 bits, it is what a file of the training holds: all bands, and
                values in its units.

        Raises:
            DataError: what is none of these, described; or a file that is no image. Of a list all are named.
        """
        if isinstance(image, list | tuple):
            return [self.predict(pixels) for pixels in as_images(image, self.reading)]
        return self.predict(as_image(image, self.reading))

    def predict(self, image: Image) -> Prediction:
        """What it predicts of an image (H, W, n) uint8 that was read with `reading`, 255 where it holds no data; of a
        large one that no window slides over, made of its `working_copy` and enlarged."""
        copy = image if self.settings.slides_over(image) else working_copy(image, self.settings.max_side)
        made = self._predict(copy)
        if copy is not image:
            size = (image.shape[0], image.shape[1])
            planes = None if made.planes is None else enlarge(made.planes, size)
            made = replace(made, mask=enlarge(made.mask, size), planes=planes)
        return replace(made, mask=self.settings.ignore(image, made.mask), image=image)

    def _predict(self, image: Image) -> Prediction:
        """The prediction of an image that fits into memory."""
        raise NotImplementedError


def predict_segmentation(
    image: Image,
    probabilities_of: Callable[[Image], Planes],
    classes: tuple[str, ...],
    settings: InferenceSettings,
    keep: bool,
    background: bool = True,
) -> Prediction:
    """The prediction of a segmentation network.

    Args:
        probabilities_of: image (h, w, 3), or a window of it → probabilities (K+1, h, w), background first, or (K, h, w)
            without a background.
        keep: also return `planes`.
        background: whether there is one.
    """
    made = make_mask(image, probabilities_of, settings, keep)
    values = output_values(len(classes), background)
    of_classes = made.highest[1 if background else 0 :]
    return Prediction(values[made.planes], classes, tuple(of_classes.tolist()), made.probabilities, values)


def predict_from_maps(
    image: Image,
    maps: Planes,
    present: list[int],
    threshold: float | None,
    class_thresholds: Mapping[str, float],
    classes: tuple[str, ...],
    probabilities: tuple[float, ...],
    settings: InferenceSettings,
    keep: bool,
) -> Prediction:
    """The prediction of class maps (n, H, W) of the classes in `present`, against a background plane where there is
    one.

    Args:
        threshold: height of the background plane; None: there is none.
        class_thresholds: its height where the map of this class, by name, is the largest.
        probabilities: (K,) the classifier's.
    """
    planes, values = maps, mask_values(present)[1:]
    if threshold is not None:
        background = np.full(image.shape[:2], threshold, np.float32)
        if present and class_thresholds:
            levels = [class_thresholds.get(classes[index], threshold) for index in present]
            background = np.asarray(levels, np.float32)[maps.argmax(0)]  # (H, W)
        planes, values = np.concatenate([background[None], maps]), mask_values(present)  # (n+1, H, W)
    if keep or settings.refine != "none":
        planes = planes / planes.sum(0).clip(1e-8)
    made = make_mask(image, lambda _: planes, settings, keep)
    return Prediction(values[made.planes], classes, probabilities, made.probabilities, values)
