"""DSRG: Huang et al., Weakly-Supervised Semantic Segmentation Network with Deep Seeded Region Growing, CVPR 2018.

A segmentation network learns from few confident pixels (seeds). In each step the seeds grow, along connected pixels of
which the network is sure by now, and the loss on them weighs background and classes alike; a second loss pulls the
network towards what a dense CRF makes of its own probabilities.

Followed: the published code (speedinghzl/DSRG). Where it differs from the paper: regions grow on the CRF's output and
not on the network's (`grow_on`), whose energies are minus the probability and not minus its logarithm
(`log_energies`); a background pixel must exceed both thresholds; comparisons are strict; a gradient goes through the
CRF as if it were nearly the identity (`crf_gradient`).

Departures: seeds come from class maps at two thresholds, where the published background is that of a saliency map;
crops that reach beyond the image grow nothing there (published: the whole image resized); PAMR can take the CRF's
place (`refined_by`).

Letters: B images, C channels with the background first, h×w positions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from recam.errors import DataError
from recam.methods.crf import SMALLEST_PROBABILITY, CrfSettings, infer
from recam.methods.pamr import refine
from recam.settings import Count, NonNegative, Settings, Share

LEAST = 1e-4
"""Probabilities are not taken to be less."""
CLIP = (0.05, 20.0)
"""Ratios of probabilities that the boundary loss counts."""
REDUCED = 12.0
"""The CRF's distances are those of full-size images, over this."""
CRF = CrfSettings(
    iterations=10, gaussian_sxy=3 / REDUCED, gaussian_weight=3,
    bilateral_sxy=80 / REDUCED, bilateral_srgb=13, bilateral_weight=10,
)  # fmt: skip
"""The published pairwise terms, for positions that are 8 pixels apart."""


@dataclass(frozen=True)
class DsrgSettings(Settings):
    """What growing and losses depend on; the defaults are the published ones."""

    foreground_threshold: Share = 0.85
    """A pixel joins a class of which it has a higher probability, if connected to a seed of it."""
    background_threshold: Share = 0.99
    """The same for the background, which must exceed both."""
    stride: Count = 8
    """Pixels between the positions at which seeds, probabilities and CRF are compared."""
    grow_on: Literal["refined", "network"] = "refined"
    """Whose probabilities regions grow on: the CRF's, as the code does, or the network's, as the paper says."""
    refined_by: Literal["crf", "pamr"] = "crf"
    """What refines probabilities in each step: the dense CRF as published (the extra crf), or PAMR, which needs
    nothing."""
    log_energies: bool = False
    """The CRF's energies are −log P, as is usual, instead of the code's −P, under which it decides nearly alone."""
    boundary_weight: NonNegative = 1.0
    """Weight of the boundary loss beside the seed loss."""
    crf_gradient: bool = True
    """Send a gradient through the refined probabilities too, as the code does; False: they are constant."""


@dataclass(frozen=True)
class DsrgLoss:
    """The loss of one batch and its parts, scalars with graphs, and the seeds after growing (B, C, h, w) in {0, 1}."""

    total: Tensor
    seed: Tensor
    boundary: Tensor
    grown: Tensor


def probabilities(logits: Tensor) -> Tensor:
    """P = (softmax + ε) / Σ over channels: (B, C, h, w), none below about 1e-4."""
    raised = logits.softmax(1) + LEAST
    return raised / raised.sum(1, keepdim=True)


def raise_least(refined: Tensor) -> Tensor:
    """Q = max(q, ε) / Σ over channels, of the output q of a CRF."""
    raised = refined.clamp_min(LEAST)
    return raised / raised.sum(1, keepdim=True)


def one_hot_seeds(masks: Tensor, channels: int) -> Tensor:
    """Masks (B, h, w) of channels, 255 for no seed → (B, C, h, w) in {0, 1}."""
    values = torch.arange(channels, device=masks.device)[:, None, None]  # (C, 1, 1)
    return (masks[:, None] == values).to(torch.uint8)


@torch.no_grad()
def grow_seeds(
    probability: Tensor, seeds: Tensor, labels: Tensor, foreground_threshold: float, background_threshold: float
) -> Tensor:
    """Seeds after growing: in the regions where a class is sure, all that is connected to a seed of the class.

    A position's region L(u) is argmax_c P_c(u) over classes of the image where that exceeds the class's threshold, else
    the class of its seed (of several the last), else none. Connected are all eight neighbours. A position with one
    seed, of another class, connects and keeps its class; seeds stay.

    Args:
        probability: (B, C, h, w), background first.
        seeds: (B, C, h, w) in {0, 1}, several classes at a position possible.
        labels: (B, C) in {0, 1}, classes of the image; the background's is 1.

    Returns:
        (B, C, h, w) uint8 in {0, 1}.

    Raises:
        DataError: sizes that do not fit.
    """
    if probability.shape != seeds.shape or labels.shape != seeds.shape[:2]:
        raise DataError(
            f"DSRG: probabilities {tuple(probability.shape)}, seeds {tuple(seeds.shape)} and labels"
            f" {tuple(labels.shape)} must be (B, C, h, w) twice and (B, C)."
        )
    present = labels.bool()[:, :, None, None]  # (B, C, 1, 1)
    highest, choice = probability.masked_fill(~present, -1).max(1, keepdim=True)  # (B, 1, h, w)
    limit = torch.where(choice == 0, max(foreground_threshold, background_threshold), foreground_threshold)
    channel = torch.arange(seeds.shape[1], device=seeds.device)[:, None, None]  # (C, 1, 1)
    own = seeds.bool()
    seeded = torch.where(own, channel, -1).amax(1, keepdim=True)  # (B, 1, h, w), −1 without a seed
    region = torch.where(highest > limit, choice, seeded) == channel  # (B, C, h, w)
    reached = flood(own & region & present, region)
    single = own.sum(1, keepdim=True) == 1
    return (own | (reached & ~(single & ~own))).to(torch.uint8)


def flood(start: Tensor, region: Tensor) -> Tensor:
    """All of a region that is connected to the start by eight neighbours, in each plane: (B, C, h, w) bool twice →
    bool. The steps follow the longest way, which no work on a GPU needs to wait for but to end."""
    reached = start & region
    while True:
        wider = (F.max_pool2d(reached.float(), 3, 1, 1) > 0) & region
        if wider.equal(reached):
            return reached
        reached = wider


def seed_loss(probability: Tensor, seeds: Tensor) -> Tensor:
    """Balanced seed loss: −Σ S_0 log P_0 / Σ S_0 − Σ_{c>0} S_c log P_c / Σ_{c>0} S_c of each image, mean over images.

    Args:
        probability: (B, C, h, w) above 0.
        seeds: (B, C, h, w) in {0, 1}. An image without seeds of one kind has 0 for it, and counts in the mean.
    """
    kept = seeds.to(probability.dtype)
    terms = (kept * probability.log()).sum((2, 3))  # (B, C)
    counts = kept.sum((2, 3))
    background = terms[:, 0] / counts[:, 0].clamp_min(LEAST)
    classes = terms[:, 1:].sum(1) / counts[:, 1:].sum(1).clamp_min(LEAST)
    return -(background.mean() + classes.mean())


def boundary_loss(probability: Tensor, refined_log: Tensor) -> Tensor:
    """Σ_c Q_c log(Q_c / P_c), the ratio clipped to [0.05, 20], mean over images and positions; Q = exp(`refined_log`).

    Args:
        probability: P, (B, C, h, w).
        refined_log: log Q, (B, C, h, w).
    """
    refined = refined_log.exp()
    return (refined * (refined / probability).clamp(*CLIP).log()).sum(1).mean()


def refined_with_gradient(probability: Tensor, refined_log: Tensor) -> Tensor:
    """log Q whose gradient reaches P as the published code's: ∂ log Q / ∂P := 1 − Q."""
    constant = refined_log.detach()
    return constant + (1 - constant.exp()) * (probability - probability.detach())


def dsrg_loss(
    logits: Tensor,
    seeds: Tensor,
    labels: Tensor,
    refine_of: Callable[[Tensor], Tensor],
    settings: DsrgSettings | None = None,
    inside: Tensor | None = None,
) -> DsrgLoss:
    """All of DSRG on a batch.

    Args:
        logits: (B, C, h, w), background first.
        seeds: (B, C, h, w) in {0, 1} before growing: they grow anew in each step.
        labels: (B, C) in {0, 1}; the background's is 1.
        refine_of: probabilities (B, C, h, w), without a graph → refined ones, such as `crf_of` makes.
        settings: published ones if None.
        inside: (B, h, w) bool, positions that belong to the image; None: all.
    """
    settings = settings or DsrgSettings()
    probability = probabilities(logits)
    refined = raise_least(refine_of(probability.detach()))  # Q
    grown_on = refined if settings.grow_on == "refined" else probability.detach()
    if inside is not None:
        grown_on = grown_on * inside[:, None]
    grown = grow_seeds(grown_on, seeds, labels, settings.foreground_threshold, settings.background_threshold)
    refined_log = refined.log()
    if settings.crf_gradient:
        refined_log = refined_with_gradient(probability, refined_log)
    seed, boundary = seed_loss(probability, grown), boundary_loss(probability, refined_log)
    return DsrgLoss(seed + settings.boundary_weight * boundary, seed, boundary, grown)


def crf_of(images: Tensor, log_energies: bool = False) -> Callable[[Tensor], Tensor]:
    """A function that refines probabilities by the dense CRF along the edges of their images.

    Args:
        images: (B, 3, h, w) in 0…255, at the size of the probabilities.
        log_energies: see `DsrgSettings`.

    Raises:
        DependencyError: pydensecrf2 is not installed; when called.
    """
    pixels = images.permute(0, 2, 3, 1).round().clamp(0, 255).to("cpu", torch.uint8).numpy()  # (B, h, w, 3)

    def refine_batch(probability: Tensor) -> Tensor:
        planes = probability.float().cpu().numpy()
        energies = -np.log(planes.clip(SMALLEST_PROBABILITY)) if log_energies else -planes
        refined = [infer(image, each.reshape(len(each), -1), CRF) for image, each in zip(pixels, energies, strict=True)]
        return torch.from_numpy(np.stack(refined)).to(probability)

    return refine_batch


def pamr_of(images: Tensor) -> Callable[[Tensor], Tensor]:
    """The same by PAMR, on the images' device."""
    return lambda probability: refine(images.float(), probability)
