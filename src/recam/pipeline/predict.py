"""Asking a segmentation model for the mask of an image: several scales and the mirror image, probabilities averaged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from recam.data.large_photos import enlarge, working_copy
from recam.data.transforms import normalise_image, resize_image, scaled_size
from recam.data.views import Planes
from recam.errors import RecipeError
from recam.pipeline.recipe import Recipe
from recam.pipeline.trained import TrainedSegmenter
from recam.pipeline.windows import Asking, Refinement, make_mask
from recam.types import Image, Mask


@torch.inference_mode()
def predict_probabilities(
    segmenter: TrainedSegmenter, image: Image, scales: Sequence[float] = (1.0,), flip: bool = True, max_side: int | None = None
) -> Tensor:
    """Class probabilities of an image, background first.

    Args:
        segmenter: the trained network.
        image: (H, W, 3) uint8.
        scales: factors at which it is seen.
        flip: see the mirror image as well.
        max_side: larger images are first reduced to this longer side (pixels).

    Returns:
        (K+1, H, W) float32 on the CPU, summing to 1 over classes.
    """
    device = next(segmenter.network.parameters()).device
    size = (image.shape[0], image.shape[1])
    total = torch.zeros(len(segmenter.classes) + 1, *size, device=device)
    for scale in scales:
        view = normalise_image(resize_image(image, scaled_size(size, scale, max_side)), segmenter.mean, segmenter.std)
        views = torch.stack([view, view.flip(-1)]) if flip else view[None]  # (2, 3, h, w)
        logits = segmenter.network(views.to(device, memory_format=torch.channels_last))  # (2, K+1, h, w)
        probabilities = logits.float().softmax(1)
        mean = (probabilities[0] + probabilities[1].flip(-1)) / 2 if flip else probabilities[0]  # (K+1, h, w)
        total += F.interpolate(mean[None], size, mode="bilinear", align_corners=False)[0]
    return (total / len(scales)).cpu()


def most_probable(probabilities: Tensor) -> Mask:
    """(K+1, H, W) → (H, W) uint8 mask: plane 0 is the background, plane k class k−1."""
    mask: NDArray[np.uint8] = probabilities.argmax(0).to(torch.uint8).numpy()
    return mask


def asking_of(
    recipe: Recipe,
    segmenting: bool = True,
    scales: Sequence[float] | None = None,
    flip: bool | None = None,
    window: int | None = None,
    refine: Refinement | None = None,
) -> Asking:
    """A run's own way of asking its models, or what is given instead.

    Args:
        recipe: the run's settings.
        segmenting: whether a segmentation model is asked, or the classifier for its class maps.
        scales, flip, refine: None takes the recipe's.
        window: 0 for none; None takes the recipe's.

    Raises:
        RecipeError: a window for class maps; or as `Asking` does.
    """
    own = recipe.predict if segmenting else recipe.seeds
    if window and not segmenting:
        raise RecipeError("a sliding window needs a segmentation model, which this run has not: leave the window.")
    return Asking(
        scales=tuple(own.scales if scales is None else scales),
        flip=own.flip if flip is None else flip,
        max_side=recipe.data.max_side,
        window=(recipe.predict.window if window is None else window or None) if segmenting else None,
        overlap=recipe.predict.overlap,
        refine=recipe.predict.refine if refine is None else refine,
    )


def ask_segmenter(segmenter: TrainedSegmenter, image: Image, asking: Asking) -> Planes:
    """`predict_probabilities` of an image, or of a window of it, which is seen at its own size."""
    max_side = None if asking.window else asking.max_side
    probabilities: Planes = predict_probabilities(segmenter, image, asking.scales, asking.flip, max_side).numpy()
    return probabilities


def predict_mask(segmenter: TrainedSegmenter, image: Image, asking: Asking) -> Mask:
    """The (H, W) uint8 mask of an image (H, W, 3): 0 background, k class k−1."""
    copy = image if asking.slides_over(image) else working_copy(image, asking.max_side)
    mask = make_mask(copy, lambda part: ask_segmenter(segmenter, part, asking), asking).planes
    return mask if copy is image else enlarge(mask, (image.shape[0], image.shape[1]))
