"""Class maps of one image from a trained classifier: several scales and mirrored images in, maps at a quarter of the
size out."""

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
    """An image and its mirrored image (2, 3, H_i, W_i), or (1, …) without, at each scale, normalised, on the network's
    device.

    `max_side` reduces larger images before they are scaled; see `recam.preprocess.scaled_size`.
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
    """Weights (K, D) that maps are made with (eq. 9). Raises `RecipeError` for one that needs FC2 where there is
    none."""
    return network.weight_1 if weighting == "w" else combine_weights(network.weight_1, network.weight_2, weighting)


def weighted_maps(
    network: Classifier, images: Tensor, classes: Sequence[int], weightings: Sequence[Weighting]
) -> dict[Weighting, Tensor]:
    """Raw class maps (V, n, h, w) of normalised views (V, 3, H, W) of one image, for each weighting, from the same
    features."""
    features = network.backbone(images)  # (V, D, h, w)
    return {each: class_maps(features, weight_of(network, each)[list(classes)]) for each in weightings}


MapsOf = Callable[[Classifier, Tensor, Sequence[int], Sequence[Weighting]], dict[Weighting, Tensor]]
"""As `weighted_maps`: what a training gives in its place."""


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
    """Strided class maps of the given classes (eqs. 2 and 9), for each weighting from the same features.

    Args:
        network: in evaluation mode.
        image: (H, W, 3) uint8.
        class_indices: n classes, 0…K−1; none gives empty maps, and the network reads nothing.
        maps_of: raw maps of the views at one scale.
    """
    size = (image.shape[0], image.shape[1])
    indices, strided = np.asarray(class_indices, np.int64), strided_size(size)
    if not len(indices):
        return {weighting: SeedMaps(np.zeros((0, *strided), np.float32), indices, size) for weighting in weightings}
    pairs = view_pairs(network, image, scales, flip, max_side)
    read = [maps_of(network, views, indices.tolist(), weightings) for views in pairs]
    made = {each: normalise(fuse_views([views[each] for views in read], strided)) for each in weightings}
    return {each: SeedMaps(maps.float().cpu().numpy(), indices, size) for each, maps in made.items()}
