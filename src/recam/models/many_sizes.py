"""Images that all have sizes of their own, on a GPU: cuDNN plans each convolution anew for each size of its input,
which takes many times as long as to compute it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

PLANNED_FROM = 8
"""From this image of a size on, its convolutions are planned: the time is won back over those that follow."""
_seen: Counter[tuple[int, ...]] = Counter()


@contextmanager
def planned_if_common(images: Tensor) -> Iterator[None]:
    """Convolutions of these images by cuDNN where their size is common, else without; always where a graph is built, as
    training has one size, and on a CPU.

    Args:
        images: (B, C, H, W).
    """
    if not images.is_cuda or torch.is_grad_enabled():
        yield
        return
    size, was = tuple(images.shape), torch.backends.cudnn.enabled
    _seen[size] += 1
    torch.backends.cudnn.enabled = was and _seen[size] >= PLANNED_FROM
    try:
        yield
    finally:
        torch.backends.cudnn.enabled = was
