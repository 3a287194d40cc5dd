"""Regions of like colour that a click on the review page takes as a whole."""

from __future__ import annotations

import threading

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL import ImageFilter

from recam.errors import DependencyError
from recam.methods.superpixels import segment_graph
from recam.preprocess import resize_image, rgb_of, scaled_size
from recam.types import Image

SIDE = 640
"""Longer side (pixels) at which regions are made, so that no photo takes more than a second or two."""
SCALES = (30, 75, 200, 500)
"""How large regions may be chosen, as `segment_graph` has it; none has fewer pixels than this."""
_ONE = threading.Lock()  # several at once would take the processor from the page


def propose_regions(photo: Image, scale: int) -> NDArray[np.int64]:
    """Numbers (h, w) from 0 of regions of a photo (H, W, n), reduced to 640 pixels: superpixels, or connected pixels of
    like colour where scikit-image is missing.

    Args:
        scale: one of `SCALES`; the larger, the larger the regions.
    """
    reduced = resize_image(photo, scaled_size((photo.shape[0], photo.shape[1]), 1.0, SIDE))
    with _ONE:
        try:
            return segment_graph(reduced, scale)
        except DependencyError:
            return connect_colours(reduced, round(200 / scale**0.5))


def connect_colours(image: Image, colours: int) -> NDArray[np.int64]:
    """Numbers (H, W) from 0 of pixels that hang together, by their sides, and have the same of so many `colours`."""
    smooth = PIL.Image.fromarray(rgb_of(image)).filter(ImageFilter.MedianFilter(5))
    values = np.asarray(smooth.quantize(colours))  # (H, W)
    numbers = np.arange(values.size).reshape(values.shape)
    beside, below = values[:, 1:] == values[:, :-1], values[1:] == values[:-1]
    one = np.concatenate([numbers[:, :-1][beside], numbers[:-1][below]])
    other = np.concatenate([numbers[:, 1:][beside], numbers[1:][below]])
    roots = numbers.ravel().copy()  # of each pixel one of its region; in the end the first
    while (roots[one] != roots[other]).any():
        low, high = np.minimum(roots[one], roots[other]), np.maximum(roots[one], roots[other])
        np.minimum.at(roots, high, low)
        while ((ahead := roots[roots]) != roots).any():
            roots = ahead
    found: NDArray[np.int64] = np.unique(roots, return_inverse=True)[1].reshape(values.shape)
    return found
