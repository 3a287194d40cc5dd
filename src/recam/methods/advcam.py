"""Adversarial climbing (AdvCAM): Lee et al., CVPR 2021, as equation 10 of the ReCAM paper restates it.

An image and its flipped image are moved, step by step, so that the classifier's logit of one class rises; the class
maps of all steps are added. Each step climbs y_k − Σ_j≠k y_j − μ‖mask ⊗ |map − first map|‖₁.

Followed: the published code. Its y is the mean over positions of relu(logit map). Its map is Grad-CAM's: features
weighted by the gradient of Σ relu(logit map), for which it runs a second backward pass. That gradient is w_k wherever
the logit map is positive, so the weights are known in closed form (`map_scale`), the map is relu(A_k) times a constant
of the step, and one forward and one backward pass per step are enough.

Departures: every scale takes the same steps and counts alike, where the published code gives scale 0.5 half of the
steps, doubles them, and leaves the factor on for the scales after it (`AdvCamSettings.published_scale_rule` does the
same). The classes of an image climb as one batch, which changes nothing: each pair has its own objective, gradient
maximum and range.

Letters: n pairs, one per class, K classes, D channels, H×W image, h×w its feature map, T steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from recam.errors import DataError, RecipeError
from recam.methods.arguments import ClassIndices, as_class_indices, check_finite
from recam.methods.cam import (
    Resolution,
    check_resolution,
    class_maps,
    full_size,
    fuse_views,
    normalise,
    strided_size,
    weight_rows,
)
from recam.settings import Settings
from recam.types import Image, SeedMaps

WALK_POWER = 1.5
"""AdvCAM's normalised maps are raised to this power before the random walk of IRN (published)."""

HALVED_SCALE = 0.5
"""The scale that the published rule treats on its own."""

FeaturesOf = Callable[[Tensor], Tensor]
"""Normalised images (B, 3, H, W) → features (B, D, h, w) before pooling, with BatchNorm on stored statistics.

They need a graph, so not under `torch.inference_mode`.
"""


@dataclass(frozen=True)
class AdvCamSettings(Settings):
    """How far and how carefully images climb; the defaults are the published ones."""

    steps: int = 27
    """T, steps for each class and scale."""
    step_size: float = 0.08
    """Ξ, how far the pixel with the largest gradient moves in a step, in units of the normalised image."""
    mu: float = 7.0
    """Μ, the weight of the restriction that regions found already change little."""
    mask_threshold: float = 0.5
    """A position is restricted where the class map exceeds this share of its maximum."""
    published_scale_rule: bool = False
    """Scale 0.5 takes half of the steps, and the factor 2 that makes up for it stays on for all other scales, so that
    scale 0.5 has about half of their weight. Off: all scales alike (ours)."""

    def __post_init__(self) -> None:
        problems = []
        if self.steps < 1:
            problems.append(f"steps must be at least 1, got {self.steps}")
        if not 0 < self.step_size < float("inf"):
            problems.append(f"step_size must be a finite number above 0, got {self.step_size}")
        if not 0 <= self.mu < float("inf"):
            problems.append(f"mu must be a finite number ≥ 0, got {self.mu}")
        if not 0 <= self.mask_threshold <= 1:
            problems.append(f"mask_threshold is a share of the maximum, in [0, 1], got {self.mask_threshold}")
        if problems:
            raise RecipeError(f"AdvCAM: {'; '.join(problems)}.")


@dataclass(frozen=True)
class AdvCamResult:
    """What climbing at one scale gave, without graph.

    Attributes:
        cam_per_step: (T, n, h, w), image and flipped-back flipped image added, ≥ 0, before each step's move.
        cam_sum: (n, h, w), their sum; not normalised.
        objective: (T, n), what was climbed (eq. 10), before each step's move.
        final_images: (n, 2, 3, H, W) after the last move.
    """

    cam_per_step: Tensor
    cam_sum: Tensor
    objective: Tensor
    final_images: Tensor


def map_scale(target_maps: Tensor, rows: Tensor) -> Tensor:
    """What relu(A_k) is multiplied by to give AdvCAM's map: target logit maps (n, 2, h, w) and their weights (n, D) →
    (n, 2), no graph.

    The gradient of Σ relu(A_k) with respect to the features is w_k at the P positions of an image where A_k > 0, and 0
    elsewhere. Summed over positions it is P·w_k; it has D⁺·(P_image + P_mirror) positive entries, D⁺ the number of
    positive weights. The weights of the features are the first divided by the second: w_k · P / (D⁺·(P_image +
    P_mirror)).
    """
    positions = (target_maps.detach() > 0).sum((2, 3))  # (n, 2)
    entries = (rows.detach() > 0).sum(1) * positions.sum(1)  # (n,)
    return positions / entries.clamp_min(1)[:, None]  # (n, 2)


def climb(
    features_of: FeaturesOf,
    pairs: Tensor,
    targets: ClassIndices,
    weight: Tensor,
    settings: AdvCamSettings | None = None,
) -> AdvCamResult:
    """Climb with n pairs of image and flipped image at one scale, each for its own class.

    Several classes of one image are ``pair.expand(n, -1, -1, -1, -1)``; the result is that of one pair at a time.

    Args:
        features_of: the backbone. Freeze its parameters (``requires_grad_(False)``): only the images need a gradient,
            so the graph shrinks.
        pairs: (n, 2, 3, H, W) normalised image and flipped image; they are not changed.
        targets: (n,) the class each pair climbs for, 0…K−1.
        weight: (K, D) or (K, D, 1, 1), any of eq. 9: both the maps and the logits are made with it.
        settings: published ones if None.

    Raises:
        DataError: pairs or targets of another form, or features without a graph to the images.
        WeightsError: weights that do not fit the features.
    """
    settings = settings or AdvCamSettings()
    rows = weight_rows(weight).detach()  # (K, D)
    chosen = as_class_indices(targets, rows.device, len(rows), unique=False)  # (n,)
    _check_pairs(pairs, chosen)
    each = torch.arange(len(pairs), device=rows.device)

    images, maps, objectives = pairs.detach(), [], []
    for _ in range(settings.steps):
        images = images.detach().requires_grad_()
        with torch.enable_grad():
            features = features_of(images.flatten(0, 1))  # (2n, D, h, w)
            flat_maps = class_maps(features, rows)  # (2n, K, h, w)
            logit_maps = flat_maps.view(len(pairs), 2, *flat_maps.shape[1:])  # (n, 2, K, h, w)
            target_maps = logit_maps[each, :, chosen]  # (n, 2, h, w)
            both = target_maps.relu() * map_scale(target_maps, rows[chosen])[:, :, None, None]  # (n, 2, h, w)
            cam = both[:, 0] + both[:, 1].flip(-1)  # (n, h, w)
            maps.append(cam.detach())
            objective = _objective(logit_maps, target_maps, cam, maps[0], settings)  # (n,)
            objectives.append(objective.detach())
            if not objective.requires_grad:
                raise DataError(
                    "the features have no graph to the images: features_of must not detach them or run under"
                    " torch.no_grad()."
                )
            (gradient,) = torch.autograd.grad(objective.sum(), images)
        images = _move(images.detach(), gradient, settings.step_size)

    per_step = torch.stack(maps)  # (T, n, h, w)
    return AdvCamResult(per_step, per_step.sum(0), torch.stack(objectives), images)


def scale_plan(scales: Sequence[float], settings: AdvCamSettings) -> list[tuple[int, float]]:
    """Steps and weight of each scale, in order.

    The published rule starts with scale 0.5 whatever its place, so that its factor reaches all others.
    """
    if not settings.published_scale_rule or HALVED_SCALE not in scales:
        return [(settings.steps, 1.0)] * len(scales)
    if settings.steps > 10:
        halved, factor = settings.steps // 2, 2.0
    else:
        halved, factor = min(settings.steps, 5), 1.0
    return [(halved if scale == HALVED_SCALE else settings.steps, factor) for scale in scales]


def make_advcams(
    features_of: FeaturesOf,
    pairs: Sequence[Tensor],
    scales: Sequence[float],
    weight: Tensor,
    class_indices: ClassIndices,
    size: tuple[int, int],
    resolution: Resolution = "strided",
    settings: AdvCamSettings | None = None,
    classes_at_once: int | None = None,
) -> Tensor:
    """Normalised AdvCAM maps of one image from all scales: sums over steps, brought to one size, added, divided by each
    class's maximum.

    Args:
        features_of: as in `climb`.
        pairs: for each scale (2, 3, H_i, W_i), the normalised image at that scale and its horizontal flip.
        scales: for each of them its scale, e.g. 1, 0.5, 1.5, 2.
        weight: as in `climb`.
        class_indices: the n classes wanted, 0…K−1; usually the image's labels.
        size: (H, W) of the image.
        resolution: ``"strided"`` → (n, ⌈H/4⌉, ⌈W/4⌉), ``"full"`` → (n, H, W).
        settings: published ones if None.
        classes_at_once: how many classes climb as one batch; if None, as many as a GPU's memory holds, and one on a
            CPU. All give the same maps.

    Returns:
        float maps in [0, 1), in the order of `class_indices`; raise them to `WALK_POWER` before IRN's random walk.

    Raises:
        DataError: as `climb`; class indices that are none (a multi-hot row among them), or maps with NaN or inf.
        RecipeError: an unknown resolution.
    """
    if not pairs or len(pairs) != len(scales):
        raise DataError(f"{len(pairs)} pairs for {len(scales)} scales: give one pair for each scale, and at least one.")
    check_resolution(resolution)
    settings = settings or AdvCamSettings()
    chosen = as_class_indices(class_indices, weight.device, len(weight))  # (n,)
    output = strided_size(size) if resolution == "strided" else full_size(size)
    if not len(chosen):
        return weight.new_zeros(0, *(output if resolution == "strided" else size))
    views = []
    for pair, (steps, factor) in zip(pairs, scale_plan(scales, settings), strict=True):
        at_scale = replace(settings, steps=steps)
        sums = _climb_in_parts(features_of, pair, chosen, weight, at_scale, classes_at_once)  # (n, h_i, w_i)
        views.append(factor * sums[None])  # (1, n, h_i, w_i)
    fused = fuse_views(views, output)
    check_finite(fused, "class maps", "the features or weights do, as those of a network that diverged")
    return normalise(fused if resolution == "strided" else fused[:, : size[0], : size[1]])


def _climb_in_parts(
    features_of: FeaturesOf, pair: Tensor, chosen: Tensor, weight: Tensor, settings: AdvCamSettings, at_once: int | None
) -> Tensor:
    """Sums over steps (n, h, w) of one scale, `at_once` classes at a time; None: as of `_first_try`, half as many where
    a GPU's memory is too small."""
    size, sums, start = at_once or _first_try(pair.device, len(chosen)), list[Tensor](), 0
    while start < len(chosen):
        part = chosen[start : start + size]
        try:
            sums.append(
                climb(features_of, pair.expand(len(part), *pair.shape), part, weight, settings).cam_sum
            )  # (part, h, w)
        except torch.cuda.OutOfMemoryError:
            if at_once or len(part) == 1:
                raise
            size = len(part) // 2
        else:
            start += len(part)
    return torch.cat(sums)


def _first_try(device: torch.device, n: int) -> int:
    """How many of n classes to climb with at once: all, but on a CPU, where a batch is no faster and nothing reports
    that memory runs out."""
    return 1 if device.type == "cpu" else n


@dataclass(frozen=True)
class AdvCamRefiner:
    """AdvCAM's maps of an image in place of those that come in, of which the classes and the ignored pixels stay.

    Attributes:
        features_of: as in `climb`.
        pairs_of: for each scale (2, 3, H_i, W_i), the normalised image (H, W, 3) at that scale and its horizontal flip.
        scales: the scale of each.
        weight: as in `climb`: of CAM, or of any weighting of ReCAM.
        settings: published ones.
        classes_at_once: as in `make_advcams`.
    """

    features_of: FeaturesOf
    pairs_of: Callable[[Image], Sequence[Tensor]]
    scales: tuple[float, ...]
    weight: Tensor
    settings: AdvCamSettings = field(default_factory=AdvCamSettings)
    classes_at_once: int | None = None

    def __call__(self, image: Image, seed: SeedMaps) -> SeedMaps:
        if not len(seed.maps):
            return seed
        pairs, indices = self.pairs_of(image), seed.class_indices
        cams = make_advcams(
            self.features_of,
            pairs,
            self.scales,
            self.weight,
            indices,
            seed.size,
            settings=self.settings,
            classes_at_once=self.classes_at_once,
        )
        return SeedMaps(cams.float().cpu().numpy(), indices, seed.size, seed.ignore)


def _objective(logit_maps: Tensor, target_maps: Tensor, cam: Tensor, first: Tensor, settings: AdvCamSettings) -> Tensor:
    """Eq. 10 of each pair (n,), summed over its image and flipped image."""
    scores = logit_maps.relu().mean((3, 4)).sum((1, 2))  # (n,): Σ_j y_j
    target = target_maps.relu().mean((2, 3)).sum(1)  # (n,): y_k
    largest = cam.detach().amax((1, 2), keepdim=True)  # (n, 1, 1)
    mask = cam.detach() > settings.mask_threshold * largest  # (n, h, w)
    changed = ((cam - first).abs() * mask).sum((1, 2))  # (n,)
    return 2 * target - scores - settings.mu * changed


def _move(images: Tensor, gradient: Tensor, step_size: float) -> Tensor:
    """One step up for each pair (n, 2, 3, H, W), within the values that the pair has now."""
    largest = gradient.abs().amax((1, 2, 3, 4), keepdim=True)  # (n, 1, 1, 1, 1)
    low, high = images.amin((1, 2, 3, 4), keepdim=True), images.amax((1, 2, 3, 4), keepdim=True)
    return (images + step_size * gradient / (largest + 1e-12)).clamp(low, high)


def _check_pairs(pairs: Tensor, chosen: Tensor) -> None:
    if pairs.ndim != 5 or pairs.shape[1] != 2 or not len(pairs):
        raise DataError(f"pairs are (n, 2, 3, H, W), image and flipped image of each class; got {tuple(pairs.shape)}.")
    if chosen.shape != (len(pairs),):
        raise DataError(f"{len(pairs)} pairs for targets of shape {tuple(chosen.shape)}: give one class for each pair.")
