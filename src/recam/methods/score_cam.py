"""Score-CAM: Wang et al., CVPR Workshops 2020: a channel of the features counts by what the classifier says of the
image seen through it; no gradient is needed.

Each channel, brought to the size of the image and to [0, 1], masks the image; the score of a class on the masked image
is the channel's weight in the map of that class (their algorithm 1).

Followed: the authors' code (haofanwang/Score-CAM, d312f14). Its score is the softmax over classes of the masked image's
logits, and the raw scores are the weights. The paper instead subtracts the logits of a black image and takes the
softmax over channels of what is left; as that is the same with and without a constant subtracted, ``score = "logit"``
with ``channel_softmax = True`` is the paper's rule (and that of the package grad-cam). For classifiers of several
labels, whose classes do not compete, ``score = "sigmoid"`` (ours) is the probability that they are trained to give.

Departures: one forward pass of a masked image scores it for all classes wanted; the weighted sum is taken before it is
enlarged, which gives the same map, as enlarging is linear; a map that is constant is 0 everywhere, where the code
returns nothing; `ScoreCamSettings.top_channels` leaves weak channels out.

Letters: K classes, n of them wanted, D channels, C of them used, H×W image, h×w its feature map.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from recam.errors import DataError, RecipeError
from recam.methods.arguments import ClassIndices, as_class_indices, check_finite
from recam.methods.cam import upsample
from recam.settings import Settings

LogitsOf = Callable[[Tensor], Tensor]
"""Normalised images (B, 3, H, W) → logits (B, K)."""


@dataclass(frozen=True)
class ScoreCamSettings(Settings):
    """How channels are weighed; the defaults are those of the published code."""

    score: Literal["softmax", "sigmoid", "logit"] = "softmax"
    """What is taken of the masked image's logits: ``softmax`` over classes (published code), ``sigmoid`` for classes
    that do not exclude each other (ours), or the ``logit`` itself (paper)."""
    channel_softmax: bool = False
    """Whether weights are the softmax of the scores over channels (paper) or the scores (published code)."""
    top_channels: int | None = None
    """How many channels mask the image, those of the highest mean; None: all (published). The time is proportional to
    it."""

    def __post_init__(self) -> None:
        if self.top_channels is not None and self.top_channels < 1:
            raise RecipeError(f"Score-CAM: top_channels must be at least 1, or None for all; got {self.top_channels}.")


def strongest(features: Tensor, count: int | None) -> Tensor:
    """Indices (C,) of the `count` channels (D, h, w) with the highest mean, in rising order; None: of all."""
    if count is None or count >= len(features):
        return torch.arange(len(features), device=features.device)
    return features.mean((1, 2)).topk(count).indices.sort().values


def min_max(planes: Tensor, eps: float = 0.0) -> Tensor:
    """(x − min x) / (max x − min x + eps) for each plane (…, h, w), values in [0, 1]; 0 where a plane is constant."""
    low, high = planes.amin((-2, -1), keepdim=True), planes.amax((-2, -1), keepdim=True)
    return (planes - low) / (high - low + eps).clamp_min(torch.finfo(planes.dtype).tiny)


def channel_masks(features: Tensor, size: tuple[int, int], align_corners: bool = False) -> tuple[Tensor, Tensor]:
    """What images are masked with: channels (C, h, w) → (C, H, W) in [0, 1], and which of them say something (C,): one
    that is constant does not.

    Args:
        size: (H, W) of the image.
        align_corners: as grad-cam enlarges; the published code does not.
    """
    enlarged = F.interpolate(features[None], size, mode="bilinear", align_corners=align_corners)[0]  # (C, H, W)
    return min_max(enlarged), enlarged.amax((1, 2)) > enlarged.amin((1, 2))


def channel_scores(logits: Tensor, score: Literal["softmax", "sigmoid", "logit"]) -> Tensor:
    """Scores of the classes on masked images, (C, K) → (C, K)."""
    if score == "softmax":
        return logits.softmax(1)
    return logits.sigmoid() if score == "sigmoid" else logits


@torch.no_grad()
def weigh_channels(
    logits_of: LogitsOf,
    image: Tensor,
    features: Tensor,
    class_indices: ClassIndices,
    settings: ScoreCamSettings | None = None,
    batch: int = 16,
) -> Tensor:
    """Weights (n, D) of the channels for the classes wanted; 0 for channels that are constant or left out.

    Args:
        logits_of: the classifier.
        image: (3, H, W), normalised.
        features: (D, h, w) of the image, before pooling.
        class_indices: n classes, 0…K−1.
        settings: published ones if None.
        batch: masked images per forward pass; all give the same weights.

    Raises:
        DataError: an image or features of another form; class indices that are none; logits with NaN or inf.
    """
    settings = settings or ScoreCamSettings()
    if image.ndim != 3 or features.ndim != 3:
        raise DataError(f"Score-CAM: an image (3, H, W) and its features (D, h, w), got {tuple(image.shape)} and"
                        f" {tuple(features.shape)}: one image at a time.")  # fmt: skip
    taken = strongest(features, settings.top_channels)  # (C,)
    scores, used = [], []
    for part in torch.split(taken, batch):
        masks, speak = channel_masks(features[part], (image.shape[1], image.shape[2]))  # (b, H, W), (b,)
        logits = logits_of(image * masks[:, None])  # (b, K)
        scores.append(channel_scores(logits.float(), settings.score))
        used.append(speak)
    every, speaking = torch.cat(scores), torch.cat(used)  # (C, K), (C,)
    check_finite(every, "Score-CAM: scores of masked images", "the network's logits do, as those of one that diverged")
    wanted = every[:, as_class_indices(class_indices, every.device, every.shape[1])]  # (C, n)
    if settings.channel_softmax:
        wanted = wanted.masked_fill(~speaking[:, None], -torch.inf).softmax(0).nan_to_num()
    weights = features.new_zeros(len(features), wanted.shape[1], dtype=torch.float32)  # (D, n)
    weights[taken] = wanted * speaking[:, None]
    return weights.T


def weighted_map(features: Tensor, weights: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (n, *size) in [0, 1]: min-max of relu(Σ_k weight_k · enlarged channel k).

    Args:
        features: (D, h, w).
        weights: (n, D), of `weigh_channels`.
        size: of the maps.
    """
    summed = torch.einsum("nd,dhw->nhw", weights, features.float())  # (n, h, w)
    return min_max(upsample(summed, size).relu())  # (n, *size)


def score_cam(
    logits_of: LogitsOf,
    image: Tensor,
    features: Tensor,
    class_indices: ClassIndices,
    size: tuple[int, int] | None = None,
    settings: ScoreCamSettings | None = None,
    batch: int = 16,
) -> Tensor:
    """Score-CAM's maps of one image, (n, *size) in [0, 1]. Arguments are those of `weigh_channels`, which says what is
    refused, and the size.

    Args:
        size: of the maps; None: (H, W) of the image.
    """
    weights = weigh_channels(logits_of, image, features, class_indices, settings, batch)  # (n, D)
    return weighted_map(features, weights, size or (image.shape[1], image.shape[2]))
