"""Some of many, evenly spread: the images that stand for a data set where all would take too long."""

from __future__ import annotations

import numpy as np


def spread_evenly(count: int, most: int) -> list[int]:
    """Indices below `count`, ascending, at even distances from the first to the last: `most` of them, or all where
    there are not as many."""
    return [int(index) for index in np.unique(np.linspace(0, count - 1, min(count, most)).round())]
