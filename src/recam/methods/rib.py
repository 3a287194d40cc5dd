"""RIB, reducing the information bottleneck: Lee et al., NeurIPS 2021: a trained classifier is trained on for a few
steps on one image, without its last activation, and the class maps of all steps are added.

A sigmoid lets the last layer forget what is not needed to decide; without it, information about more of the object
comes through. Regions found already would take all of the gradient, so only the others are pooled (GNDRP).

1. Signed maps s = w · f of the image and its mirror at several scales. Their positive parts are added to the sums.
2. GNDRP: r = s / max s over positions, a constant; pooled logit = Σ of s where r < τ, over the number of all positions.
   Classes that the image does not have: the plain mean.
3. Loss = −Σ over rows and present classes of the pooled logits: rows are image and mirror at all scales but 0.5, and a
   batch of other images that share no class with it, with their own labels.
4. One SGD step; then again from 1. The weights are put back afterwards.

Followed: the authors' code (jbeomlee93/RIB, 9c43b3b), also in: no step when the map of the first scale covers more than
0.7 of the image above 0.3 of its maximum; the end once the target image's pooled logits sum to more than 600 (the paper
writes a min(m, y) into the loss, from memory); `RibSettings.momentum`, which that code sets to the weight decay's value
by an argument in its place. COCO: lr 5e-6, 15 others, τ 0.5, 1000, 0.8.

Departures: gradients are summed part by part, which is the same for a loss that is a sum, so that memory holds one
scale at a time. A map without a positive value gives 0 (in the code NaN where the maximum is exactly 0). Where fewer
images share no class with the target than a batch has, those; the code then takes no step at all.

Letters: B rows, K classes, n of them in the image, D channels, H×W image, h×w its map, T steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD

from recam.errors import DataError, RecipeError
from recam.methods.arguments import ClassIndices, as_class_indices, check_finite
from recam.methods.cam import EPS, Resolution, check_resolution, full_size, normalise, strided_size, upsample
from recam.settings import Settings

SILENT_SCALE = 0.5
"""The scale whose maps are added but not learned from (published)."""
POWER = 0.9
"""Exponent of the polynomial decay of the learning rate."""

MapsOf = Callable[[Tensor], Tensor]
"""Normalised images (B, 3, H, W), or what a frozen trunk makes of them → signed maps (B, K, h, w), with a graph."""
OthersOf = Callable[[int], "tuple[Tensor, Tensor] | None"]
"""Step → other images and their labels (B, K); None: there are none."""


@dataclass(frozen=True)
class RibSettings(Settings):
    """How a classifier is trained on for an image; the defaults are those published for VOC."""

    steps: int = 10
    """T; the maps of step t are those before its update, so the first are CAM's."""
    lr: float = 8e-6
    """Learning rate of the backbone; the class weights learn at ten times that. It falls polynomially. COCO 5e-6."""
    weight_decay: float = 1e-4
    """SGD weight decay."""
    momentum: float = 1e-4
    """SGD momentum; the published code passes the weight decay in its place."""
    threshold: float = 0.4
    """τ: positions below this share of the map's maximum are pooled; COCO 0.5."""
    stop_score: float = 600.0
    """The image is done once the sum of its pooled logits exceeds this; COCO 1000."""
    spread_threshold: float = 0.3
    """A map has spread where it exceeds this share of its maximum …"""
    spread_share: float = 0.7
    """… on more than this share of the image; then no further step is taken. COCO 0.8."""

    def __post_init__(self) -> None:
        problems = [f"steps must be at least 1, got {self.steps}"] * (self.steps < 1)
        shares = {name: getattr(self, name) for name in ("threshold", "spread_threshold", "spread_share")}
        problems += [f"{name} must be in [0, 1], got {value}" for name, value in shares.items() if not 0 <= value <= 1]
        problems += [f"momentum must be in [0, 1), got {self.momentum}"] * (not 0 <= self.momentum < 1)
        amounts = {name: getattr(self, name) for name in ("lr", "weight_decay", "stop_score")}
        problems += [f"{name} must be ≥ 0, got {value}" for name, value in amounts.items() if not value >= 0]
        if problems:
            raise RecipeError(f"RIB: {'; '.join(problems)}.")


@dataclass(frozen=True)
class RibResult:
    """What learning on one image gave, without graph.

    Attributes:
        maps: of each step and scale (n, h_i, w_i), image and flipped-back flipped image added, ≥ 0; a step that was
            broken off has the first scale alone.
        logits: of each update (rows, K), pooled: image and mirror by scale, then the others.
        losses: of each update.
        target_scores: of each update, the sum of the image's pooled logits of its classes.
        stopped: why it ended before all steps: ``score``, ``spread``, or empty.
    """

    maps: list[list[Tensor]]
    logits: list[Tensor]
    losses: list[float]
    target_scores: list[float]
    stopped: str

    @property
    def sums(self) -> list[Tensor]:
        """Sums over steps of each scale, (n, h_i, w_i)."""
        return [torch.stack([step[i] for step in self.maps if len(step) > i]).sum(0) for i in range(len(self.maps[0]))]


def gndrp(maps: Tensor, labels: Tensor, threshold: float) -> Tensor:
    """Global non-discriminative region pooling, step 2: signed maps (B, K, h, w) and labels (B, K) → logits (B, K)."""
    largest = maps.detach().amax((2, 3), keepdim=True)  # (B, K, 1, 1)
    # Without a positive value the published ratio is ≥ 1 everywhere: nothing is pooled.
    low = (maps.detach() < threshold * largest) & (largest > 0)
    pooled = (maps * low).mean((2, 3))  # over all positions, not over those that are left
    return torch.where(labels > 0, pooled, maps.mean((2, 3)))


def rib_loss(pooled: Tensor, labels: Tensor, n_target: int) -> tuple[Tensor, Tensor]:
    """−Σ of the pooled logits (B, K) of present classes, step 3; and the sum over the first `n_target` rows, those of
    the image itself."""
    present = pooled * labels
    return -present.sum(), present[:n_target].detach().sum()


def has_spread(maps: Tensor, threshold: float, share: float) -> bool:
    """Whether some map (n, h, w) exceeds the threshold, as a share of its maximum, on more than `share` of the
    image."""
    above = maps / (maps.amax((1, 2), keepdim=True) + EPS) > threshold  # (n, h, w)
    return bool(above.any(0).float().mean() > share)


def learn(
    maps_of: MapsOf,
    groups: Sequence[dict[str, Any]],
    pairs: Sequence[Tensor],
    scales: Sequence[float],
    class_indices: ClassIndices,
    n_classes: int,
    others: OthersOf,
    settings: RibSettings | None = None,
) -> RibResult:
    """Train on for one image; the weights stay as they come out, see `weights_kept`.

    Args:
        maps_of: the network, whose parameters the groups hold.
        groups: parameter groups ``{"params": …, "lr": …}``.
        pairs: for each scale image and flipped image (2, 3, H_i, W_i), or what `maps_of` takes in their place.
        scales: the scale of each.
        class_indices: the n classes of the image, 0…K−1.
        n_classes: K.
        others: the other images of each step.
        settings: published ones if None.

    Raises:
        DataError: no pair, or not one for each scale; class indices that are none.
    """
    settings = settings or RibSettings()
    if not pairs or len(pairs) != len(scales):
        raise DataError(f"{len(pairs)} pairs for {len(scales)} scales: give one pair for each scale, and at least one.")
    chosen = as_class_indices(class_indices, pairs[0].device, n_classes)  # (n,)
    labels = torch.zeros(2, n_classes, device=pairs[0].device)
    labels[:, chosen] = 1
    optimizer = SGD(groups, lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay)
    rates = [float(group["lr"]) for group in optimizer.param_groups]
    result = RibResult([], [], [], [], "")
    with torch.enable_grad():
        for step in range(settings.steps):
            optimizer.zero_grad(set_to_none=True)
            rows, loss, target = list[Tensor](), 0.0, 0.0
            result.maps.append([])
            for scale, pair in zip(scales, pairs, strict=True):
                maps = maps_of(pair)  # (2, K, h_i, w_i)
                positive = maps.detach()[:, chosen].relu()  # (2, n, h_i, w_i)
                result.maps[-1].append(positive[0] + positive[1].flip(-1))  # (n, h_i, w_i)
                first = len(result.maps[-1]) == 1
                if first and step and _spread(result.maps[-1][0], settings):
                    return _ended(result, "spread")
                if scale == SILENT_SCALE:
                    continue
                pooled = gndrp(maps, labels, settings.threshold)  # (2, K)
                part, score = rib_loss(pooled, labels, 2)
                part.backward()  # type: ignore[no-untyped-call]
                rows.append(pooled.detach())
                loss, target = loss + float(part.detach()), target + float(score)
            if found := others(step):
                images, their_labels = found
                pooled = gndrp(maps_of(images), their_labels, settings.threshold)  # (B, K)
                part, _ = rib_loss(pooled, their_labels, 0)
                part.backward()  # type: ignore[no-untyped-call]
                rows.append(pooled.detach())
                loss += float(part.detach())
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * (1 - step / settings.steps) ** POWER
            optimizer.step()
            result.logits.append(torch.cat(rows))
            result.losses.append(loss)
            result.target_scores.append(target)
            if abs(target) > settings.stop_score:
                return _ended(result, "score")
    return result


def _spread(maps: Tensor, settings: RibSettings) -> bool:
    return has_spread(maps, settings.spread_threshold, settings.spread_share)


def _ended(result: RibResult, why: str) -> RibResult:
    return RibResult(result.maps, result.logits, result.losses, result.target_scores, why)


@contextmanager
def weights_kept(parameters: Iterable[Tensor]) -> Iterator[None]:
    """Parameters have their values again afterwards, and no gradient."""
    own = list(parameters)
    before = [each.detach().clone() for each in own]
    try:
        yield
    finally:
        with torch.no_grad():
            for each, value in zip(own, before, strict=True):
                each.copy_(value)
                each.grad = None


def make_rib_maps(sums: Sequence[Tensor], size: tuple[int, int], resolution: Resolution = "strided") -> Tensor:
    """Normalised maps of one image: sums (n, h_i, w_i) of each scale brought to one size, added, divided by each
    class's maximum.

    Args:
        sums: of `RibResult.sums`.
        size: (H, W) of the image.
        resolution: ``"strided"`` → (n, ⌈H/4⌉, ⌈W/4⌉), ``"full"`` → (n, H, W).

    Raises:
        DataError: no sums, or NaN or inf in them, as after a learning rate that is too high.
        RecipeError: an unknown resolution.
    """
    check_resolution(resolution)
    if not sums:
        raise DataError("no maps to fuse: give the sums of at least one scale.")
    output = strided_size(size) if resolution == "strided" else full_size(size)
    fused = torch.stack([upsample(each, output) for each in sums]).sum(0)  # (n, *output)
    check_finite(fused, "class maps", "RIB's learning rate is too high for this network: lower rib.lr")
    return normalise(fused if resolution == "strided" else fused[:, : size[0], : size[1]])
