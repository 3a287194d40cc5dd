"""Superpixels as ICD makes them (Fan et al., CVPR 2020): the graph segmentation of Felzenszwalb & Huttenlocher (IJCV
2004), joined by features of a network until few are left.

Followed: the published code (js-fan/ICD). Departures: the segmentation is scikit-image's, at the same settings; the
mean feature of a superpixel is that of the feature cells its pixels lie in, where the code enlarges all features to the
size of the image first.

Letters: H×W image, R regions, D channels, h×w features.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recam.errors import DataError, DependencyError
from recam.types import Image

MOST = 254
"""Regions of an image at most, as 255 is what lies outside it."""
EXTRA = "superpixels need scikit-image: pip install 'recam[superpixels]'"


def segment_graph(image: Image, scale: float = 75.0) -> NDArray[np.int64]:
    """Regions of like colour: an image (H, W, n) uint8 → numbers (H, W) from 0.

    Args:
        scale: the larger, the larger the regions; none has fewer pixels than this.

    Raises:
        DependencyError: scikit-image is not installed.
    """
    try:
        from skimage.segmentation import felzenszwalb
    except ImportError as error:
        raise DependencyError(f"{EXTRA}.") from error
    found: NDArray[np.int64] = felzenszwalb(image, scale=scale, sigma=0.8, min_size=round(scale), channel_axis=-1)
    return found


def region_features(features: NDArray[np.floating], regions: NDArray[np.integer]) -> NDArray[np.float64]:
    """Mean feature of each region: (D, h, w), numbers (H, W) from 0 → (R, D)."""
    channels, height, width = features.shape
    rows = np.arange(regions.shape[0]) * height // regions.shape[0]
    columns = np.arange(regions.shape[1]) * width // regions.shape[1]
    cells = rows[:, None] * width + columns  # (H, W)
    count = int(regions.max()) + 1
    pairs = np.bincount((regions.astype(np.int64) * height * width + cells).ravel(), minlength=count * height * width)
    members = pairs.reshape(count, height * width).astype(np.float64)  # pixels of each region in each cell
    means: NDArray[np.float64] = members @ features.reshape(channels, -1).T / members.sum(1, keepdims=True).clip(1)
    return means


def merge_regions(regions: NDArray[np.integer], features: NDArray[np.floating], most: int) -> NDArray[np.uint8]:
    """Join regions, two at a time, whose features are most alike and that are smallest, until `most` are left.

    Likeness is cosine + 1 − (their part of the image); a joined region has the mean feature of its pixels. Regions need
    not touch.

    Args:
        regions: (H, W), numbers from 0.
        features: (R, D) mean feature of each.
        most: 1…254.

    Returns:
        (H, W) numbers from 0, below `most`.

    Raises:
        DataError: `most` is outside its range.
    """
    if not 1 <= most <= MOST:
        raise DataError(f"an image is parted into 1 to {MOST} superpixels, not {most}.")
    sizes = np.bincount(regions.ravel(), minlength=len(features)).astype(np.float64)
    features = features.astype(np.float64)
    names = np.arange(len(features))
    alive = sizes > 0
    likeness = np.full((len(features), len(features)), -np.inf)

    def compare(index: int) -> None:
        norms = np.linalg.norm(features, axis=1) * np.linalg.norm(features[index])
        row = features @ features[index] / np.maximum(norms, 1e-12) + 1 - (sizes + sizes[index]) / regions.size
        row[~alive] = row[index] = -np.inf
        likeness[index] = likeness[:, index] = row

    for index in np.flatnonzero(alive):
        compare(int(index))
    while alive.sum() > most:
        kept, gone = sorted(divmod(int(likeness.argmax()), len(features)))
        total = sizes[kept] + sizes[gone]
        features[kept] = (features[kept] * sizes[kept] + features[gone] * sizes[gone]) / total
        sizes[kept], alive[gone] = total, False
        names[names == gone] = kept
        likeness[gone] = likeness[:, gone] = -np.inf
        compare(kept)
    _, numbers = np.unique(names[regions], return_inverse=True)
    return numbers.reshape(regions.shape).astype(np.uint8)
