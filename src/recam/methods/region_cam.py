"""Region-CAM: Cai & Abhayaratne, arXiv 2510.25134, 2025: gradients of a class tell where it is, features of every stage
tell what belongs together.

No code is published, and of the paper its abstract and summaries were available to us, not the text. From them:

1. Semantic information maps (SIM): S_l = Σ over channels of relu(∂y/∂F_l), y the class's logit, F_l the features after
   stage l. Gradients are not used as weights of features.
2. Semantic information propagation (SIP): the SIMs of all stages spread by the features of each stage.

Ours, for want of its rule, is how SIP spreads. From the last stage to the first, the map so far, brought to the stage's
size, and the stage's own SIM, each divided by its maximum, are added and walk `steps` steps along affinities of
neighbouring features, a_ij = max(0, cos(f_i, f_j)), to the power of `beta`, within `radius`; the walk is IRN's. So maps
end at edges that some stage sees, and what a coarse stage knows reaches all of its object. After global average pooling
the gradient on the last stage is the same everywhere: its SIM says nothing about place and is left out where there are
others.

Published with the baseline classifier: 60.1 mIoU of seeds on VOC's train (CAM 46.5). Nothing here was checked against
it.

Letters: n classes wanted, L stages, h_l×w_l the features F_l of stage l with D_l channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from recam.errors import DataError, RecipeError
from recam.methods.arguments import ClassIndices, as_class_indices, check_finite
from recam.methods.cam import normalise, upsample
from recam.methods.irn_paths import Offset, pair_offsets
from recam.methods.irn_walk import walk_along
from recam.settings import Settings

LevelsOf = Callable[[Tensor], "tuple[list[Tensor], Tensor]"]
"""A normalised image (1, 3, H, W) → features of its stages, finest first, [(1, D_l, h_l, w_l)], and logits (1, K), with
a graph."""


@dataclass(frozen=True)
class RegionCamSettings(Settings):
    """How semantic information spreads (ours, see above)."""

    first_stage: int = 2
    """The finest stage that takes part, 1 the stem; on its grid the maps end."""
    radius: float = 2
    """How far one step of the walk may reach, exclusive, on the grid of each stage."""
    beta: float = 8
    """Exponent of the affinities; the higher, the more a change of features stops the walk."""
    steps: int = 32
    """Steps of the walk on each stage."""

    def __post_init__(self) -> None:
        problems = [f"first_stage must be at least 1, got {self.first_stage}"] * (self.first_stage < 1)
        problems += [f"radius must be > 1, got {self.radius}"] * (not 1 < self.radius < float("inf"))
        problems += [f"beta must be a finite number ≥ 0, got {self.beta}"] * (not 0 <= self.beta < float("inf"))
        problems += [f"steps must be ≥ 0, got {self.steps}"] * (self.steps < 0)
        if problems:
            raise RecipeError(f"Region-CAM: {'; '.join(problems)}.")


def semantic_information(levels: Sequence[Tensor], logits: Tensor, class_indices: ClassIndices) -> list[Tensor]:
    """SIMs of each stage (n, h_l, w_l), step 1.

    Args:
        levels: features of one image at its stages, [(1, D_l, h_l, w_l)].
        logits: (1, K), with a graph to them.
        class_indices: n classes, 0…K−1.

    Raises:
        DataError: logits without a graph to a stage; class indices that are none.
    """
    chosen = as_class_indices(class_indices, logits.device, logits.shape[1])
    sims: list[list[Tensor]] = [[] for _ in levels]
    for index in chosen.tolist():
        try:
            found = torch.autograd.grad(logits[0, index], list(levels), retain_graph=True)
        except RuntimeError as error:
            raise DataError(
                f"Region-CAM: the logits have no graph to the features of every stage ({error}). Freeze no stage, and"
                " let the image need a gradient."
            ) from error
        for sim, gradient in zip(sims, found, strict=True):
            sim.append(gradient[0].relu().sum(0))  # (h_l, w_l)
    return [torch.stack(sim) for sim in sims]


def feature_affinities(features: Tensor, radius: float) -> dict[Offset, Tensor]:
    """max(0, cos(f_i, f_j)) of features (D, h, w), for each offset within the radius (h − y, w − |x|)."""
    height, width = features.shape[1:]
    unit = F.normalize(features, dim=0)
    found = {}
    for y, x in pair_offsets(radius):
        if y >= height or abs(x) >= width:
            continue
        first = unit[:, : height - y, max(-x, 0) : width - max(x, 0)]
        second = unit[:, y:, max(x, 0) : width - max(-x, 0)]
        found[Offset(y, x)] = (first * second).sum(0).clamp(0, 1)
    return found


def is_even(sim: Tensor) -> bool:
    """Whether SIMs (n, h, w) say nothing about place."""
    low, high = sim.amin((1, 2)), sim.amax((1, 2))
    return bool((high - low <= 1e-4 * high).all())


def propagate(sims: Sequence[Tensor], levels: Sequence[Tensor], settings: RegionCamSettings | None = None) -> Tensor:
    """The maps of all stages put together from the last to the first, step 2 as we do it: (n, h, w) in [0, 1) on the
    grid of the first of them.

    Args:
        sims: (n, h_l, w_l) of each stage, finest first.
        levels: features (1, D_l, h_l, w_l) of the same stages.
    """
    settings = settings or RegionCamSettings()
    speak = [not is_even(sim) for sim in sims]
    taken = [i for i in range(len(sims)) if speak[i] or not any(speak)]
    maps = torch.zeros_like(sims[taken[-1]])
    for level in reversed(taken):
        grid = (sims[level].shape[1], sims[level].shape[2])
        joined = normalise(upsample(maps, grid)) + normalise(sims[level])  # (n, h_l, w_l)
        pairs = feature_affinities(levels[level][0].float(), settings.radius)
        maps = walk_along(joined.float(), pairs, settings.beta, settings.steps)
    return normalise(maps)


def region_cam(
    levels_of: LevelsOf,
    image: Tensor,
    class_indices: ClassIndices,
    size: tuple[int, int],
    settings: RegionCamSettings | None = None,
) -> Tensor:
    """Region-CAM's maps (n, *size) in [0, 1) of one image.

    Args:
        levels_of: stages and logits of the classifier, whose parameters need no gradient.
        image: (1, 3, H, W), normalised.
        class_indices: n classes, 0…K−1.
        size: of the maps.

    Raises:
        DataError: as `semantic_information`; fewer stages than `first_stage`; features with NaN or inf.
    """
    settings = settings or RegionCamSettings()
    with torch.enable_grad():
        levels, logits = levels_of(image.detach().requires_grad_())
        if len(levels) < settings.first_stage:
            raise DataError(
                f"Region-CAM: first_stage = {settings.first_stage}, but the network has {len(levels)} stages."
            )
        levels = levels[settings.first_stage - 1 :]
        sims = semantic_information(levels, logits, class_indices)
    maps = propagate(sims, [level.detach() for level in levels], settings)
    check_finite(maps, "class maps", "the features do, as those of a network that diverged")
    return normalise(upsample(maps, size))
