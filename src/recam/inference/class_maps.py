"""Class maps of one image from a trained classifier, at several scales and flipped, fused to maps at a quarter of the
image's size."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from recam.methods.cam import class_maps, fuse_views, normalise, strided_size
from recam.methods.recam import Weighting, combine_weights
from recam.models.classifier import Classifier
from recam.training.augment import normalise_image, resize_image, scaled_size
from recam.types import Image, SeedMaps


def view_pairs(
    network: Classifier, image: Image, scales: Sequence[float], flip: bool, max_side: int | None = None
) -> list[Tensor]:
    """The image and its mirrored image at each scale, normalised, on the network's device.

    Args:
        image: (H, W, 3) uint8.
        scales: test-time scales.
        flip: False leaves the mirrored image out.
        max_side: larger images are reduced to this longer side (pixels) before they are scaled.

    Returns:
        for each scale (2, 3, H_i, W_i), or (1, …) without the mirrored image.
    """
    device, backbone = network.fc1.weight.device, network.backbone
    pairs = []
    for scale in scales:
        size = scaled_size((image.shape[0], image.shape[1]), scale, max_side)
        view = normalise_image(resize_image(image, size), backbone.mean, backbone.std)
        views = torch.stack([view, view.flip(-1)]) if flip else view[None]  # (2, 3, H_i, W_i)
        pairs.append(views.to(device, memory_format=torch.channels_last))
    return pairs


def weight_of(network: Classifier, weighting: Weighting) -> Tensor:
    """Weights (K, D) that maps are made with (eq. 9). Raises `RecipeError` for a weighting that needs FC2 where the
    network has none."""
    return network.weight_1 if weighting == "w" else combine_weights(network.weight_1, network.weight_2, weighting)


def weighted_maps(
    network: Classifier, images: Tensor, classes: Sequence[int], weightings: Sequence[Weighting]
) -> dict[Weighting, Tensor]:
    """Raw class maps of one image for each weighting, from the same features (eqs. 2 and 9).

    Args:
        images: (V, 3, H, W) normalised views of the image.
        classes: n classes, 0…K−1.

    Returns:
        by weighting (V, n, h, w).
    """
    features = network.backbone(images)  # (V, D, h, w)
    return {each: class_maps(features, weight_of(network, each)[list(classes)]) for each in weightings}


MapsOf = Callable[[Classifier, Tensor, Sequence[int], Sequence[Weighting]], dict[Weighting, Tensor]]
"""As `weighted_maps`, which a training may replace by maps of its own."""


@torch.inference_mode()
def make_class_maps(
    network: Classifier,
    image: Image,
    class_indices: Sequence[int],
    weightings: Sequence[Weighting],
    scales: Sequence[float],
    flip: bool,
    max_side: int | None = None,
    maps_of: MapsOf = weighted_maps,
) -> dict[Weighting, SeedMaps]:
    """Class maps of one image for each weighting, summed over scales and flips, at a quarter of its size.

    Args:
        network: in evaluation mode.
        image: (H, W, 3) uint8.
        class_indices: n classes, 0…K−1; for none the maps are empty, and the network is not run.
        scales, flip, max_side: see `view_pairs`.
        maps_of: makes the raw maps of the views at one scale.

    Returns:
        by weighting, maps (n, ⌈H/4⌉, ⌈W/4⌉) in [0, 1], the maximum of each at 1.
    """
    size = (image.shape[0], image.shape[1])
    indices, strided = np.asarray(class_indices, np.int64), strided_size(size)
    if not len(indices):
        return {weighting: SeedMaps(np.zeros((0, *strided), np.float32), indices, size) for weighting in weightings}
    pairs = view_pairs(network, image, scales, flip, max_side)
    read = [maps_of(network, views, indices.tolist(), weightings) for views in pairs]
    made = {each: normalise(fuse_views([views[each] for views in read], strided)) for each in weightings}
    return {each: SeedMaps(maps.float().cpu().numpy(), indices, size) for each, maps in made.items()}
