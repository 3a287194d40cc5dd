"""Class maps of one image from a trained classifier: several scales and mirror images in, stored seeds out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from recam.methods.cam import make_cams, strided_size
from recam.methods.recam import Weighting, combine_weights
from recam.models.classifier import Classifier
from recam.training.augment import normalise_image, resize_image, scaled_size
from recam.types import Image, SeedMaps


def view_pairs(classifier: Classifier, image: Image, scales: Sequence[float], flip: bool, max_side: int | None = None) -> list[Tensor]:
    """An image and its mirror image (2, 3, H_i, W_i), or (1, …) without, at each scale, normalised, on the classifier's device.

    `max_side` reduces larger images before they are scaled; see `recam.training.augment.scaled_size`.
    """
    device, backbone = classifier.fc1.weight.device, classifier.backbone
    pairs = []
    for scale in scales:
        size = scaled_size((image.shape[0], image.shape[1]), scale, max_side)
        view = normalise_image(resize_image(image, size), backbone.mean, backbone.std)
        views = torch.stack([view, view.flip(-1)]) if flip else view[None]  # (2, 3, H_i, W_i)
        pairs.append(views.to(device, memory_format=torch.channels_last))
    return pairs


@torch.inference_mode()
def encode_scales(classifier: Classifier, image: Image, scales: Sequence[float], flip: bool, max_side: int | None = None) -> list[Tensor]:
    """Features (2, D, h_i, w_i) of an image and its mirror image (or (1, …) without) at each scale; arguments as of `view_pairs`."""
    return [classifier.backbone(views) for views in view_pairs(classifier, image, scales, flip, max_side)]


def weight_of(classifier: Classifier, weighting: Weighting) -> Tensor:
    """Weights (K, D) that maps are made with (eq. 9). Raises `RecipeError` for one that needs FC2 where there is none."""
    return classifier.weight_1 if weighting == "w" else combine_weights(classifier.weight_1, classifier.weight_2, weighting)


@torch.inference_mode()
def make_seeds(
    classifier: Classifier,
    image: Image,
    class_indices: Sequence[int],
    weightings: Sequence[Weighting],
    scales: Sequence[float],
    flip: bool,
    max_side: int | None = None,
) -> dict[Weighting, SeedMaps]:
    """Strided class maps of the given classes, for each weighting of eq. 9 from the same features.

    Args:
        classifier: in evaluation mode; weightings other than ``w`` need FC2.
        image: (H, W, 3) uint8.
        class_indices: n classes, 0…K−1; none gives empty maps, without asking the network.
    """
    size = (image.shape[0], image.shape[1])
    indices = np.asarray(class_indices, np.int64)
    if not len(indices):
        return {weighting: SeedMaps(np.zeros((0, *strided_size(size)), np.float32), indices, size) for weighting in weightings}
    features = encode_scales(classifier, image, scales, flip, max_side)
    return {weighting: SeedMaps(_maps(classifier, features, weighting, indices, size), indices, size) for weighting in weightings}


def _maps(
    classifier: Classifier, features: Sequence[Tensor], weighting: Weighting, indices: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    maps: np.ndarray = make_cams(features, weight_of(classifier, weighting), indices, size).float().cpu().numpy()
    return maps
