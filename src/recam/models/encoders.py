"""Encoders of segmentation networks by name: segmentation-models-pytorch's own, and every timm model as ``tu-NAME``."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from recam.data.reading import COLOURS
from recam.errors import RecipeError, WeightsError, near_matches
from recam.models.backbones.transformer import WINDOWS, options_taken
from recam.models.bands import adapt_normalisation, match_bands
from recam.models.hub import can_download
from recam.models.weights import IMAGENET_MEAN, IMAGENET_STD, normalisation, read_state
from recam.preprocess import PerBand

TIMM_PREFIX = "tu-"
WITHOUT_NETWORK = (
    "Without network: give a local file as weights, take encoder 'tu-tf_efficientnet_lite0' with weights 'bundled', or"
    " train from weights 'none'."
)


def encoder_normalisation(encoder: str, weights: str, channels: int = COLOURS) -> tuple[PerBand, PerBand]:
    """Per-channel (mean, std) of images in [0, 1] that the encoder's weights were trained with.

    Those of timm's models are known. segmentation-models-pytorch keeps its own encoders' on its download site; here
    they have ImageNet's, which is right for all that take an output stride except the DPN family: take timm's there
    (``tu-dpn68``). Other bands than three follow as the first convolution does, see `recam.models.bands`.
    """
    if encoder.startswith(TIMM_PREFIX):
        mean, std = normalisation(encoder.removeprefix(TIMM_PREFIX), weights)
    else:
        check_encoder(encoder)
        mean, std = IMAGENET_MEAN, IMAGENET_STD
    return adapt_normalisation(mean, channels), adapt_normalisation(std, channels)


def check_encoder(encoder: str) -> None:
    """Refuse a name that neither segmentation-models-pytorch nor timm knows."""
    import timm
    from segmentation_models_pytorch.encoders import encoders as native

    if encoder in native:
        return
    name = encoder.removeprefix(TIMM_PREFIX)
    if timm.is_model(name):
        if encoder.startswith(TIMM_PREFIX):
            return
        raise RecipeError(f"unknown encoder {encoder!r}; timm's model of this name is {TIMM_PREFIX + name!r}.")
    known = [TIMM_PREFIX + model for model in timm.list_models()] if encoder.startswith(TIMM_PREFIX) else native
    close = difflib.get_close_matches(encoder, known)
    hint = near_matches(encoder, close) if close else f" Any timm model is named {TIMM_PREFIX}NAME, e.g. tu-resnet50."
    raise RecipeError(f"unknown encoder {encoder!r}.{hint}")


def load_encoder(encoder: nn.Module, name: str, weights: str) -> None:
    """Fill the encoder `name` with `weights`, and bring its first convolution to their bands; raises `WeightsError`
    where one of its tensors is missing."""
    if weights == "none":
        return
    state = (
        read_state(name.removeprefix(TIMM_PREFIX), weights)
        if _is_read_by_us(name, weights)
        else _download(name, weights)
    )
    # timm's feature extractors flatten the top of the module tree ("stages.0.x" → "stages_0.x"): compare names without
    # the dots. A classifier's tensors are left over, and counters of batches, which no arithmetic reads, may be
    # missing.
    found = {key.replace(".", "_"): tensor for key, tensor in state.items()}
    target = encoder.get_submodule("model") if name.startswith(TIMM_PREFIX) else encoder
    wanted, wrong = _compare(target, found)
    if wrong and all(wanted[key].ndim == 4 and key.replace(".", "_") in found for key in wrong):
        match_bands(target, found)
        wanted, wrong = _compare(target, found)
    if wrong:
        raise WeightsError(
            f"{len(wrong)} of {len(wanted)} tensors of the encoder {name!r} are missing in the weights {weights!r} or"
            " have another shape"
            f" (first: {wrong[0]!r}). Give weights made for this encoder."
        )
    with torch.no_grad():
        for key, tensor in wanted.items():
            tensor.copy_(found[key.replace(".", "_")])


def _compare(target: nn.Module, found: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of an encoder by name, and the names of those that weights lack or have in another shape."""
    wanted = {key: tensor for key, tensor in target.state_dict().items() if not key.endswith("num_batches_tracked")}
    wrong = [
        key
        for key, tensor in wanted.items()
        if (match := found.get(key.replace(".", "_"))) is None or match.shape != tensor.shape
    ]
    return wanted, wrong


def _is_read_by_us(name: str, weights: str) -> bool:
    return name.startswith(TIMM_PREFIX) or weights != "imagenet"


def _download(name: str, weights: str) -> dict[str, Tensor]:
    """ImageNet weights of an encoder that is segmentation-models-pytorch's own, from where that package keeps them."""
    import segmentation_models_pytorch as smp

    if not can_download(name):
        raise WeightsError(
            f"ImageNet weights of the encoder {name!r} are not among those downloaded before, and the site that keeps"
            f" them does not answer. {WITHOUT_NETWORK}"
        )
    try:
        state: dict[str, Tensor] = smp.encoders.get_encoder(name, weights=weights).state_dict()
    # The hub client raises errors of several packages (network, cache, file); all mean the same to the user.
    except Exception as error:
        raise WeightsError(
            f"ImageNet weights of the encoder {name!r} could not be downloaded ({type(error).__name__}: {error})."
            f" {WITHOUT_NETWORK}"
        ) from error
    return state


def size_options(encoder: str) -> dict[str, Any]:
    """Options with which a window transformer takes images of any size; none for all other encoders."""
    if not encoder.startswith(TIMM_PREFIX):
        return {}
    return options_taken(encoder.removeprefix(TIMM_PREFIX), WINDOWS)
