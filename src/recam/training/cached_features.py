"""Features of a frozen trunk, kept on disk: what a frozen part would compute again in every epoch, made once.

Each image has `views` augmented views, drawn as in training; an epoch reads one of them, the next epoch the next. One
``.npy`` file per image, float16 (views, C, h, w), written whole or not at all, read by memory map. The saliency of the
same views, for a loss that needs it, is kept apart in another folder: uint8 (views, h', w'), every fourth pixel of
every fourth row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from recam.errors import StoreError
from recam.files import ARRAY_ERRORS, atomic_write
from recam.labels import multi_hot
from recam.training.loader import Batch, Extra, Position
from recam.types import Sample

SALIENCY_STRIDE = 4


def feature_path(folder: Path, sample_id: str) -> Path:
    """Where the features of a sample lie."""
    return folder / f"{sample_id}.npy"


def save_features(path: Path, views: Tensor) -> None:
    """Write (views, C, h, w) as float16."""
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.save(file, views.to(torch.float16).cpu().numpy(), allow_pickle=False)


def view_generator(seed: int, view: int, index: int) -> np.random.Generator:
    """Decides how a view of the image at `index` is augmented; the same each time, for the image and for what lies on
    it."""
    return np.random.default_rng([seed, view, index])


def save_view_saliency(path: Path, views: Tensor) -> None:
    """Write the saliency (views, crop, crop) in [0, 1] of an image's views as uint8, at a quarter of the size."""
    quarter = views[:, ::SALIENCY_STRIDE, ::SALIENCY_STRIDE]  # (views, h', w')
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.save(file, (quarter * 255).round().to(torch.uint8).numpy(), allow_pickle=False)


@dataclass(frozen=True)
class CachedFeatures(Dataset[Batch]):
    """Cached views with image labels: ``features`` (C, h, w) float16, ``labels`` (K,), and ``saliency`` (1, h', w')
    where wanted.

    Attributes:
        first_view: view of image 0 in epoch 0, so that a later training does not begin with the same ones.
        saliency: folder with the saliency of the views; None: none is wanted.
        extras: what else of each sample, by name; nothing that lies on the image, of which only features are left.
    """

    folder: Path
    samples: Sequence[Sample]
    n_classes: int
    first_view: int = 0
    saliency: Path | None = None
    extras: Mapping[str, Extra] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, position: Position) -> Batch:
        epoch, index = position
        sample = self.samples[index]
        turn = self.first_view + epoch + index
        features = _read_view(feature_path(self.folder, sample.id), turn)
        batch = {"features": features, "labels": torch.from_numpy(multi_hot(sample.labels, self.n_classes))}
        if self.saliency:
            batch["saliency"] = _read_view(feature_path(self.saliency, sample.id), turn)[None].float() / 255
        return batch | {name: extra.read(sample) for name, extra in self.extras.items()}


def _read_view(path: Path, turn: int) -> Tensor:
    """The view whose turn it is, of the views in a file."""
    try:
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
        if stored.dtype not in (np.float16, np.uint8) or stored.ndim < 3 or not stored.size:
            raise ValueError(f"it holds {stored.dtype} {stored.shape}")
        return torch.from_numpy(np.array(stored[turn % len(stored)]))
    except ARRAY_ERRORS as error:
        raise StoreError(
            f"{path} cannot be read as features ({error}). Delete it; the same command makes it again."
        ) from error
