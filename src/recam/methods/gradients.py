"""What BCE and SCE ask of the logits of an image with one label: §4.2 and §G of the ReCAM paper, eqs. 12–23.

The paper's argument: where a wrong class has a logit as high as the right one, softmax raises the one and lowers the
other, and BCE does either. Fig. 4 shows the two gradients over a training, of the target class p and of the confusing
class q, the negative class with the highest logit.

Letters: N images, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recam.errors import DataError


def bce_gradient(logits: Tensor, labels: Tensor) -> Tensor:
    """∇_z L_bce = (σ_sig(z) − y) / K (eqs. 12 and 19) of each image: logits and labels (N, K) → (N, K)."""
    return (logits.sigmoid() - labels) / logits.shape[1]


def sce_gradient(logits: Tensor, labels: Tensor) -> Tensor:
    """∇_z L_sce = σ_sof(z) − y (eqs. 12 and 23) of each image; labels sum to 1: logits and labels (N, K) → (N, K)."""
    return logits.softmax(1) - labels


GRADIENTS = {"bce": bce_gradient, "sce": sce_gradient}


def target_and_confusing(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The target class p and the most confusing class q of each image: logits and labels (N, K) → two times (N,).

    Raises:
        DataError: an image without exactly one label, or fewer than two classes.
    """
    if labels.shape[1] < 2 or not ((labels > 0).sum(1) == 1).all():
        raise DataError("the target and the most confusing class are those of images with one label, of two classes.")
    target = labels.argmax(1)
    return target, logits.masked_fill(labels > 0, -torch.inf).argmax(1)


def mean_gradients(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """``bce_target``, ``bce_confusing``, ``sce_target``, ``sce_confusing``: means over the images with one label, the
    first of each pair ≤ 0 and the second ≥ 0; empty where there are none.

    Args:
        logits: (N, K).
        labels: (N, K) in {0, 1}; images of no label or several are left out.
    """
    single = (labels > 0).sum(1) == 1
    logits, labels = logits[single], labels[single]
    if not len(logits):
        return {}
    classes = zip(("target", "confusing"), target_and_confusing(logits, labels), strict=True)
    picked = [(name, index[:, None]) for name, index in classes]
    return {
        f"{loss}_{name}": float(gradient(logits, labels).gather(1, index).mean())
        for loss, gradient in GRADIENTS.items()
        for name, index in picked
    }
