"""Dense conditional random field: Krähenbühl & Koltun, NeurIPS 2011; and IRN's confident labels made with it (Ahn et
al., CVPR 2019).

Every pixel is tied to every other: strongly to near ones (Gaussian term), and to those near in place and colour
(bilateral term). The inference is theirs, through the optional package ``pydensecrf2``; without it `recam.methods.pamr`
refines maps in pure PyTorch.

Followed: the published settings of IRN for label maps (`LabelCrfSettings`) and of DeepLabV2 for probabilities
(`CrfSettings`).

Letters: L labels, n class maps, H×W image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from recam.errors import DataError, DependencyError, RecipeError
from recam.labels import BACKGROUND, IGNORE, check_class_indices, mask_values
from recam.methods.arguments import check_image
from recam.methods.cam import read_full
from recam.methods.refine import check_threshold, one_plane_a_class, with_background, without_background
from recam.preprocess import rgb_of
from recam.settings import Settings
from recam.types import Image, Maps, Mask, SeedMaps, check_maps

SMALLEST_PROBABILITY = 1e-5
"""Probabilities are not taken to be less, so that no energy is infinite."""


@dataclass(frozen=True)
class CrfSettings(Settings):
    """The pairwise terms; the defaults are DeepLabV2's for the probabilities of a segmentation network."""

    iterations: int = 10
    """Mean-field steps."""
    gaussian_sxy: float = 1
    """Standard deviation of the Gaussian term, pixels."""
    gaussian_weight: float = 3
    """Weight of the Gaussian term."""
    bilateral_sxy: float = 67
    """Standard deviation of the bilateral term in place, pixels."""
    bilateral_srgb: float = 3
    """Its standard deviation in colour, in levels of 0…255."""
    bilateral_weight: float = 4
    """Weight of the bilateral term."""

    def __post_init__(self) -> None:
        problems = []
        if self.iterations < 1:
            problems.append(f"iterations must be at least 1, got {self.iterations}")
        for name in ("gaussian_sxy", "bilateral_sxy", "bilateral_srgb"):
            if not 0 < getattr(self, name) < float("inf"):
                problems.append(f"{name} is a standard deviation and must be above 0, got {getattr(self, name)}")
        for name in ("gaussian_weight", "bilateral_weight"):
            if not 0 <= getattr(self, name) < float("inf"):
                problems.append(f"{name} must be a finite number ≥ 0, got {getattr(self, name)}")
        if problems:
            raise RecipeError(f"dense CRF: {'; '.join(problems)}.")


@dataclass(frozen=True)
class LabelCrfSettings(CrfSettings):
    """The pairwise terms for label maps; the defaults are IRN's."""

    gaussian_sxy: float = 3
    bilateral_sxy: float = 50
    bilateral_srgb: float = 5
    bilateral_weight: float = 10
    gt_prob: float = 0.7
    """Probability of the label that a pixel comes with, above that of the others; they share the rest."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.gt_prob < 1:
            raise RecipeError(f"dense CRF: gt_prob is a probability between 0 and 1, got {self.gt_prob}.")


def crf_labels(
    image: Image, labels: NDArray[np.integer], n_labels: int, settings: LabelCrfSettings | None = None
) -> NDArray[np.uint8]:
    """A label map cleaned along the edges of its image.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) with values 0…n_labels − 1; 255 is unknown: all labels are equally likely there.
        n_labels: L.
        settings: IRN's if None.

    Returns:
        (H, W) uint8 labels 0…L − 1; never 255.

    Raises:
        DependencyError: pydensecrf2 is not installed.
        DataError: no (H, W, 3) uint8 image, image and labels of different sizes, or labels that are not integers in
            range.
    """
    settings = settings or LabelCrfSettings()
    check_image(image)
    if labels.dtype.kind not in "iu" or n_labels < 1:
        raise DataError(
            f"labels are {labels.dtype}, n_labels = {n_labels}: labels are integers 0…n_labels - 1, of at least one"
            " label."
        )
    if labels.shape != image.shape[:2]:
        raise DataError(
            f"an image of {image.shape[:2]} with labels of {labels.shape}: bring the labels to the size of the image."
        )
    known = labels != IGNORE
    if known.any() and not 0 <= labels[known].min() <= labels[known].max() < n_labels:
        raise DataError(
            f"labels {labels[known].min()}…{labels[known].max()}, but with n_labels = {n_labels} a value is"
            f" 0…{n_labels - 1} or 255."
        )
    if n_labels == 1:
        return np.zeros(labels.shape, np.uint8)
    unary = np.full((n_labels, labels.size), -np.log((1 - settings.gt_prob) / (n_labels - 1)), np.float32)  # (L, H·W)
    flat, pixels = labels.ravel(), np.arange(labels.size)
    unary[flat[known.ravel()], pixels[known.ravel()]] = -np.log(settings.gt_prob)
    unary[:, ~known.ravel()] = np.log(n_labels)
    refined: NDArray[np.uint8] = infer(image, unary, settings).argmax(0).astype(np.uint8)  # (H, W)
    return refined


def crf_probabilities(image: Image, probabilities: Maps, settings: CrfSettings | None = None) -> Maps:
    """Label probabilities refined along the edges of their image: (L, H, W) → (L, H, W), in [0, 1], summing to 1 over
    labels.

    Args:
        image: (H, W, 3) uint8 RGB.
        probabilities: (L, H, W) in [0, 1], of a softmax; class maps need a background plane first.
        settings: DeepLabV2's if None.

    Raises:
        DependencyError: pydensecrf2 is not installed.
        DataError: no (H, W, 3) uint8 image, image and probabilities of different sizes, or values outside [0, 1].
    """
    check_image(image)
    if probabilities.ndim != 3 or probabilities.shape[1:] != image.shape[:2]:
        raise DataError(
            f"an image of {image.shape[:2]} with probabilities of {probabilities.shape}: they must be (L, H, W) of its"
            " size."
        )
    if not (probabilities.size and 0 <= probabilities.min() <= probabilities.max() <= 1 + SMALLEST_PROBABILITY):
        raise DataError(
            "probabilities must be in [0, 1], at least one plane of them: pass a softmax's output, not logits."
        )
    if len(probabilities) == 1:
        return np.ones_like(probabilities, np.float32)
    unary = -np.log(np.clip(probabilities, SMALLEST_PROBABILITY, 1).astype(np.float32, copy=False))  # (L, H, W)
    return infer(image, unary.reshape(len(unary), -1), settings or CrfSettings())


def confident_labels(
    image: Image,
    cams: Maps,
    class_indices: Sequence[int] | NDArray[np.integer],
    foreground_threshold: float = 0.35,
    background_threshold: float | None = 0.10,
    settings: LabelCrfSettings | None = None,
) -> Mask:
    """The labels that IRN learns from: confident foreground, confident background, and 255 between them.

    Two seed masks, one at a high and one at a low threshold, each cleaned by the CRF. A pixel has the class of the
    first; it is background where both give background, and 255 elsewhere.

    Args:
        image: (H, W, 3) uint8 RGB.
        cams: (n, H, W) class maps in [0, 1].
        class_indices: (n,) the class of each, 0…K−1.
        foreground_threshold: a pixel above it may be confident foreground; published 0.35 for ReCAM on VOC, 0.30 for
            CAM.
        background_threshold: a pixel up to it may be confident background; published 0.10 for ReCAM on VOC, 0.05 for
            CAM. None (ours): there is no background; a pixel not above the other one is 255.
        settings: IRN's if None.

    Returns:
        (H, W) uint8: 0, mask values of classes, 255. All 0 without any map, 255 where there is no background.

    Raises:
        DependencyError: pydensecrf2 is not installed.
        DataError: no (H, W, 3) uint8 image, maps of another size, outside [0, 1] or not finite; class indices that are
            none.
        RecipeError: a background threshold above that of the foreground, or one outside [0, 1].
    """
    check_threshold(foreground_threshold, "foreground")
    check_threshold(background_threshold, "background")
    check_image(image)
    check_class_indices(class_indices)
    if background_threshold is not None and background_threshold > foreground_threshold:
        raise RecipeError(
            f"background_threshold {background_threshold} is above foreground_threshold {foreground_threshold}: "
            "a pixel would be confident background and foreground. Exchange them."
        )
    if cams.shape != (len(class_indices), *image.shape[:2]):
        raise DataError(
            f"an image of {image.shape[:2]} and {len(class_indices)} classes with maps of {cams.shape}: bring them to"
            " (n, H, W)."
        )
    check_maps(cams)
    if background_threshold is None:
        return _confident_classes(image, cams, class_indices, foreground_threshold, settings)
    confident, possible = (
        crf_labels(
            image,
            np.concatenate([np.full((1, *image.shape[:2]), threshold, np.float32), cams]).argmax(0),
            len(cams) + 1,
            settings,
        )
        for threshold in (foreground_threshold, background_threshold)
    )  # (H, W) planes, 0 = background
    labels: Mask = mask_values(class_indices)[confident]
    labels[(confident == BACKGROUND) & (possible != BACKGROUND)] = IGNORE
    return labels


def _confident_classes(
    image: Image,
    cams: Maps,
    class_indices: Sequence[int] | NDArray[np.integer],
    threshold: float,
    settings: LabelCrfSettings | None,
) -> Mask:
    """`confident_labels` without a background: the largest map where it exceeds the threshold, cleaned by the CRF."""
    ignored = cams.max(0, initial=0) <= threshold  # (H, W)
    if not len(cams):
        return np.full(ignored.shape, IGNORE, np.uint8)
    planes = np.where(ignored, IGNORE, cams.argmax(0))
    values = mask_values(class_indices)[1:]
    cleaned = values[crf_labels(image, planes, len(cams), settings)]
    return np.where(ignored, np.uint8(IGNORE), cleaned)


@dataclass(frozen=True)
class CrfRefiner:
    """Class maps refined by the CRF, at full size; threshold the result at 0.5.

    Attributes:
        threshold: background plane of the maps that come in; published best thresholds of seeds are 0.15 (CAM) and 0.21
            (ReCAM). None: there is no background, the largest of what comes out counts.
        on: what the CRF reads: ``"labels"``, the mask at the threshold; ``"probabilities"``, the maps beside the
            background plane.
        label_settings: for labels; IRN's.
        settings: for probabilities; DeepLabV2's.

    Raises:
        DependencyError: when called without pydensecrf2.
    """

    threshold: float | None = 0.21
    on: Literal["labels", "probabilities"] = "labels"
    label_settings: LabelCrfSettings = field(default_factory=LabelCrfSettings)
    settings: CrfSettings = field(default_factory=CrfSettings)

    def __post_init__(self) -> None:
        check_threshold(self.threshold, "dense CRF")

    def __call__(self, image: Image, seed: SeedMaps) -> SeedMaps:
        if not len(seed.maps):
            return seed
        planes = with_background(read_full(seed), self.threshold)  # (n + 1, H, W), or (n, H, W) without a background
        if self.on == "labels":
            labels = crf_labels(rgb_of(image), planes.argmax(0), len(planes), self.label_settings)  # (H, W)
            maps = one_plane_a_class(labels, len(seed.maps), len(planes) - len(seed.maps))
        else:
            refined = crf_probabilities(rgb_of(image), planes, self.settings)
            maps = refined if self.threshold is None else without_background(refined)
        return SeedMaps(maps, seed.class_indices, seed.size, seed.ignore)


def infer(image: Image, unary: NDArray[np.float32], settings: CrfSettings) -> Maps:
    """Mean-field inference: energies (L, H·W) → probabilities (L, H, W) of an image (H, W, 3). Raises
    `DependencyError` without pydensecrf2."""
    densecrf = require_densecrf()
    height, width = image.shape[:2]
    field = densecrf.DenseCRF2D(width, height, len(unary))
    field.setUnaryEnergy(np.ascontiguousarray(unary))
    field.addPairwiseGaussian(sxy=settings.gaussian_sxy, compat=settings.gaussian_weight)
    field.addPairwiseBilateral(
        sxy=settings.bilateral_sxy,
        srgb=settings.bilateral_srgb,
        rgbim=_own_rgb(image),
        compat=settings.bilateral_weight,
    )
    return np.array(field.inference(settings.iterations), np.float32).reshape(len(unary), height, width)


def _own_rgb(image: Image) -> Image:
    """A contiguous image that owns its memory: pydensecrf takes no read-only buffer, as images decoded by other
    libraries may be."""
    return np.array(image, order="C")


def require_densecrf() -> ModuleType:
    """The inference module of pydensecrf2. Raises `DependencyError`, which names the extra and the way out, where it is
    not installed."""
    try:
        return import_module("pydensecrf.densecrf")
    except ImportError as error:
        raise DependencyError(
            "a dense CRF needs the package pydensecrf2, which a C++ compiler builds at install: pip install"
            " 'recam[crf]'. "
            "Where that is not possible, refine with PAMR ('pamr'): it needs nothing but PyTorch."
        ) from error
