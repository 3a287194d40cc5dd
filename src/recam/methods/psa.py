"""PSA, pixel-level semantic affinity: Ahn & Kwak, CVPR 2018: a network learns whether two near pixels belong together,
and class maps walk along what it says.

1. Labels: class maps beside a background (1 − max)^α, cleaned by a CRF, for a low and a high α, averaged over 8×8
   blocks. A block has the class that the low α gives, background where the high α gives it, and 255 where only the
   low one does.
2. Affinity of pixels i and j of the features f: a_ij = exp(−mean over channels |f_i − f_j|).
3. Loss over pairs within a radius: −log a for pairs of one class and of background, −log(1 − a) for pairs of two
   labels; means of the three kinds, ¼ + ¼ + ½.
4. Walk: maps and background, averaged over 8×8 blocks, times T^steps, T the affinities to the power of β, self-loops
   of 1, columns summing to 1. A pixel has the class of the largest.

Followed: the authors' code (jiwoon-ahn/psa, 9493e59), of whose two networks that on VGG-16
(`recam.models.affinitynet`); the paper's weights of the loss are four times as large.

Departures: the matrix, with at most 69 entries per row, is applied to the few maps, where the code squares a dense n×n
one eight times; the numbers are the same. The walk takes all pairs within the radius, as the paper says; the code
leaves out those whose first pixel lies near the left, right or lower border (``all_pairs = False``), here as there in
training. In a run labels are decided at each pixel by its 8×8 mean, so that crops find their blocks whatever their
place.

Letters: B images, n classes of one image, d channels, h×w the features at stride 8, P offsets within the radius, r the
reach of the radius, N first pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from recam.errors import DataError, RecipeError
from recam.labels import BACKGROUND, IGNORE
from recam.methods.cam import EPS, read_full, strided_size, upsample
from recam.methods.crf import CrfSettings
from recam.methods.irn_paths import Offset, pair_offsets, reach
from recam.methods.irn_walk import walk_along
from recam.methods.refine import without_background
from recam.settings import Settings
from recam.types import Image, SeedMaps

STRIDE = 8
"""Image pixels per feature of the network."""
LABEL_CRF = CrfSettings(iterations=10, gaussian_sxy=3, bilateral_sxy=80, bilateral_srgb=13, bilateral_weight=10)
"""The published CRF of the labels."""


@dataclass(frozen=True)
class PsaSettings(Settings):
    """What labels, loss and walk depend on; the defaults are the published ones."""

    radius: float = 5
    """How far apart the two pixels of a pair may be, exclusive, on the stride-8 map."""
    low_alpha: float = 4
    """Exponent of the background (1 − max)^α that is hard to leave: what has a class all the same is confident."""
    high_alpha: float = 32
    """The same of one that is easy to leave: what is background all the same is confident."""
    alpha: float = 16
    """The same of the background that walks beside the maps."""
    beta: float = 8
    """Exponent of the affinities in the walk."""
    steps: int = 256
    """Length of the walk; published 2⁸."""
    all_pairs: bool = True
    """Walk along all pairs within the radius; False leaves out those near three borders, as the published code."""

    def __post_init__(self) -> None:
        problems = [f"radius={self.radius}: must be > 1"] * (not 1 < self.radius < float("inf"))
        exponents = {name: getattr(self, name) for name in ("low_alpha", "high_alpha", "alpha", "beta")}
        problems += [f"{name}={value}: must be a finite number ≥ 0" for name, value in exponents.items()
                     if not 0 <= value < float("inf")]  # fmt: skip
        if not self.low_alpha <= self.high_alpha:
            problems.append(f"low_alpha={self.low_alpha} must not exceed high_alpha={self.high_alpha}: exchange them")
        problems += [f"steps={self.steps}: must be ≥ 0"] * (self.steps < 0)
        if problems:
            raise RecipeError(f"PSA: {'; '.join(problems)}.")


@dataclass(frozen=True)
class PsaLoss:
    """The loss of one batch and its parts, scalars.

    Attributes:
        total: with graph, background / 4 + foreground / 4 + negative / 2.
        background, foreground, negative: mean cost of each kind of pair.
        n_background, n_foreground, n_negative: how many there are.
    """

    total: Tensor
    background: Tensor
    foreground: Tensor
    negative: Tensor
    n_background: Tensor
    n_foreground: Tensor
    n_negative: Tensor


def add_background(maps: Tensor, alpha: float) -> Tensor:
    """Maps (n, H, W) in [0, 1] → (n + 1, H, W), the background (1 − max)^α first."""
    largest = maps.amax(0, keepdim=True) if len(maps) else maps.new_zeros(1, *maps.shape[1:])
    return torch.cat([(1 - largest) ** alpha, maps])


def block_means(planes: Tensor) -> Tensor:
    """(C, H, W) → (C, ⌈H/8⌉, ⌈W/8⌉): means over 8×8 blocks; what is missing right and below counts as 0."""
    height, width = strided_size((planes.shape[1], planes.shape[2]), STRIDE)
    padded = F.pad(planes, (0, width * STRIDE - planes.shape[2], 0, height * STRIDE - planes.shape[1]))
    return F.avg_pool2d(padded[None], STRIDE)[0]


def moving_means(planes: Tensor) -> Tensor:
    """(C, H, W) → the same: at each pixel the mean of the 8×8 block of which it is the middle one, 0 outside."""
    return F.avg_pool2d(F.pad(planes, (4, 3, 4, 3))[None], STRIDE, stride=1)[0]


def affinity_labels(low: Tensor, high: Tensor) -> Tensor:
    """Labels of step 1: mean scores (n + 1, h, w) of the low and the high α, background first → (h, w) int64 of 0
    background, 1…n in the order of the classes, 255 unknown."""
    labels, strict = low.argmax(0), high.argmax(0)  # (h, w)
    labels = torch.where(labels == BACKGROUND, IGNORE, labels)
    labels = torch.where(strict == BACKGROUND, BACKGROUND, labels)
    outside = torch.maximum(low, high).amax(0) < EPS
    return torch.where(outside, IGNORE, labels)


def ordered_offsets(radius: float) -> list[Offset]:
    """The P offsets within the radius in reading order, that of the published code."""
    return sorted(pair_offsets(radius))


def firsts_and_seconds(maps: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """Values of maps (…, h, w) at the first and second pixels of all pairs, (…, 1, h', w') and (…, P, h', w'): first
    pixels keep a distance of r from the left, right and lower border. Raises `DataError` where there are none."""
    r = reach(radius)
    height, width = maps.shape[-2:]
    rows, columns = height - r, width - 2 * r
    if rows < 1 or columns < 1:
        raise DataError(
            f"PSA: a map of {(height, width)} holds no pairs at radius {radius:g}, it must be larger than {(r, 2 * r)}:"
            " enlarge the crop."
        )
    seconds = [maps[..., y : y + rows, r + x : r + x + columns] for y, x in ordered_offsets(radius)]
    return maps[..., None, :rows, r : r + columns], torch.stack(seconds, -3)


def pair_affinities(features: Tensor, radius: float) -> Tensor:
    """Step 2: (B, d, h, w) → (B, P, N) in (0, 1], first pixels in reading order."""
    r = reach(radius)
    rows, columns = features.shape[2] - r, features.shape[3] - 2 * r
    first = features[:, :, :rows, r : r + columns]
    found = [
        (-(features[:, :, y : y + rows, r + x : r + x + columns] - first).abs().mean(1)).exp().flatten(1)
        for y, x in ordered_offsets(radius)
    ]  # (B, N) each; one at a time, as all differences at once are d times as large
    return torch.stack(found, 1)


def pair_kinds(labels: Tensor, radius: float) -> tuple[Tensor, Tensor, Tensor]:
    """Which pairs are both background, of one class, of two different labels: (B, h, w) → three bool (B, P, N)."""
    first, second = firsts_and_seconds(labels, radius)  # (B, 1, h', w'), (B, P, h', w')
    counted, same = (first != IGNORE) & (second != IGNORE), first == second
    background = counted & same & (first == BACKGROUND)
    kinds = (background, counted & same & ~background, counted & ~same)
    return kinds[0].flatten(2), kinds[1].flatten(2), kinds[2].flatten(2)


def psa_loss(features: Tensor, labels: Tensor, radius: float = 5) -> PsaLoss:
    """Step 3 over all pairs of the batch.

    Args:
        features: (B, d, h, w), of the network.
        labels: (B, h, w): 0 background, class values, 255 not counted.
        radius: see `PsaSettings`.

    Raises:
        DataError: sizes that do not fit each other, or a map too small for the radius.
    """
    if features.ndim != 4 or labels.shape != (len(features), *features.shape[2:]):
        raise DataError(
            f"PSA: labels {tuple(labels.shape)} do not fit features {tuple(features.shape)}: give (B, h, w) and (B, d,"
            " h, w)."
        )
    kinds = torch.stack(pair_kinds(labels, radius)).float()  # (3, B, P, N)
    with torch.autocast(features.device.type, enabled=False):
        affinity = pair_affinities(features.float(), radius)  # (B, P, N)
        together, apart = -(affinity + EPS).log(), -(1 + EPS - affinity).log()
        counts = kinds.sum((1, 2, 3))  # (3,)
        background = (kinds[0] * together).sum() / (counts[0] + EPS)
        foreground = (kinds[1] * together).sum() / (counts[1] + EPS)
        negative = (kinds[2] * apart).sum() / (counts[2] + EPS)
    total = background / 4 + foreground / 4 + negative / 2
    return PsaLoss(total, background, foreground, negative, counts[0], counts[1], counts[2])


def walk_pairs(features: Tensor, radius: float, all_pairs: bool = True) -> dict[Offset, Tensor]:
    """Affinities of features (d, h, w) as `recam.methods.irn_walk.walk_along` takes them."""
    height, width = features.shape[1:]
    r, found = reach(radius), {}
    for y, x in ordered_offsets(radius):
        if y >= height or abs(x) >= width:
            continue
        first = features[:, : height - y, max(-x, 0) : width - max(x, 0)]
        second = features[:, y:, max(x, 0) : width - max(-x, 0)]
        affinity = (-(first - second).abs().mean(0)).exp()  # (h − y, w − |x|)
        if not all_pairs:
            kept, left = torch.zeros_like(affinity), r + min(x, 0)
            inside = (slice(0, max(height - r, 0)), slice(left, max(left + width - 2 * r, left)))
            kept[inside] = affinity[inside]
            affinity = kept
        found[Offset(y, x)] = affinity
    return found


def psa_walk(planes: Tensor, features: Tensor, settings: PsaSettings | None = None) -> Tensor:
    """Step 4: (C, h, w) maps and background → (C, h, w).

    Args:
        planes: `block_means` of `add_background`.
        features: (d, h, w) of the same image.

    Raises:
        DataError: sizes that do not fit each other.
    """
    settings = settings or PsaSettings()
    if planes.shape[1:] != features.shape[1:]:
        raise DataError(
            f"PSA: maps {tuple(planes.shape)} do not fit features {tuple(features.shape)}: give (C, h, w) and (d, h,"
            " w)."
        )
    pairs = walk_pairs(features.float(), settings.radius, settings.all_pairs)
    return walk_along(planes.float(), pairs, settings.beta, settings.steps)


def largest_plane(walked: Tensor, size: tuple[int, int]) -> Tensor:
    """The plane that is largest at each pixel of the image, (H, W) int64: ×8 bilinear, cropped, argmax."""
    full = upsample(walked, (walked.shape[1] * STRIDE, walked.shape[2] * STRIDE))
    return full.argmax(0)[: size[0], : size[1]]


@dataclass(frozen=True)
class PsaRefiner:
    """Class maps after the walk, each beside the background that walked with them; threshold them at 0.5.

    Attributes:
        features_of: features (d, ⌈H/8⌉, ⌈W/8⌉) of an image (H, W, 3).
        settings: published ones.
    """

    features_of: Callable[[Image], Tensor]
    settings: PsaSettings = field(default_factory=PsaSettings)

    def __call__(self, image: Image, seed: SeedMaps) -> SeedMaps:
        if not len(seed.maps):
            return seed
        features = self.features_of(image)  # (d, h', w'), of the size at which the image is read
        maps = torch.from_numpy(np.ascontiguousarray(read_full(seed))).to(features.device)  # (n, H, W)
        planes = block_means(add_background(maps, self.settings.alpha))  # (n + 1, ⌈H/8⌉, ⌈W/8⌉)
        grid = (features.shape[1], features.shape[2])
        walked = psa_walk(upsample(planes, grid), features, self.settings)  # (n + 1, h', w')
        back = upsample(walked, (2 * planes.shape[1], 2 * planes.shape[2]))  # at a quarter, and what reaches beyond
        height, width = strided_size(seed.size)
        refined = without_background(back[:, :height, :width].cpu().numpy()).clip(0, 1)
        return SeedMaps(refined, seed.class_indices, seed.size, seed.ignore)
