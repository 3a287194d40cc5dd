"""Segmentation networks by name: images in, logits per class and pixel out.

A network is a registry line. A builder takes ``(encoder, n_outputs, weights, *, its options)`` and returns a module
that maps normalised images (B, 3, H, W), float, to logits (B, n_outputs, H, W) for any H and W; `Segmenter` makes one
of a network that takes certain sizes only. So a network of one's own is entered by::

    segmenters.register("mine")(lambda encoder, n_outputs, weights: MyNetwork(n_outputs))

A network may learn from more than its one output: with a method ``training_pairs(images, masks)`` it names the logits
that training compares and the masks it compares them with (`recam.models.deeplab` does); the losses are added.

DeepLabV3+: Chen et al., Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation, ECCV 2018,
arXiv 1802.02611.

UperNet: Xiao et al., Unified Perceptual Parsing for Scene Understanding, ECCV 2018, arXiv 1807.10221, with Swin as
encoder (Liu et al., ICCV 2021, arXiv 2103.14030). Both as segmentation-models-pytorch implements them. Departures: any
size is taken (padded inside, cropped again); BatchNorm of the encoder keeps its stored statistics while training,
because the batches are small; UperNet has no second loss on the last stage but one, which common training code adds.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from recam.data.reading import COLOURS
from recam.errors import RecipeError, near_matches
from recam.models.bands import adapt_bands
from recam.models.deeplab import DeepLabV2
from recam.models.encoders import check_encoder, load_encoder, size_options
from recam.models.probe import freeze_statistics, probe_features, refusing
from recam.models.weights import NAMED
from recam.registry import Registry
from recam.settings import Settings

SIZE_DIVISOR = 32
CONVOLUTIONAL = "Take a convolutional one, e.g. tu-resnet50, tu-tf_efficientnet_lite0 or tu-convnext_tiny."

SegmenterBuilder = Callable[..., nn.Module]
segmenters: Registry[SegmenterBuilder] = Registry("segmenter", "recam.segmenters")


@dataclass(frozen=True)
class SegmenterSettings(Settings):
    """Which segmentation network."""

    model: str = "deeplabv3plus"
    """A registered segmenter; see `recam.models.segmenters`."""
    encoder: str = "resnet101"
    """Its encoder; ``tu-NAME`` for a timm model."""
    options: dict[str, Any] = field(default_factory=dict)
    """What this model takes besides, e.g. ``{freeze_batchnorm = false}``; docs/segment.md lists them."""
    decoder_channels: Annotated[int, Field(ge=8)] | None = None
    """Width of the decoder, where the model has one to choose; None: the model's own (DeepLabV3+ 256, UperNet 512)."""
    output_stride: Literal[8, 16] | None = None
    """Image pixels a feature of the encoder covers, where the model lets choose; None: the model's own (DeepLabV2 8,
    DeepLabV3+ 16)."""

    def make(self, n_classes: int, weights: str, channels: int = COLOURS, background: bool = True) -> nn.Module:
        """The network for images of `channels` bands, channels-last; its decoder is fresh: seed torch before. Raises as
        `make_segmenter` does."""
        chosen = {"output_stride": self.output_stride, "decoder_channels": self.decoder_channels}
        takes = segmenter_options(self.model)
        options = {name: value for name, value in chosen.items() if name in takes and value is not None} | self.options
        network = make_segmenter(self.model, self.encoder, n_classes, weights, background, **options)
        if channels != COLOURS or weights not in NAMED:  # a file may hold weights of other bands
            adapt_bands(network, channels, f"the segmentation network {self.model!r} on {self.encoder!r}")
        return network.to(memory_format=torch.channels_last)

    def network_only(self) -> SegmenterSettings:
        """These settings without those of a training that a subclass adds."""
        return SegmenterSettings(**{each.name: getattr(self, each.name) for each in fields(SegmenterSettings)})


def make_segmenter(
    name: str, encoder: str, n_classes: int, weights: str = "imagenet", background: bool = True, **options: Any
) -> nn.Module:
    """The network `name`, ready to train.

    Args:
        name: a key of `segmenters`.
        encoder: the backbone as the network names it, e.g. ``tu-tf_efficientnet_lite0`` (``tu-`` and any timm name) or
            ``resnet50``.
        n_classes: K, without background.
        weights: of the encoder: ``imagenet`` (downloaded), ``bundled``, ``none``, or a path to a file.
        background: False: every pixel belongs to a class, and the network has no output for any other.
        options: what this network takes besides, see `segmenter_options`.

    Returns:
        A module (B, 3, H, W) float, normalised by `recam.models.encoders.encoder_normalisation` → (B, K + 1, H, W)
        logits, background first, or (B, K, H, W) without a background, for any H and W.

    Raises:
        RecipeError: unknown network, encoder or option; an encoder that cannot be used in this network.
        WeightsError: weights that are missing or do not fit.
    """
    builder = segmenters[name]
    known = segmenter_options(name)
    for option in options:
        if option not in known:
            raise RecipeError(f"the segmenter {name!r} has no option {option!r}.{near_matches(option, known)}")
        kind = type(known[option])
        if kind in (bool, int, float, str) and not isinstance(options[option], kind):
            raise RecipeError(
                f"the segmenter's option {option} = {options[option]!r}: give a value like its default,"
                f" {known[option]!r}."
            )
    return builder(encoder, n_classes + background, weights, **options)


def segmenter_options(name: str) -> dict[str, Any]:
    """The options that the network `name` takes, with their defaults: the keyword-only parameters of its builder."""
    parameters = inspect.signature(segmenters[name]).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


@segmenters.register("deeplabv3plus")
def _make_deeplabv3plus(
    encoder: str,
    n_outputs: int,
    weights: str,
    *,
    output_stride: int = 16,
    decoder_channels: int = 256,
    freeze_batchnorm: bool = True,
) -> nn.Module:
    """DeepLabV3+; 64 decoder channels instead of 256 make a light encoder's decoder light too (a CPU notices).

    Encoders that stride by pooling (VGG, DenseNet) and timm models without an output stride (Swin, ViT, HRNet) are
    refused.
    """
    import segmentation_models_pytorch as smp

    with _stride("deeplabv3plus", encoder, output_stride):
        network = smp.DeepLabV3Plus(
            encoder_name=encoder,
            encoder_weights=None,
            encoder_output_stride=output_stride,
            decoder_channels=decoder_channels,
            classes=n_outputs,
        )
    load_encoder(network.encoder, encoder, weights)
    return Segmenter(network, freeze_batchnorm)


@segmenters.register("deeplabv2")
def _make_deeplabv2(
    encoder: str,
    n_outputs: int,
    weights: str,
    *,
    output_stride: int = 8,
    multi_scale: bool = True,
    freeze_batchnorm: bool = True,
) -> nn.Module:
    """DeepLabV2, see `recam.models.deeplab`. Encoders as for DeepLabV3+."""
    import segmentation_models_pytorch as smp

    with _stride("deeplabv2", encoder, output_stride):
        features = smp.encoders.get_encoder(encoder, depth=5, weights=None, output_stride=output_stride)
    load_encoder(features, encoder, weights)
    return DeepLabV2(features, features.out_channels[-1], n_outputs, output_stride, multi_scale, freeze_batchnorm)


@segmenters.register("upernet")
def _make_upernet(
    encoder: str, n_outputs: int, weights: str, *, decoder_channels: int = 512, freeze_batchnorm: bool = True
) -> nn.Module:
    """UperNet on any encoder with levels at strides 4, 8, 16 and 32: Swin of any window, convolutional networks, mixed
    ones.

    Refused: plain ViTs, which have one level, and transformers that take one size of image only.
    """
    import segmentation_models_pytorch as smp

    check_encoder(encoder)
    problem = f"the encoder {encoder!r} cannot give upernet levels at strides 4 to 32 for images of any size"
    advice = "Take a Swin such as tu-swin_tiny_patch4_window7_224, or a convolutional one."
    with refusing(problem, advice):
        network = smp.UPerNet(
            encoder, encoder_weights=None, decoder_channels=decoder_channels, classes=n_outputs, **size_options(encoder)
        )
    probe_features(network.eval(), torch.zeros(1, 3, 64, 96), problem, advice)
    load_encoder(network.encoder, encoder, weights)
    return Segmenter(network.train(), freeze_batchnorm)


class Segmenter(nn.Module):
    """A network with an `encoder`, made to take images of any size.

    Images are padded at the right and at the bottom with 0 (the mean colour) to a multiple of 32; logits are brought to
    the padded size where the network returns smaller ones, and cropped. Batches of one image cannot be trained on: the
    pooled branch of DeepLab's ASPP normalises over the batch.

    Args:
        network: (B, 3, H, W) → (B, n, h, w) logits; its attribute `encoder` holds what was pretrained.
        freeze_batchnorm: BatchNorm of the encoder keeps its stored statistics while training; weight and bias still
            learn.
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
            freeze_statistics(self.encoder)
        return self

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        padded = F.pad(images, (0, -width % SIZE_DIVISOR, 0, -height % SIZE_DIVISOR))  # (B, 3, H', W')
        logits: Tensor = self.network(padded)
        if logits.shape[-2:] != padded.shape[-2:]:
            logits = F.interpolate(logits, padded.shape[-2:], mode="bilinear", align_corners=False)  # (B, n, H', W')
        return logits[..., :height, :width]


@contextmanager
def _stride(model: str, encoder: str, output_stride: int) -> Iterator[None]:
    """An encoder made inside that cannot be brought to the stride is refused, with a way out."""
    if output_stride not in (8, 16):
        raise RecipeError(f"{model} takes output_stride 8 or 16, got {output_stride}.")
    check_encoder(encoder)
    problem = f"the encoder {encoder!r} cannot be brought to output stride {output_stride}, which {model} needs"
    with refusing(problem, CONVOLUTIONAL):
        yield
