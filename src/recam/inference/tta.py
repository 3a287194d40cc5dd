"""Test-time augmentation: a segmentation model applied at several scales and to the mirrored image, probabilities
averaged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from recam.data.large_photos import enlarge, working_copy
from recam.inference.settings import InferenceSettings
from recam.inference.windows import make_mask
from recam.labels import mask_value
from recam.models.saved import TrainedSegmenter
from recam.preprocess import Planes
from recam.training.augment import normalise_image, resize_image, scaled_size
from recam.types import Image, Mask


@torch.inference_mode()
def predict_probabilities(
    segmenter: TrainedSegmenter,
    image: Image,
    scales: Sequence[float] = (1.0,),
    flip: bool = True,
    max_side: int | None = None,
) -> Tensor:
    """Class probabilities of an image, background first where the network has one.

    Args:
        segmenter: the trained network.
        image: (H, W, 3) uint8.
        scales: test-time scales.
        flip: horizontal-flip TTA.
        max_side: larger images are first reduced to this longer side (pixels).

    Returns:
        (K+1, H, W) or (K, H, W) float32 on the CPU, summing to 1 over classes.
    """
    device = next(segmenter.network.parameters()).device
    size = (image.shape[0], image.shape[1])
    total = torch.zeros(len(segmenter.values), *size, device=device)
    for scale in scales:
        view = normalise_image(resize_image(image, scaled_size(size, scale, max_side)), segmenter.mean, segmenter.std)
        views = torch.stack([view, view.flip(-1)]) if flip else view[None]  # (2, 3, h, w)
        logits = segmenter.network(views.to(device, memory_format=torch.channels_last))  # (2, K+1, h, w)
        probabilities = logits.float().softmax(1)
        mean = (probabilities[0] + probabilities[1].flip(-1)) / 2 if flip else probabilities[0]  # (K+1, h, w)
        total += F.interpolate(mean[None], size, mode="bilinear", align_corners=False)[0]
    return (total / len(scales)).cpu()


def most_probable(probabilities: Tensor, background: bool = True) -> Mask:
    """(K+1, H, W) → (H, W) uint8 mask: plane 0 is the background, plane k class k−1; (K, H, W) without a background."""
    mask: NDArray[np.uint8] = probabilities.argmax(0).to(torch.uint8).numpy()
    return mask if background else mask + mask_value(0)


def segment_part(segmenter: TrainedSegmenter, image: Image, settings: InferenceSettings) -> Planes:
    """`predict_probabilities` of an image, or of a window of it, which is read at its own size."""
    max_side = None if settings.window else settings.max_side
    probabilities: Planes = predict_probabilities(segmenter, image, settings.scales, settings.flip, max_side).numpy()
    return probabilities


def predict_mask(segmenter: TrainedSegmenter, image: Image, settings: InferenceSettings) -> Mask:
    """The (H, W) uint8 mask of an image (H, W, 3): 0 background, k class k−1, 255 where it holds no data."""
    copy = image if settings.slides_over(image) else working_copy(image, settings.max_side)
    planes = make_mask(copy, lambda part: segment_part(segmenter, part, settings), settings).planes
    mask = segmenter.values[planes]
    return settings.ignore(image, mask if copy is image else enlarge(mask, (image.shape[0], image.shape[1])))
