"""Arguments of the methods, checked where a wrong value would still give a plausible result.

Types and shapes are checked always. Values of labels are checked on a CPU; on a GPU that would wait for the device in
each training step, so only `recam.methods.recam.reactivation_loss` does, which waits for its labels anyway. Nothing
waits inside `torch.compile`.

Letters: B images, K classes, n maps of one image, H×W image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recam.errors import DataError
from recam.labels import check_class_indices
from recam.types import Image

ClassIndices = Sequence[int] | NDArray[np.integer] | Tensor


def as_labels(labels: Tensor, logits: Tensor, wait: bool = False) -> Tensor:
    """Image labels (B, K) in [0, 1] in the type of the logits (B, K); bool and integer labels are converted.

    Args:
        wait: check values on a GPU as well.

    Raises:
        DataError: another shape, class indices in place of labels, values outside [0, 1] (−1 and 1 among them), NaN.
    """
    if not isinstance(labels, Tensor):
        raise DataError(
            f"labels are a {type(labels).__name__}: give a tensor (B, K) of 0 and 1, e.g. torch.as_tensor(labels)."
        )
    if labels.shape != logits.shape:
        hint = " Of class indices make rows of 0 and 1, e.g. with recam.labels.multi_hot." if labels.ndim == 1 else ""
        raise DataError(
            f"labels {tuple(labels.shape)} do not fit logits {tuple(logits.shape)}: both must be (B, K).{hint}"
        )
    if labels.is_complex():
        raise DataError(f"labels are {labels.dtype}: give 0 and 1.")
    check_labels(labels, wait)
    return labels.to(logits.dtype) if labels.dtype != logits.dtype else labels


def check_labels(labels: Tensor, wait: bool = False) -> None:
    """Raises `DataError` where labels lie outside [0, 1] or are NaN; on a GPU only with `wait`."""
    if (
        torch.compiler.is_compiling()
        or not (wait or labels.device.type == "cpu")
        or labels.dtype == torch.bool
        or not labels.numel()
    ):
        return
    low, high = (float(value) for value in torch.stack(labels.detach().aminmax()).tolist())
    if not 0 <= low <= high <= 1:  # NaN is neither
        hint = ": make them (labels + 1) / 2" if (low, high) == (-1, 1) else ": 1 is a class in the image, 0 is none"
        raise DataError(f"labels have values {low:g}…{high:g}, they must be in [0, 1]{hint}.")


def as_class_indices(class_indices: ClassIndices, device: torch.device, n_classes: int, unique: bool = True) -> Tensor:
    """Class indices as an (n,) int64 tensor on `device`. Raises `DataError` as `recam.labels.check_class_indices`
    does."""
    given = class_indices.detach().cpu().numpy() if isinstance(class_indices, Tensor) else class_indices
    return torch.from_numpy(check_class_indices(given, n_classes=n_classes, unique=unique)).to(device)  # (n,)


def check_finite(values: Tensor, what: str, source: str) -> None:
    """Raises `DataError` where `what` holds NaN or inf; `source` names where such values come from."""
    if values.numel() and not torch.isfinite(values).all():
        raise DataError(f"{what} hold NaN or inf: {source}.")


def check_image(image: Image, size: tuple[int, int] | None = None) -> None:
    """Raises `DataError` for an image that is not (H, W, 3) uint8, or not of `size`."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise DataError(f"an image is (H, W, 3) uint8 RGB, got {image.dtype} {image.shape}.")
    if size is not None and image.shape[:2] != size:
        raise DataError(
            f"an image of {image.shape[:2]} with maps of an image of {size}: give the image that they were made of."
        )
