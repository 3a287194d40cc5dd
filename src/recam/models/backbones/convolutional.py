"""Convolutional networks of timm, brought to an output stride as published: the last strides removed, no dilation.

Source: ReCAM section 5.1 and the IRN code that it follows: ResNet-50 with strides (2, 2, 2, 1). Networks whose stride
timm cannot set get theirs removed here, where that is enough. Every name of timm that no other family takes comes here;
a network that is no feature map of images of any size is refused when it is first run.
"""

from __future__ import annotations

from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recam.errors import RecipeError
from recam.models.backbones.family import N_LEVELS, Family, backbones, is_within
from recam.models.backbones.partitions import free_partitions

STRIDES = (8, 16, 32)
MULTIPLES = {"dla": 32, "hrnet": 32, "maxxvit": 32}
"""Multiples that the sides of images are padded to (right and bottom, with 0), by module of timm: branches of these
would not fit each other."""


class Convolutional(Family):
    """Convolutional networks of timm."""

    rank = 2

    def takes(self, name: str) -> bool:
        return bool(timm.is_model(name))

    def make(self, name: str, output_stride: int, dilate: bool) -> Any:
        net = self._make(name, output_stride, dilate)
        net.size_multiple = MULTIPLES.get(timm.model_entrypoint(name).__module__.rpartition(".")[2], 1)
        return net

    def units(self, net: Any) -> tuple[list[str], list[int]]:
        names, ends = super().units(net)
        first = net.feature_info[0]["module"]
        stem = next((index for index, name in enumerate(names) if is_within(name, first)), 0)
        # timm counts no stem for ConvNeXt and its like; here it is the first of five stages, as of all others.
        return names, [stem, *ends] if len(set(ends)) == N_LEVELS - 1 and stem else ends

    def pad(self, net: Any, images: Tensor) -> Tensor:
        if net.size_multiple == 1:
            return images
        height, width = images.shape[-2:]
        return F.pad(images, (0, -width % net.size_multiple, 0, -height % net.size_multiple))

    def _make(self, name: str, output_stride: int, dilate: bool) -> Any:
        if output_stride not in STRIDES:
            raise RecipeError(
                f"output_stride={output_stride}: choose 16 (published), 8 (finer, four times the cost) or 32."
            )
        try:
            net = timm.create_model(name, pretrained=False, num_classes=0, output_stride=output_stride)
        except (TypeError, NotImplementedError, AssertionError) as error:
            if dilate:
                raise RecipeError(
                    f"backbone {name!r} takes no dilation in timm ({error}). Set backbone.dilate = false."
                ) from error
            net = timm.create_model(name, pretrained=False, num_classes=0)
            free_partitions(net)
            return self._remove_strides(net, name, output_stride)
        if not dilate:
            for module in net.modules():
                if isinstance(module, nn.Conv2d) and module.dilation != (1, 1):
                    if isinstance(module.padding, tuple):
                        module.padding = tuple(p // d for p, d in zip(module.padding, module.dilation, strict=True))
                    module.dilation = (1, 1)
        return net

    def _remove_strides(self, net: Any, name: str, output_stride: int) -> Any:
        """Set strides after `output_stride` to 1, for networks to which timm does not do it itself."""
        names, ends = super().units(net)
        kept = [end for end, info in zip(ends, net.feature_info, strict=True) if info["reduction"] <= output_stride]
        for unit in names[max(kept, default=0) :]:
            for module in net.get_submodule(unit).modules():
                if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d) and module.stride in (2, (2, 2)):
                    if isinstance(module, nn.Conv2d):
                        module.stride = (1, 1)
                    else:  # a pool without its stride would only shift the map by half a pixel
                        module.kernel_size = module.stride = (1, 1)
        net.size_multiple = 1  # the probe's size is a multiple of every stride
        if self.probe(net.eval(), name, torch.zeros(1, 3, 64, 64)).shape[-1] != 64 // output_stride:
            raise RecipeError(
                f"backbone {name!r} cannot be brought to output stride {output_stride}. Choose another convolutional"
                " network."
            )
        return net


backbones.register("convolutional")(Convolutional())
