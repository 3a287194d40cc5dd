"""A frozen pretrained network behind a refiner: that of the run's backbone, or another."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from recam.errors import RecamError
from recam.models.backbones import Backbone, BackboneSettings
from recam.models.hub import can_download
from recam.models.pretrained import find_weights
from recam.pipeline.refiner import Place, try_network
from recam.settings import Settings
from recam.training.augment import normalise_image, resize_image, scaled_size
from recam.types import Image


@dataclass(frozen=True)
class FrozenSettings(Settings):
    """Which network a refiner reads."""

    name: str = ""
    """Network whose features are read, as `backbone.name`; empty: the backbone, with its pretrained weights."""
    weights: str = "imagenet"
    """Its weights where it is named, as `backbone.weights`."""
    output_stride: Literal[8, 14, 16, 32] = 16
    """Its output stride where it is named, as `backbone.output_stride`."""

    def network(self, backbone: BackboneSettings) -> BackboneSettings:
        """The network that is read, no part of it trained."""
        if self.name:
            return BackboneSettings(self.name, self.weights, self.output_stride)
        return replace(backbone, freeze_until=0)


def make_frozen(settings: BackboneSettings, device: torch.device) -> Backbone:
    """The network in evaluation mode, without gradients, for RGB images."""
    network = settings.make().eval().requires_grad_(False)
    network.to(device).to(memory_format=torch.channels_last)
    return network


def as_view(network: Backbone, image: Image, max_side: int | None) -> Tensor:
    """An RGB image (H, W, 3) as the network reads it: (1, 3, H', W') on its device."""
    size = scaled_size((image.shape[0], image.shape[1]), 1.0, max_side)
    view = normalise_image(resize_image(image, size), network.mean, network.std)[None]
    return view.to(next(network.parameters()).device, memory_format=torch.channels_last)


def network_problems(own: FrozenSettings, section: str, place: Place) -> list[str]:
    """What stands in the way of a network that is named; that of the run is tried elsewhere."""
    if not own.name:
        return []
    try:
        try_network(BackboneSettings.make, replace(own.network(place.recipe.section(BackboneSettings)), weights="none"))
        tagged = find_weights(own.name, own.weights)
        if tagged and not can_download(tagged.name):
            return [
                f"{section}.weights = {own.weights!r}: {tagged.name} is not among the weights downloaded before, and"
                " the site that keeps them does not answer. Name a file."
            ]
    except RecamError as error:
        return [str(error)]
    return []
