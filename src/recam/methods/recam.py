"""Class re-activation maps (ReCAM): Chen et al., CVPR 2022, equations 5–9, and the loss variants of its Table 1.

A converged multi-label classifier (FC1, BCE) is trained further with a second classifier (FC2) that reads one class at
a time: the features under that class's own map, classified by softmax over the K classes.

Followed: the published code. Nothing is detached, so that the softmax loss reaches the backbone through the features
and through the masks, and FC1 through the masks; f_k is the mean over all positions of M_k · f. Ours, as settings:
pooling ``"area"``, detached masks, a background logit. Departures: the published code builds M_k · f for every class, a
tensor of B×K×D×h×w; here f_k is a matrix product, for the classes in the image only (the same numbers). It also fails
on a batch without labels; here that batch's softmax loss is 0, its gradient 0.

Letters: B images, K classes, P the most positive classes any image of the batch has, D channels, h×w the feature map.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from recam.errors import DataError, RecipeError, WeightsError, near_matches
from recam.methods.arguments import as_labels, check_labels
from recam.methods.cam import EPS, classify, fitting_rows, normalise, weight_rows
from recam.settings import Settings

Pooling = Literal["gap", "area"]
Weighting = Literal["w", "w_prime", "add", "mul"]

POOLINGS: tuple[str, ...] = get_args(Pooling)
WEIGHTINGS: tuple[Weighting, ...] = get_args(Weighting)


@dataclass(frozen=True)
class ReCamSettings(Settings):
    """What ReCAM's loss depends on; the defaults are the published ones for VOC."""

    sce_weight: float = 1.0
    """λ of eq. 8, the weight of the softmax loss beside BCE; published 1 for VOC, 0.1 for COCO."""
    pooling: Pooling = "gap"
    """``"gap"`` divides Σ M·f by the number of positions (published), ``"area"`` by ΣM (ours): with ``"gap"`` the
    network can lower the loss by widening its maps, which helps narrow maps and ruins wide ones."""
    detach_masks: bool = False
    """Keep the softmax loss from changing the masks, so that it reaches the backbone through the features alone
    (ours)."""
    background_logit: bool = False
    """Let the softmax choose between the K classes and a background of logit 0 (ours); needed where K = 1."""

    def __post_init__(self) -> None:
        _check_pooling(self.pooling)
        if not 0 <= self.sce_weight < float("inf"):
            raise RecipeError(f"sce_weight must be a finite number ≥ 0, got {self.sce_weight}.")

    def loss(
        self, features: Tensor, weight_1: Tensor, weight_2: Tensor, labels: Tensor, bias: Tensor | None = None
    ) -> ReCamLoss:
        """`reactivation_loss` with these settings."""
        return reactivation_loss(
            features,
            weight_1,
            weight_2,
            labels,
            self.sce_weight,
            pooling=self.pooling,
            detach_masks=self.detach_masks,
            background_logit=self.background_logit,
            bias=bias,
        )


@dataclass(frozen=True)
class ReCamLoss:
    """The loss of one batch and its parts.

    Attributes:
        total: scalar with graph, BCE + λ·SCE (eq. 8).
        bce: scalar, eq. 1 on FC1's logits.
        sce: scalar, eq. 7 on FC2's logits; 0 for a batch without labels.
        accuracy: scalar without graph, the share of the batch's (image, class) pairs that FC2 classifies right; NaN
            without any pair.
        logits: (B, K) FC1's logits.
    """

    total: Tensor
    bce: Tensor
    sce: Tensor
    accuracy: Tensor
    logits: Tensor


def soft_masks(maps: Tensor, eps: float = EPS) -> Tensor:
    """M_k = relu(A_k) / (max relu(A_k) + eps) of raw maps (B, n, h, w), with a graph through the maximum as well."""
    return normalise(maps, eps)


def masked_features(features: Tensor, masks: Tensor, pooling: Pooling = "gap", eps: float = EPS) -> Tensor:
    """Single-label features f_k, pooled (eqs. 5 and 6): (B, D, h, w) and masks (B, n, h, w) → (B, n, D), as one matrix
    product per image.

    With ``"area"`` a mask whose sum is below `eps` gives a feature near 0, as with ``"gap"``.
    """
    _check_pooling(pooling)
    flat = masks.flatten(2)  # (B, n, h·w)
    summed = flat @ features.flatten(2).transpose(1, 2)  # (B, n, D)
    if pooling == "gap":
        return summed / flat.shape[2]
    return summed / flat.sum(2, keepdim=True).clamp_min(eps)


def reactivation_loss(
    features: Tensor,
    weight_1: Tensor,
    weight_2: Tensor,
    labels: Tensor,
    sce_weight: float = 1.0,
    *,
    pooling: Pooling = "gap",
    detach_masks: bool = False,
    background_logit: bool = False,
    bias: Tensor | None = None,
) -> ReCamLoss:
    """BCE on FC1 + λ · SCE on FC2 (eq. 8).

    Args:
        features: (B, D, h, w) of the backbone, before pooling.
        weight_1: FC1, (K, D) or (K, D, 1, 1).
        weight_2: FC2, the same shape.
        labels: (B, K) in {0, 1}; rows without a 1 count in B and add nothing to SCE.
        sce_weight: λ.
        pooling: see `ReCamSettings`, as the next two.
        detach_masks: see `ReCamSettings`.
        background_logit: see `ReCamSettings`.
        bias: (K,) of FC1's logits; published without.

    Raises:
        RecipeError: K = 1 without a background logit, where the softmax loss would be 0 whatever the network does.
        WeightsError: weights or labels that do not fit.
        DataError: labels outside [0, 1] or NaN.
    """
    rows_1, rows_2 = fitting_rows(features, weight_1), fitting_rows(features, weight_2)  # (K, D)
    if not background_logit:
        _refuse_single_class(
            len(rows_2), "set background_logit, which puts a background beside the class, or use the loss 'bce'"
        )
    logits = classify(features, rows_1, bias)  # (B, K)
    if not logits.shape == labels.shape == (len(features), len(rows_2)):
        shapes = f"labels {tuple(labels.shape)}, FC1 {tuple(rows_1.shape)}, FC2 {tuple(rows_2.shape)}"
        raise WeightsError(f"{shapes} do not fit: labels must be (B, K) with B = {len(features)}, both weights (K, D).")
    labels = as_labels(labels, logits, wait=True)
    bce = F.multilabel_soft_margin_loss(logits, labels)

    classes, present = positive_classes(labels)  # (B, P)
    with torch.set_grad_enabled(torch.is_grad_enabled() and not detach_masks):
        maps = rows_1[classes] @ features.flatten(2)  # (B, P, h·w): eq. 2 for the positive classes only
        masks = soft_masks(maps.view(*classes.shape, *features.shape[2:]))  # (B, P, h, w)
    singles = masked_features(features, masks, pooling)  # (B, P, D)
    scores = singles @ rows_2.T  # (B, P, K): eq. 6
    if background_logit:
        scores = torch.cat([scores, scores.new_zeros(*scores.shape[:2], 1)], 2)  # (B, P, K + 1)

    # Eq. 7. A padding row has weight 0 rather than being left out: an all-empty batch keeps its graph, as
    # DistributedDataParallel needs.
    share = present / present.sum(1, keepdim=True).clamp_min(1)  # (B, P), a row sums to 1 or 0
    each = F.cross_entropy(scores.flatten(0, 1), classes.flatten(), reduction="none").view_as(share)  # (B, P)
    sce = (share * each).sum() / len(labels)

    right = (scores.detach().argmax(2) == classes) & present
    return ReCamLoss(bce + sce_weight * sce, bce, sce, right.sum() / present.sum(), logits)


def positive_classes(labels: Tensor) -> tuple[Tensor, Tensor]:
    """The positive classes of each image, padded: labels (B, K) → class indices (B, P) int64, ascending, and which of
    them count (B, P).

    P is the largest number of positives in the batch, at least 1; padding holds some negative class.

    Raises:
        DataError: labels that are not (B, K), outside [0, 1] or NaN.
    """
    if labels.ndim != 2:
        raise DataError(f"labels are (B, K), got {tuple(labels.shape)}.")
    check_labels(labels)
    positive = labels > 0
    most = max(int(positive.sum(1).max()), 1) if len(labels) else 1
    classes = positive.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :most]  # (B, P)
    return classes, positive.gather(1, classes)


def combine_weights(weight_1: Tensor, weight_2: Tensor, weighting: Weighting | str) -> Tensor:
    """w″ of eq. 9, the (K, D) weights that maps are extracted with: ``"w"``, ``"w_prime"``, ``"add"`` (w ⊕ w′) or
    ``"mul"`` (w ⊗ w′).

    Published: ``"mul"`` for VOC, ``"w"`` for COCO. Weights may be (K, D) or (K, D, 1, 1).
    """
    if weighting not in WEIGHTINGS:
        raise RecipeError(f"unknown weighting {weighting!r}.{near_matches(str(weighting), WEIGHTINGS)}")
    rows_1, rows_2 = weight_rows(weight_1), weight_rows(weight_2)
    if rows_1.shape != rows_2.shape:
        raise WeightsError(
            f"FC1 {tuple(weight_1.shape)} and FC2 {tuple(weight_2.shape)} must have one shape: train FC2 for the same"
            " classes."
        )
    if weighting == "w":
        return rows_1
    if weighting == "w_prime":
        return rows_2
    return rows_1 + rows_2 if weighting == "add" else rows_1 * rows_2


def sce_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Table 1, "SCE only" on FC1: softmax cross-entropy of logits (B, K) with labels (B, K) normalised to sum to 1,
    mean over images.

    Images without labels count in B and add 0. Raises `RecipeError` for K = 1, where the loss is 0 whatever the logits
    are, and `DataError` for labels that do not fit.
    """
    return _sce_by_image(logits, as_labels(labels, logits)).mean()


def sce_single_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Table 1, "SCE for single": softmax cross-entropy for images of one class, BCE for all others; the mean over
    images.

    Raises `RecipeError` for K = 1, where every labelled image has one class and its loss would be 0 whatever the logits
    are, and `DataError` for labels that do not fit.
    """
    labels = as_labels(labels, logits)
    bce = F.multilabel_soft_margin_loss(logits, labels, reduction="none")  # (B,)
    single = (labels > 0).sum(1) == 1
    return torch.where(single, _sce_by_image(logits, labels), bce).mean()


def _sce_by_image(logits: Tensor, labels: Tensor) -> Tensor:
    """(B,) softmax cross-entropy against labels normalised to sum to 1; 0 for an image without labels."""
    _refuse_single_class(logits.shape[1], "use the loss 'bce'")
    target = labels / labels.sum(1, keepdim=True).clamp_min(1)  # (B, K)
    return -(target * logits.log_softmax(1)).sum(1)


def _refuse_single_class(n_classes: int, remedy: str) -> None:
    if n_classes == 1:
        raise RecipeError(f"softmax over one class is always 1, so its loss is 0 and teaches nothing: {remedy}.")


def _check_pooling(pooling: str) -> None:
    if pooling not in POOLINGS:
        raise RecipeError(f"unknown pooling {pooling!r}.{near_matches(pooling, POOLINGS)}")
