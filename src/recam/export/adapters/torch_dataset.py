"""The masks of a run as a data set of PyTorch, for a training loop of one's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset
from torchvision import tv_tensors

from recam.errors import DataError
from recam.export.gathering import open_masks


class MaskDataset(Dataset[tuple[Any, Any]]):
    """Pairs of photo and mask, as torchvision's own segmentation data sets return them.

    A photo is a ``tv_tensors.Image`` (3, H, W) uint8 and a mask a ``tv_tensors.Mask`` (H, W) int64 with 0 background,
    1…K classes and 255 ignore, as ``cross_entropy(…, ignore_index=255)`` takes it. Transforms of
    ``torchvision.transforms.v2`` move both alike.

    Args:
        source, images, classes, part: see `recam.export.gathering.open_masks`.
        transforms: called with photo and mask; returns what the data set returns.

    Attributes:
        classes: names of mask values 1…K.
        ids: of the photos, in order.

    Raises:
        DataError, StoreError: as `open_masks`.

    Example:
        >>> data = MaskDataset("runs/photos", transforms=v2.RandomCrop(224, pad_if_needed=True))
        >>> image, mask = data[0]
    """

    def __init__(
        self,
        source: str | Path,
        *,
        images: str | Path | None = None,
        classes: Sequence[str] | str | Path | None = None,
        part: str = "masks",
        transforms: Callable[[Any, Any], Any] | None = None,
    ) -> None:
        self._masks = open_masks(source, images=images, classes=classes, part=part)
        self.transforms = transforms
        self.classes = self._masks.classes.names
        self.ids = [item.id for item in self._masks.items]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Any:
        """Photo and mask. Raises `DataError` where a file has changed since the data set was opened."""
        item = self._masks.items[index]
        assert item.image is not None
        pixels, values = item.image.read(), self._masks.read(item)  # (H, W, 3), (H, W)
        if pixels.shape[:2] != values.shape:
            raise DataError(f"{item.image.where} changed since the data set was opened. Open it again.")
        image = tv_tensors.Image(torch.from_numpy(pixels).permute(2, 0, 1).contiguous())
        mask = tv_tensors.Mask(torch.from_numpy(values).long())
        return self.transforms(image, mask) if self.transforms else (image, mask)
