"""Class maps of a stage as a part of what a training's batches hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recam.data.images import image_size
from recam.files import named_file
from recam.methods.cam import read_full
from recam.runfolder.maps import read_seed
from recam.training.loader import Planes
from recam.types import Sample


@dataclass(frozen=True)
class StoredMaps:
    """Reads the class maps of a sample, ``ID.npz`` in a folder; before any are made, an even half for each label.
    Picklable, as worker processes read."""

    folder: Path | None
    n_classes: int

    def __call__(self, sample: Sample) -> Planes:
        if self.folder is None:
            even = np.full((len(sample.labels), *image_size(sample.image)), 0.5, np.float32)
            return Planes(even, sample.labels, self.n_classes)
        seed = read_seed(named_file(self.folder, f"{sample.id}.npz"))
        return Planes(read_full(seed), seed.class_indices.tolist(), self.n_classes)
