"""Features of a frozen trunk, kept on disk: what a frozen part would compute again in every epoch, made once.

Each image has `views` augmented views, drawn as in training; an epoch sees one of them, the next epoch the next. One ``.npy`` file an
image, float16 (views, C, h, w), written whole or not at all, read by memory map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from recam.data.loader import Batch, Position
from recam.errors import StoreError
from recam.files import atomic_write
from recam.labels import multi_hot
from recam.types import Sample


def feature_path(folder: Path, sample_id: str) -> Path:
    """Where the features of a sample lie."""
    return folder / f"{sample_id}.npy"


def save_features(path: Path, views: Tensor) -> None:
    """Write (views, C, h, w) as float16."""
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.save(file, views.to(torch.float16).cpu().numpy(), allow_pickle=False)


@dataclass(frozen=True)
class CachedFeatures(Dataset[Batch]):
    """Cached views with image labels: ``features`` (C, h, w) float16, ``labels`` (K,).

    Attributes:
        first_view: view of image 0 in epoch 0, so that a later training does not begin with the same ones.
    """

    folder: Path
    samples: Sequence[Sample]
    n_classes: int
    first_view: int = 0

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, position: Position) -> Batch:
        epoch, index = position
        sample = self.samples[index]
        path = feature_path(self.folder, sample.id)
        try:
            stored = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise StoreError(f"{path} cannot be read as features ({error}). Delete it; the same command makes it again.") from error
        view = stored[(self.first_view + epoch + index) % len(stored)]
        return {"features": torch.from_numpy(np.array(view)), "labels": torch.from_numpy(multi_hot(sample.labels, self.n_classes))}
