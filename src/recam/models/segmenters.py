"""Segmentation networks by name: images in, one logit a class and pixel out.

A network is a registry line. A builder takes ``(encoder, n_outputs, weights, *, its options)`` and returns a module that maps normalised
images (B, 3, H, W), float, to logits (B, n_outputs, H, W) for any H and W; `Segmenter` makes one of a network that is choosy about
sizes. So a network of one's own is entered by::

    segmenters.register("mine")(lambda encoder, n_outputs, weights: MyNetwork(n_outputs))

DeepLabV3+: Chen et al., Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation, ECCV 2018, arXiv 1802.02611,
as segmentation-models-pytorch implements it. Departure: any size is taken (padded inside, cropped again), and BatchNorm of the encoder
keeps its stored statistics while training, because the batches are small.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from recam.errors import RecipeError, WeightsError, near_matches
from recam.models.weights import normalisation, read_state
from recam.registry import Registry

TIMM_PREFIX = "tu-"
SIZE_DIVISOR = 32
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

SegmenterBuilder = Callable[..., nn.Module]
segmenters: Registry[SegmenterBuilder] = Registry("segmenter")


def make_segmenter(name: str, encoder: str, n_classes: int, weights: str = "imagenet", **options: Any) -> nn.Module:
    """The network `name`, ready to train.

    Args:
        name: a key of `segmenters`.
        encoder: the backbone as the network names it, e.g. ``tu-tf_efficientnet_lite0`` (``tu-`` and any timm name) or ``resnet50``.
        n_classes: K, without background.
        weights: of the encoder: ``imagenet`` (downloaded), ``bundled``, ``none``, or a path to a file.
        options: what this network takes besides, see `segmenter_options`.

    Returns:
        A module (B, 3, H, W) float, normalised by `encoder_normalisation` → (B, K + 1, H, W) logits, background first, for any H and W.

    Raises:
        RecipeError: unknown network, encoder or option; an encoder that cannot be used in this network.
        WeightsError: weights that are missing or do not fit.
    """
    builder = segmenters[name]
    known = segmenter_options(name)
    for option in options:
        if option not in known:
            raise RecipeError(f"the segmenter {name!r} has no option {option!r}.{near_matches(option, known)}")
    return builder(encoder, n_classes + 1, weights, **options)


def segmenter_options(name: str) -> dict[str, Any]:
    """The options that the network `name` takes, with their defaults: the keyword-only parameters of its builder."""
    parameters = inspect.signature(segmenters[name]).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def encoder_normalisation(encoder: str, weights: str) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """(mean, std) a channel, for images in [0, 1], that the encoder's weights were trained with.

    Those of timm's models are known. segmentation-models-pytorch keeps its own encoders' on its download site; here they have
    ImageNet's, which is right for all that take an output stride except the DPN family: take timm's there (``tu-dpn68``).
    """
    if encoder.startswith(TIMM_PREFIX):
        return normalisation(encoder.removeprefix(TIMM_PREFIX), weights)
    _check_encoder(encoder)
    return IMAGENET_MEAN, IMAGENET_STD


@segmenters.register("deeplabv3plus")
def _make_deeplabv3plus(
    encoder: str, n_outputs: int, weights: str, *, output_stride: int = 16, decoder_channels: int = 256, freeze_batchnorm: bool = True
) -> nn.Module:
    """DeepLabV3+; 64 decoder channels instead of 256 make a light encoder's decoder light too (a CPU notices).

    Encoders that stride by pooling (VGG, DenseNet) and timm models without an output stride (Swin, ViT, HRNet) are refused.
    """
    if output_stride not in (8, 16):
        raise RecipeError(f"deeplabv3plus takes output_stride 8 or 16, got {output_stride}.")
    import segmentation_models_pytorch as smp

    _check_encoder(encoder)
    try:
        network = smp.DeepLabV3Plus(
            encoder_name=encoder,
            encoder_weights=None,
            encoder_output_stride=output_stride,
            decoder_channels=decoder_channels,
            classes=n_outputs,
        )
    # Each family refuses an output stride in its own way: an unknown keyword, an assertion, a message.
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise RecipeError(
            f"the encoder {encoder!r} cannot be brought to output stride {output_stride}, which deeplabv3plus needs"
            f" ({type(error).__name__}: {error}). Take a convolutional one, e.g. tu-resnet50, tu-tf_efficientnet_lite0 or tu-convnext_tiny."
        ) from error
    _load_encoder(network.encoder, encoder, weights)
    return Segmenter(network, freeze_batchnorm)


class Segmenter(nn.Module):
    """A network with an `encoder`, made to take images of any size.

    Images are padded at the right and at the bottom with 0 (the mean colour) to a multiple of 32; logits are brought to the padded
    size where the network returns smaller ones, and cropped. Batches of one image cannot be trained on: the pooled branch of
    DeepLab's ASPP normalises over the batch.

    Args:
        network: (B, 3, H, W) → (B, n, h, w) logits; its attribute `encoder` holds what was pretrained.
        freeze_batchnorm: BatchNorm of the encoder keeps its stored statistics while training; weight and bias still learn.
    """

    def __init__(self, network: nn.Module, freeze_batchnorm: bool = True) -> None:
        super().__init__()
        self.network = network
        self.freeze_batchnorm = freeze_batchnorm

    @property
    def encoder(self) -> nn.Module:
        """The pretrained part, for learning rates of its own."""
        encoder: nn.Module = self.network.get_submodule("encoder")
        return encoder

    def train(self, mode: bool = True) -> Segmenter:
        """As `nn.Module.train`, but a frozen BatchNorm stays in evaluation mode."""
        super().train(mode)
        if self.freeze_batchnorm:
            for module in self.encoder.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        padded = F.pad(images, (0, -width % SIZE_DIVISOR, 0, -height % SIZE_DIVISOR))  # (B, 3, H', W')
        logits: Tensor = self.network(padded)
        if logits.shape[-2:] != padded.shape[-2:]:
            logits = F.interpolate(logits, padded.shape[-2:], mode="bilinear", align_corners=False)  # (B, n, H', W')
        return logits[..., :height, :width]


def _check_encoder(encoder: str) -> None:
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


def _load_encoder(encoder: nn.Module, name: str, weights: str) -> None:
    """Fill the encoder `name` with `weights`; every tensor of it must be found, or a `WeightsError` says which is not."""
    if weights == "none":
        return
    state = read_state(name.removeprefix(TIMM_PREFIX), weights) if _is_read_by_us(name, weights) else _download(name, weights)
    # timm's feature extractors flatten the top of the module tree ("stages.0.x" → "stages_0.x"): compare names without the dots.
    # A classifier's tensors are left over, and counters of batches, which no arithmetic reads, may be missing.
    found = {key.replace(".", "_"): tensor for key, tensor in state.items()}
    target = encoder.get_submodule("model") if name.startswith(TIMM_PREFIX) else encoder
    wanted = {key: tensor for key, tensor in target.state_dict().items() if not key.endswith("num_batches_tracked")}
    wrong = [key for key, tensor in wanted.items() if (match := found.get(key.replace(".", "_"))) is None or match.shape != tensor.shape]
    if wrong:
        raise WeightsError(
            f"{len(wrong)} of {len(wanted)} tensors of the encoder {name!r} are missing in the weights {weights!r} or have another shape"
            f" (first: {wrong[0]!r}). Give weights made for this encoder."
        )
    with torch.no_grad():
        for key, tensor in wanted.items():
            tensor.copy_(found[key.replace(".", "_")])


def _is_read_by_us(name: str, weights: str) -> bool:
    return name.startswith(TIMM_PREFIX) or weights != "imagenet"


def _download(name: str, weights: str) -> dict[str, Tensor]:
    """ImageNet weights of an encoder that is segmentation-models-pytorch's own, from where that package keeps them."""
    import segmentation_models_pytorch as smp

    try:
        state: dict[str, Tensor] = smp.encoders.get_encoder(name, weights=weights).state_dict()
    # The hub client raises errors of several packages (network, cache, file); all mean the same to the user.
    except Exception as error:
        raise WeightsError(
            f"ImageNet weights of the encoder {name!r} could not be downloaded ({type(error).__name__}: {error}). Without network:"
            " give a local file as weights, take encoder 'tu-tf_efficientnet_lite0' with weights 'bundled', or train from weights 'none'."
        ) from error
    return state
