"""Inter-pixel relation network (IRN): Ahn et al., CVPR 2019, as the ReCAM paper uses it (eq. 11): its training loss and
its random walk.

Two pixels belong together when no class boundary lies on the path between them: affinity a_ij = 1 − max of the edge map
on the path. The network learns edges from pairs of confident pixels; afterwards class maps walk along the affinities.

Departures from the published code, with the same numbers: it gathers the edges of every path of every pair, here the
maximum over a path is put together from those over shorter paths; it makes the n×n transition matrix dense and squares
it eight times, here the matrix, with at most 69 entries per row, is applied to the few class vectors. Displacements are
optional, as they do not change semantic labels.

Letters: B images, n class maps of one image, h×w the map at a quarter of the image's size, P offsets within the radius,
r the reach of the radius (the largest offset along an axis).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from recam.errors import DataError, RecipeError
from recam.labels import BACKGROUND, IGNORE
from recam.methods.cam import EPS, read_strided, upsample
from recam.methods.irn_paths import pair_offsets, path_maxima, reach
from recam.methods.irn_walk import enlarge_walked, random_walk, walk_to_labels
from recam.settings import Settings
from recam.types import Image, Mask, SeedMaps


@dataclass(frozen=True)
class IrnTerms(Settings):
    """What IRN's loss and walk depend on; the defaults are the published ones for VOC."""

    radius: float = 10
    """How far apart the two pixels of a training pair may be, exclusive, on the stride-4 map; published 10."""
    walk_radius: float = 5
    """How far one step of the random walk may reach, exclusive, on the stride-4 map; published 5."""
    beta: float = 10
    """Exponent of the affinities in the walk; the higher, the more a weak edge stops it. Published 10."""
    steps: int = 256
    """Length of the walk; published 2⁸ = 256. Any number ≥ 0; the time is proportional to it."""

    def __post_init__(self) -> None:
        if problems := self._problems():
            raise RecipeError(f"IRN: {'; '.join(problems)}.")

    def _problems(self) -> list[str]:
        radii = {"radius": self.radius, "walk_radius": self.walk_radius}
        problems = [f"{name}={value}: must be > 1" for name, value in radii.items() if not 1 < value < float("inf")]
        problems += [f"beta={self.beta}: must be a finite number ≥ 0"] * (not 0 <= self.beta < float("inf"))
        problems += [f"steps={self.steps}: must be ≥ 0"] * (self.steps < 0)
        return problems

    def loss(self, edge_logits: Tensor, displacement: Tensor | None, segmentation: Tensor) -> IrnLoss:
        """`irn_loss` with these settings."""
        return irn_loss(edge_logits, displacement, segmentation, self.radius)

    def walk(self, cams: Tensor, edges: Tensor) -> Tensor:
        """`random_walk` with these settings."""
        return random_walk(cams, edges, self.walk_radius, self.beta, self.steps)


@dataclass(frozen=True)
class IrnSettings(IrnTerms):
    """What IRN depends on from loss to mask; the defaults are the published ones for VOC."""

    background_threshold: float = 0.28
    """A pixel is background unless a walked map exceeds this share of the largest value; published 0.28 for VOC, 0.25
    for COCO."""

    def _problems(self) -> list[str]:
        if 0 <= self.background_threshold <= 1:
            return super()._problems()
        return [*super()._problems(), f"background_threshold={self.background_threshold}: must be in [0, 1]"]

    def labels(self, walked: Tensor, size: tuple[int, int], class_indices: Sequence[int] | NDArray[np.integer]) -> Mask:
        """`walk_to_labels` with these settings."""
        return walk_to_labels(walked, size, class_indices, self.background_threshold)


@dataclass(frozen=True)
class IrnLoss:
    """The loss of one batch and its parts, scalars; the numbers of pairs are those of the whole batch.

    Attributes:
        total: with graph, (positive + negative) / 2, and + (displacement_foreground + displacement_background) / 2
            where there is one.
        positive: how far the affinity of two pixels of one class is from 1: the mean of the background's and the
            foreground's means.
        negative: how far the affinity of two pixels of different classes is from 0.
        displacement_foreground: pixels of one class should point at one centre: mean |d_i − d_j − offset|, in pixels of
            the map.
        displacement_background: mean |d_i − d_j| over background pairs, in pixels of the map.
        n_background: pairs that are both background.
        n_foreground: pairs of one foreground class.
        n_negative: pairs of different classes.
    """

    total: Tensor
    positive: Tensor
    negative: Tensor
    displacement_foreground: Tensor | None
    displacement_background: Tensor | None
    n_background: Tensor
    n_foreground: Tensor
    n_negative: Tensor


def irn_loss(edge_logits: Tensor, displacement: Tensor | None, segmentation: Tensor, radius: float = 10) -> IrnLoss:
    """IRN's loss over all pairs of labelled pixels within the radius, equations 5–8 of its paper as the published code
    computes them.

    First points keep a distance of r from the left, right and lower border, so that all offsets have equally many
    pairs. Memory is that of one image's pairs on a CPU, of eight images' on a GPU, whatever the batch: what the
    gradient needs is computed again.

    Args:
        edge_logits: (B, 1, h, w), before the sigmoid.
        displacement: (B, 2, h, w), y then x, in pixels of the map; None leaves its two terms out.
        segmentation: (B, h, w) masks at the size of the map: 0 background, class values, 255 not counted.
        radius: see `IrnSettings`.

    Raises:
        DataError: sizes that do not fit each other, a map too small for the radius, or masks with other values than
            0…255 (checked on a CPU).
    """
    _check_loss_sizes(edge_logits, displacement, segmentation, radius)
    # Sums over a million pairs do not fit half precision, which autocast would take for their products.
    with torch.autocast(edge_logits.device.type, enabled=False):
        return _loss(edge_logits, displacement, segmentation, radius)


def _loss(edge_logits: Tensor, displacement: Tensor | None, segmentation: Tensor, radius: float) -> IrnLoss:
    at_once = 1 if edge_logits.device.type == "cpu" else 8
    sums = []
    for start in range(0, len(edge_logits), at_once):
        some = slice(start, start + at_once)
        moved = None if displacement is None else displacement[some]
        sums.append(
            checkpoint(
                _pair_sums,
                edge_logits[some, 0],
                moved,
                segmentation[some],
                radius,
                use_reentrant=False,
                preserve_rng_state=False,
            )
        )
    background, foreground, negative, n_background, n_foreground, n_negative, *moves = torch.stack(sums).sum(0)

    positive = (background / (n_background + EPS) + foreground / (n_foreground + EPS)) / 2
    negative = negative / (n_negative + EPS)
    total = (positive + negative) / 2
    if not moves:
        return IrnLoss(total, positive, negative, None, None, n_background, n_foreground, n_negative)
    dp_background, dp_foreground = moves[0] / (2 * n_background + EPS), moves[1] / (2 * n_foreground + EPS)
    total = total + (dp_foreground + dp_background) / 2
    return IrnLoss(total, positive, negative, dp_foreground, dp_background, n_background, n_foreground, n_negative)


def _check_loss_sizes(edge_logits: Tensor, displacement: Tensor | None, segmentation: Tensor, radius: float) -> None:
    if edge_logits.ndim != 4 or edge_logits.shape[1] != 1:
        raise DataError(f"edge logits are (B, 1, h, w), got {tuple(edge_logits.shape)}.")
    batch, _, height, width = edge_logits.shape
    problems = []
    if segmentation.shape != (batch, height, width):
        problems.append(
            f"segmentation {tuple(segmentation.shape)} must be {(batch, height, width)}, as the edge logits"
        )
    if displacement is not None and displacement.shape != (batch, 2, height, width):
        problems.append(f"displacement {tuple(displacement.shape)} must be {(batch, 2, height, width)}")
    if segmentation.dtype == torch.bool:
        problems.append(
            f"segmentation is bool, it must hold mask values: 0 background, class values, {IGNORE} not counted"
        )
    elif segmentation.device.type == "cpu" and not _are_mask_values(segmentation):
        low, high = float(segmentation.min()), float(segmentation.max())
        problems.append(
            f"segmentation has values {low:g}…{high:g}, they must be whole and in 0…{IGNORE}; {IGNORE} is not counted,"
            " not -1"
        )
    r = reach(radius)
    if height <= r or width <= 2 * r:
        problems.append(
            f"a map of {(height, width)} holds no pairs at radius {radius:g}, it must be larger than {(r, 2 * r)}:"
            " enlarge the crop"
        )
    if problems:
        raise DataError(f"IRN's loss: {'; '.join(problems)}.")


def _are_mask_values(segmentation: Tensor) -> bool:
    inside = not segmentation.numel() or bool((segmentation >= 0).all() and (segmentation <= IGNORE).all())
    return inside and (not segmentation.is_floating_point() or bool((segmentation == segmentation.floor()).all()))


def _pair_sums(edge_logits: Tensor, displacement: Tensor | None, segmentation: Tensor, radius: float) -> Tensor:
    """Sums over the pairs of (b, h, w) maps: the affinity terms of background, foreground and negative pairs, the
    number of each, and, with a displacement, its background and foreground terms; (6,) or (8,)."""
    height, width = segmentation.shape[1:]
    r = reach(radius)
    rows, columns = height - r, width - 2 * r  # of first points, h' × w'
    offsets = pair_offsets(radius)

    def seconds(maps: Tensor) -> Tensor:
        """The value at the second point of each pair: (…, h, w) → (…, P, h', w')."""
        return torch.stack([maps[..., y : y + rows, r + x : r + x + columns] for y, x in offsets], -3)

    first, second = (
        segmentation[:, None, :rows, r : r + columns],
        seconds(segmentation),
    )  # (b, 1, h', w'), (b, P, h', w')
    counted, same = (first != IGNORE) & (second != IGNORE), first == second
    negative, positive = counted & ~same, counted & same
    foreground = positive & (first != BACKGROUND)
    kinds = torch.stack([positive & (first == BACKGROUND), foreground, negative]).flatten(1).float()  # (3, pairs)

    maxima = path_maxima(edge_logits.float().sigmoid(), radius)
    # By the corner of the pair's box, which is the first point's column moved left where the offset points left.
    corners = [r + min(offset.x, 0) for offset in offsets]
    cropped = [maxima[offset][:, :rows, left : left + columns] for offset, left in zip(offsets, corners, strict=True)]
    affinity = 1 - torch.stack(cropped, 1)  # (b, P, h', w')
    # affinity + EPS, and 1 + EPS − affinity for negative pairs: one logarithm for both.
    wrong = negative.float()
    cost = -torch.addcmul(wrong + EPS, affinity, 1 - 2 * wrong).log().flatten()  # (pairs,)
    sums = torch.cat([kinds @ cost, kinds.sum(1)])
    if displacement is None:
        return sums

    moved = displacement.float()
    expected = moved.new_tensor(offsets).T[:, :, None, None] * foreground[:, None]  # (b, 2, P, h', w')
    miss = (moved[:, :, None, :rows, r : r + columns] - seconds(moved) - expected).abs().sum(1)  # (b, P, h', w')
    return torch.cat([sums, kinds[:2] @ miss.flatten()])


@dataclass(frozen=True)
class IrnRefiner:
    """Class maps after the walk, divided by the maximum over all classes; threshold them at
    `IrnSettings.background_threshold`.

    Attributes:
        edges_of: probabilities of a class boundary (1, h, w) of an image (H, W, 3); the walk happens at their size,
            published ⌈H/4⌉×⌈W/4⌉.
        settings: published ones.
        power: exponent that the maps are raised to before; published 1, and 1.5 for AdvCAM's.
    """

    edges_of: Callable[[Image], Tensor]
    settings: IrnSettings = field(default_factory=IrnSettings)
    power: float = 1.0

    def __call__(self, image: Image, seed: SeedMaps) -> SeedMaps:
        if not len(seed.maps):
            return seed
        edges = self.edges_of(image)
        strided = torch.from_numpy(read_strided(seed))
        cams = upsample(strided.to(edges.device) ** self.power, (edges.shape[1], edges.shape[2]))  # (n, h, w)
        walked = upsample(self.settings.walk(cams, edges), (strided.shape[1], strided.shape[2]))  # (n, ⌈H/4⌉, ⌈W/4⌉)
        # The maximum is that of the maps at full size (published), where peaks of the strided ones are flattened.
        full = enlarge_walked(walked, seed.size)  # (n, H, W)
        maps = (walked / full.amax().clamp_min(torch.finfo(walked.dtype).tiny)).clamp_max(1)
        return SeedMaps(maps.cpu().numpy(), seed.class_indices, seed.size, seed.ignore)
