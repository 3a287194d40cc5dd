"""Pretrained networks for images of other bands than red, green and blue: the first convolution is adapted as timm does
for `in_chans`.

Weights of one band are the sum of those of the three; of more they repeat in turn, times 3 / bands, so that an image
that is grey in all bands gives what it gave (timm, `adapt_input_conv`). Mean and deviation follow the same turn; of one
band they are the average.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from timm.models import adapt_input_conv
from torch import Tensor, nn

from recam.data.reading import COLOURS
from recam.errors import RecipeError
from recam.models.probe import REFUSALS
from recam.preprocess import PerBand

PROBE = 64
"""Side of the image that shows which convolutions read it."""
Run = Callable[[Tensor], object]
"""The network on images (B, n, H, W)."""


def adapt_bands(network: nn.Module, channels: int, what: str, run: Run | None = None) -> None:
    """Have a network of images (B, 3, H, W) take (B, channels, H, W), in place; one that takes them already stays.

    Args:
        what: the network, as messages name it.
        run: how it is run; None: by calling it.

    Raises:
        RecipeError: it does not take them, and cannot be adapted.
    """
    run = run or network
    try:
        _try(network, run, channels)
        network.bands = channels  # type: ignore[assignment]
        return
    except REFUSALS as refused:
        reason: Exception = refused
    try:
        for convolution in _first_convolutions(network, run).values() if channels != COLOURS else ():
            _adapt(convolution, channels)
        _try(network, run, channels)
        network.bands = channels  # type: ignore[assignment]
    except REFUSALS as error:
        raise RecipeError(
            f"{what} cannot be brought to images of {channels} bands ({reason}). Choose another network, e.g. resnet50"
            " or tf_efficientnet_lite0, weights of as many bands, or other data.bands."
        ) from error


def bands_of(network: nn.Module) -> int:
    """n of the images (B, n, H, W) that a network of ours takes."""
    return int(getattr(network, "bands", COLOURS))


def match_bands(network: nn.Module, state: Mapping[str, Tensor], run: Run | None = None) -> None:
    """Bring the first convolution of a network of images (B, 3, H, W) to the bands of the weights that it is to be
    filled with, in place.

    Args:
        state: weights by name, dots of the names written as underscores.
        run: as of `adapt_bands`.
    """
    for name, convolution in _first_convolutions(network, run or network).items():
        found = state.get(f"{name}.weight".replace(".", "_"))
        if found is not None and found.ndim == 4:
            _adapt(convolution, found.shape[1])


def adapt_normalisation(values: PerBand, channels: int) -> PerBand:
    """Means, or deviations, of red, green and blue for so many bands."""
    if channels == 1:
        return (sum(values) / len(values),)
    return tuple(values[band % len(values)] for band in range(channels))


def _first_convolutions(network: nn.Module, run: Run) -> dict[str, nn.Conv2d]:
    """The convolutions that read the image, by name: those that meet three bands at its size or larger."""
    met: set[nn.Module] = set()

    def note(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if isinstance(inputs[0], Tensor) and min(inputs[0].shape[-2:]) >= PROBE:
            met.add(module)

    named = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and module.in_channels == COLOURS and module.groups == 1
    }
    hooks = [module.register_forward_pre_hook(note) for module in named.values()]
    try:
        _try(network, run, COLOURS)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: module for name, module in named.items() if module in met}


@torch.no_grad()
def _adapt(convolution: nn.Conv2d, channels: int) -> None:
    adapted = adapt_input_conv(channels, convolution.weight.detach())
    convolution.weight = nn.Parameter(adapted.contiguous(), requires_grad=convolution.weight.requires_grad)
    convolution.in_channels = channels


@torch.no_grad()
def _try(network: nn.Module, run: Run, channels: int) -> None:
    """Run the network on an empty image, in evaluation mode."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        run(torch.zeros(1, channels, PROBE, PROBE, device=next(network.parameters()).device))
    finally:
        for module, mode in modes.items():  # not `train`, which networks override
            module.training = mode
