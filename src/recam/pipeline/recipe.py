"""Recipes: every setting of a run as one validated object, from a TOML file, ``--set section.field=value`` or Python keywords alike.

A recipe file may start from another with ``extends = "name"``, or from several, later ones laid over earlier ones. All mistakes are told
at once, unknown names with near matches.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError, model_validator

from recam.errors import RecipeError, near_matches
from recam.pipeline.saliency_settings import EdamSection, EpsSection, SaliencySection
from recam.pipeline.settings import (
    CLASSIFIER,
    AdvCamSection,
    BackboneSettings,
    ChainSettings,
    ClassifySettings,
    ComputeSettings,
    CrfSection,
    DataSettings,
    IrnSection,
    MaskSettings,
    PamrSection,
    PredictSettings,
    ReactivateSettings,
    Section,
    SeedSettings,
    SegmentSettings,
)


class Recipe(Section):
    """All settings of a run."""

    about: str = ""
    """What the recipe is for."""
    seed: int = Field(0, ge=0)
    """Decides initial weights, order and augmentation."""
    refine: tuple[str, ...] = ()
    """Refiners that the class maps pass through before they become pseudo masks, in this order, e.g. ``["advcam", "irn"]``."""
    data: DataSettings = DataSettings()
    backbone: BackboneSettings = BackboneSettings()
    classify: ClassifySettings = ClassifySettings()
    reactivate: ReactivateSettings = ReactivateSettings()
    seeds: SeedSettings = SeedSettings()
    chains: ChainSettings = ChainSettings()
    advcam: AdvCamSection = AdvCamSection()
    irn: IrnSection = IrnSection()
    crf: CrfSection = CrfSection()
    pamr: PamrSection = PamrSection()
    saliency: SaliencySection = SaliencySection()
    eps: EpsSection = EpsSection()
    edam: EdamSection = EdamSection()
    masks: MaskSettings = MaskSettings()
    segment: SegmentSettings = SegmentSettings()
    predict: PredictSettings = PredictSettings()
    compute: ComputeSettings = ComputeSettings()

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        wrong = []
        if self.classify.cache_features and not self.backbone.freeze_until:
            wrong.append("classify.cache_features needs a frozen trunk: set backbone.freeze_until, e.g. to 4, or cache_features to 0")
        for name, (least, most) in {
            "classify.long_side": self.classify.long_side,
            "segment.scale": self.segment.scale,
            "irn.scale": self.irn.scale,
        }.items():
            if not 0 < least <= most:
                wrong.append(f"{name} = ({least}, {most}): give the least first, and both above 0")
        climbed = (1.0,) if self.advcam.scales is None else self.advcam.scales  # None: those of the seeds
        for name, scales in {"seeds.scales": self.seeds.scales, "predict.scales": self.predict.scales, "advcam.scales": climbed}.items():
            if not scales or min(scales) <= 0:
                wrong.append(f"{name} = {scales}: give at least one factor, all above 0")
        for name, (background, foreground) in {"irn.sure": self.irn.sure, "irn.sure_cam": self.irn.sure_cam}.items():
            if not 0 <= background <= foreground <= 1:
                wrong.append(f"{name} = ({background}, {foreground}): give background first, then foreground, both in [0, 1]")
        if min(self.saliency.std) <= 0:
            wrong.append(f"saliency.std = {self.saliency.std}: images are divided by it, give values above 0")
        if self.reactivate.control and not self.reactivate.enabled:
            wrong.append("reactivate.control compares with reactivation: enable reactivate, or set control to false")
        if self.seeds.source and self.segment.weights == CLASSIFIER:
            wrong.append("segment.weights = 'classifier' takes the run's own, and with seeds.source there is none: name other weights")
        if self.segment.weights == CLASSIFIER and self.segment.encoder != f"tu-{self.backbone.name}":
            wrong.append(f"segment.weights = 'classifier' needs the classifier's network: set segment.encoder to 'tu-{self.backbone.name}'")
        if self.segment.upper_bound and (self.segment.labels == "truth" or not self.segment.enabled):
            wrong.append("segment.upper_bound is a second model beside the one on pseudo masks: set segment.labels to 'pseudo'")
        if not self.segment.validate_epochs and (self.segment.keep == "best" or self.segment.patience):
            wrong.append("segment.keep = 'best' and segment.patience go by scores on val: set segment.validate_epochs, e.g. to 1")
        if self.segment.frame and not 0 < self.segment.frame[1] <= self.segment.frame[0]:
            wrong.append(f"segment.frame = {self.segment.frame}: give the longer side first, and both above 0")
        for name in sorted({"decoder_channels", "output_stride"} & set(self.segment.options)):
            wrong.append(f"segment.options: {name} is a setting of its own, segment.{name}")
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
    bases = tree.pop("extends", [])
    bases = [bases] if isinstance(bases, str) else bases
    if not (isinstance(bases, list) and all(isinstance(base, str) for base in bases)):
        raise RecipeError(f"recipe {name}: extends is a name or a list of names, got {bases!r}.")
    merged: dict[str, Any] = {}
    for base in bases:
        # A file is looked for beside the one that names it, wherever the command runs.
        start = base if base in recipe_names() else str((Path(name).parent / base).resolve())
        merged = _merge(merged, _read_tree(start, (*seen, name)))
    return _merge(merged, tree)


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
            yield f"{where}: there is no such setting.{_near_settings(names)}"
        elif problem["type"] == "value_error":  # of the recipe as a whole, each line naming its fields
            yield from problem["msg"].removeprefix("Value error, ").splitlines()
        else:
            yield f"{where}: {problem['msg']} (got {problem['input']!r})"


def _setting_names(model: type[BaseModel], prefix: str = "") -> list[str]:
    """All settings as ``SECTION.FIELD``, in the order of the recipe."""
    found = []
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found += _setting_names(inner, f"{prefix}{name}.")
        else:
            found.append(prefix + name)
    return found


def _near_settings(names: Sequence[str]) -> str:
    """Settings of the same section that are spelled alike; else those of other sections, as ``backbone.name`` for ``classify.backbone``."""
    model: Any = Recipe
    for part in names[:-1]:
        model = model.model_fields[part].annotation
    last, beside = names[-1], list(model.model_fields)
    if difflib.get_close_matches(last, beside, n=1):
        return near_matches(last, beside)
    # A setting of that name in another section, or a section of that name: what it names comes first.
    named = [name for name in _setting_names(Recipe) if last in name.split(".")]
    named.sort(key=lambda name: not name.endswith((f"{last}.name", f".{last}")))
    return f" Did you mean {' or '.join(map(repr, named[:3]))}?" if named else near_matches(last, beside)
