"""Families of backbones by name: how their networks are made, which units they run, and how their output is laid out.

A single network of one's own is a function; its result maps images (B, 3, H, W) to features (B, D, h, w)::

    @backbones.register("mine")
    def make_mine(output_stride, dilate):
        return MyNetwork()

and ``backbone.name = "mine"`` names it. A family of networks is a subclass of `Family` with the names it takes,
registered as ``backbones.register("mine")(MyFamily())``. Other packages use the entry-point group ``recam.backbones``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import timm
from torch import Tensor, nn

from recam.errors import RecipeError, WeightsError, near_matches
from recam.models.probe import probe_features
from recam.models.weights import IMAGENET_MEAN, IMAGENET_STD, normalisation
from recam.preprocess import PerBand
from recam.registry import Registry

N_LEVELS = 5
"""Depths at which methods read features."""
HEAD_NAMES = ("global_pool", "pre_logits", "attn_pool", "fc_norm", "head", "head_drop", "head_dist", "fc", "classifier")
"""What timm calls the parts of a network after its features."""

Builder = Callable[[int, bool], nn.Module]


class Family:
    """Networks that are made and read alike, here those of timm; stateless, because copies of a backbone share it.

    Attributes:
        rank: of several families that take a name, the lowest has it; ours are 1, and 2 for all that is left of timm.
    """

    rank: ClassVar[int] = 0

    def takes(self, name: str) -> bool:
        """Whether the family makes the network of this name."""
        raise NotImplementedError

    def make(self, name: str, output_stride: int, dilate: bool) -> Any:
        """The network, random and without classifier. Raises `RecipeError` for a stride or dilation it cannot have."""
        raise NotImplementedError

    def normalisation(self, net: Any, name: str, weights: str) -> tuple[PerBand, PerBand]:
        """Mean and standard deviation that the weights expect, of images scaled to [0, 1]."""
        return normalisation(name, weights)

    def units(self, net: Any) -> tuple[list[str], list[int]]:
        """Names of the units in running order, and for each stage the number of units up to its end."""
        return list_units(net, [info["module"] for info in net.feature_info])

    def pad(self, net: Any, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) at a size that the network takes."""
        return images

    def as_map(self, net: Any, output: Tensor) -> Tensor:
        """What a unit returned as (B, D, h, w); some networks of timm run on (B, h, w, D)."""
        return output.permute(0, 3, 1, 2) if getattr(net, "output_fmt", "NCHW") == "NHWC" else output

    def features(self, net: Any, images: Tensor) -> Tensor:
        """Features (B, D, h, w) of padded images."""
        return self.as_map(net, net.forward_features(images))

    def levels(self, net: Any, images: Tensor) -> list[Tensor]:
        """Features (B, D_i, h_i, w_i) at several depths of a network that is no chain of units, of padded images; none
        where it gives none."""
        return []

    def probe(self, net: Any, name: str, images: Tensor) -> Tensor:
        """Features of images of one size, without a graph. Raises `RecipeError` where they are no feature map."""
        advice = "Choose a convolutional network, or a transformer of any image size, e.g. vit_tiny_patch16_224."
        problem = f"backbone {name!r} does not take images of any size"
        features = probe_features(lambda probe: self.features(net, self.pad(net, probe)), images, problem, advice)
        if not isinstance(features, Tensor) or features.ndim != 4:
            found = tuple(features.shape) if isinstance(features, Tensor) else f"{len(features)} outputs"
            raise RecipeError(f"backbone {name!r} gives {found}, not a feature map (B, D, h, w). {advice}")
        return features


@dataclass(frozen=True)
class OwnNetwork(Family):
    """The family of a single network that somebody registered; its units are its children.

    Attributes `mean` and `std` of the network normalise its images; without them ImageNet's do.
    """

    build: Builder

    def takes(self, name: str) -> bool:
        return True

    def make(self, name: str, output_stride: int, dilate: bool) -> Any:
        return self.build(output_stride, dilate)

    def normalisation(self, net: Any, name: str, weights: str) -> tuple[PerBand, PerBand]:
        return getattr(net, "mean", IMAGENET_MEAN), getattr(net, "std", IMAGENET_STD)

    def units(self, net: Any) -> tuple[list[str], list[int]]:
        names = [name for name, _ in net.named_children()]
        return names, list(range(1, len(names) + 1))

    def features(self, net: Any, images: Tensor) -> Tensor:
        found: Tensor = net(images)
        return found


backbones: Registry[Family | Builder] = Registry(
    "backbone",
    "recam.backbones",
    (
        "recam.models.backbones.convolutional",
        "recam.models.backbones.fixed_size",
        "recam.models.backbones.transformer",
    ),
)
"""Families, and single networks, by name."""


def family_of(name: str) -> Family:
    """The family that makes the network `name`.

    Raises:
        WeightsError: no family takes the name; with near matches.
    """
    if name in backbones and not isinstance(own := backbones[name], Family):
        return OwnNetwork(own)
    taking = [entry for entry in backbones.values() if isinstance(entry, Family) and entry.takes(name)]
    if taking:
        return min(taking, key=lambda family: family.rank)
    known = [key for key, entry in backbones.items() if not isinstance(entry, Family)] + timm.list_models()
    raise WeightsError(f"unknown backbone {name!r}.{near_matches(name, known, '`timm.list_models()`')}")


def list_units(net: Any, stage_modules: Sequence[str]) -> tuple[list[str], list[int]]:
    """Names of a timm network's units in running order, and for each stage the number of units up to its end."""
    containers = {module.split(".")[0] for module in stage_modules if "." in module}
    names: list[str] = []
    for child_name, child in net.named_children():
        if child_name in HEAD_NAMES:
            break
        inner = [f"{child_name}.{name}" for name, _ in child.named_children()]
        names += inner if child_name in containers else [child_name]
    # A plain sequence runs its blocks one after the other as well: freezing may stop between two of them.
    blocks = ((name, net.get_submodule(name)) for name in names)
    names = [
        each
        for name, unit in blocks
        for each in ([f"{name}.{part}" for part, _ in unit.named_children()] if type(unit) is nn.Sequential else [name])
    ]
    ends = []
    for module in stage_modules:
        within = [index for index, name in enumerate(names) if is_within(name, module) or is_within(module, name)]
        ends.append(max(within, default=len(names) - 1) + 1)
    ends[-1] = len(names)  # what follows the last stage (a final 1×1 convolution) belongs to it
    return names, ends


def is_within(name: str, group: str) -> bool:
    """Whether the module `name` is `group` or inside it."""
    return name == group or name.startswith(f"{group}.")
