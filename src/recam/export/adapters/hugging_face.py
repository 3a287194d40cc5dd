"""The masks of a run as a data set of Hugging Face (https://huggingface.co/docs/datasets); `recam.data.hugging_face`
reads such data sets."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import PIL.Image

from recam.data.images import ImageFile
from recam.errors import DependencyError
from recam.export.gathering import open_masks
from recam.export.mask_set import MaskItem
from recam.labels import IGNORE, present_values


def to_hugging_face(
    source: str | Path,
    *,
    images: str | Path | None = None,
    classes: Sequence[str] | str | Path | None = None,
    part: str = "masks",
) -> Any:
    """A ``datasets.Dataset`` of photos and masks; nothing is written or sent before its ``save_to_disk`` or
    ``push_to_hub`` is called.

    Args:
        source, images, classes, part: see `recam.export.gathering.open_masks`.

    Returns:
        Columns ``id``, ``image``, ``mask`` (PNG with the palette: 0 background, k the class k − 1 of ``labels``, 255
        ignore) and ``labels``, a list of ``ClassLabel``: the classes in the mask. Files are referred to, and packed
        when the data set is saved.

    Raises:
        DependencyError: datasets is not installed.
        DataError, StoreError: as `open_masks`.
    """
    try:
        import datasets
    except ImportError as error:
        raise DependencyError("a Hugging Face data set needs datasets: pip install datasets.") from error
    masks = open_masks(source, images=images, classes=classes, part=part)
    columns: dict[str, list[Any]] = {"id": [], "image": [], "mask": [], "labels": []}
    for item in masks.items:
        values = present_values(masks.read(item))
        columns["id"].append(item.id)
        columns["image"].append(_packed(item))
        columns["mask"].append({"path": str(item.mask.absolute()), "bytes": None})
        columns["labels"].append([value - 1 for value in values if 0 < value < IGNORE])
    features = datasets.Features(
        {
            "id": datasets.Value("string"),
            "image": datasets.Image(),
            "mask": datasets.Image(),
            "labels": datasets.Sequence(datasets.ClassLabel(names=list(masks.classes.names))),
        }
    )
    return datasets.Dataset.from_dict(columns, features=features)


def _packed(item: MaskItem) -> dict[str, Any]:
    """A photo as datasets refers to it: a file, or the content of a PNG where it is drawn."""
    if isinstance(item.image, ImageFile):
        return {"path": str(Path(item.image.path).absolute()), "bytes": None}
    assert item.image is not None
    content = io.BytesIO()
    PIL.Image.fromarray(item.image.read()).save(content, "PNG")
    return {"path": f"{item.id}.png", "bytes": content.getvalue()}
