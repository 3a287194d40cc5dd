"""Pixel counts by truth, class of the largest map and threshold: from them the browser computes the mIoU of any
thresholds, one per class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recam.errors import StoreError
from recam.evaluation.threshold_sweep import ThresholdSweep
from recam.files import ARRAY_ERRORS, atomic_write
from recam.methods.cam import read_full
from recam.review.jobs import Advance
from recam.review.layers import Layer, ReviewedRun
from recam.runfolder.store import make_key


class TruthCounts:
    """Counts of the layers of a run, each made once and kept in ``review/counts``."""

    def __init__(self, run: ReviewedRun) -> None:
        self._run = run

    def read(self, layer: Layer) -> NDArray[np.int64] | None:
        """(K+1 truths, K+1 winners, T+1 thresholds exceeded), the last winner for ignored pixels; None before they were
        counted."""
        path = self._path(layer)
        if not path.is_file():
            return None
        try:
            counts: NDArray[np.int64] = np.load(path, allow_pickle=False)
        except ARRAY_ERRORS as error:
            raise StoreError(f"{path} cannot be read ({error}). Delete it; the page makes it again.") from error
        return counts

    def possible(self, layer: Layer) -> bool:
        """Whether the run has true masks, and all maps of the layer."""
        return layer.kind == "maps" and layer.done and any(item.sample and item.sample.mask for item in self._run.items)

    def make(self, layer: Layer, advance: Advance) -> None:
        """Count all images that have both maps and truth."""
        sweep = ThresholdSweep(len(self._run.classes))
        items = [item for item in self._run.items if item.sample and item.sample.mask and layer.path(item.id)]
        for done, item in enumerate(items):
            advance(done, len(items))
            seed = self._run.read_maps(layer, item)
            if seed is not None and item.sample and item.sample.mask:
                sweep.update(read_full(seed), seed.class_indices.tolist(), item.sample.mask.read(), seed.ignore)
        ignored = np.zeros((sweep.histogram.shape[0], 1, sweep.histogram.shape[2]), np.int64)
        ignored[:, 0, 0] = sweep.ignored
        with atomic_write(self._path(layer)) as temporary, temporary.open("wb") as file:
            np.save(file, np.concatenate([sweep.histogram, ignored], 1))
        advance(len(items), len(items))

    def _path(self, layer: Layer) -> Path:
        return self._run.review / "counts" / f"{make_key({'layer': layer.name, 'key': layer.key})}.npy"
