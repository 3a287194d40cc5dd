"""Convolutional networks of timm, brought to an output stride as published: the last strides removed, no dilation.

Source: ReCAM section 5.1 and the IRN code that it follows: ResNet-50 with strides (2, 2, 2, 1). Networks whose stride
timm cannot set get theirs removed here, where that is enough. Every name of timm that no other family takes comes here;
a network that is no feature map of images of any size is refused when it is first run.
"""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import nn

from recam.errors import RecipeError
from recam.models.backbones.family import Family, backbones

STRIDES = (8, 16, 32)


class Convolutional(Family):
    """Convolutional networks of timm."""

    rank = 2

    def takes(self, name: str) -> bool:
        return bool(timm.is_model(name))

    def make(self, name: str, output_stride: int, dilate: bool) -> Any:
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
            return self._remove_strides(timm.create_model(name, pretrained=False, num_classes=0), name, output_stride)
        if not dilate:
            for module in net.modules():
                if isinstance(module, nn.Conv2d) and module.dilation != (1, 1):
                    if isinstance(module.padding, tuple):
                        module.padding = tuple(p // d for p, d in zip(module.padding, module.dilation, strict=True))
                    module.dilation = (1, 1)
        return net

    def _remove_strides(self, net: Any, name: str, output_stride: int) -> Any:
        """Set strides after `output_stride` to 1, for networks to which timm does not do it itself."""
        names, ends = self.units(net)
        kept = [end for end, info in zip(ends, net.feature_info, strict=True) if info["reduction"] <= output_stride]
        for unit in names[max(kept, default=0) :]:
            for module in net.get_submodule(unit).modules():
                if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d) and module.stride in (2, (2, 2)):
                    if isinstance(module, nn.Conv2d):
                        module.stride = (1, 1)
                    else:  # a pool without its stride would only shift the map by half a pixel
                        module.kernel_size, module.stride = 1, 1
        if self.probe(net.eval(), name, torch.zeros(1, 3, 64, 64)).shape[-1] != 64 // output_stride:
            raise RecipeError(
                f"backbone {name!r} cannot be brought to output stride {output_stride}. Choose another convolutional"
                " network."
            )
        return net


backbones.register("convolutional")(Convolutional())
