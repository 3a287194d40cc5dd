"""Recipes: every setting of a run as one validated object, from a TOML file, ``--set section.field=value`` or Python
keywords alike.

The sections are those that the rooms of the package, and other packages, have entered (`recam.settings.section`). A
recipe file may start from another with ``extends = "name"``, or from several, later ones laid over earlier ones. All
mistakes are reported at once, unknown names with near matches.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator

from recam.errors import RecipeError, StoreError, near_matches
from recam.recipe.toml import lay_over, parse_setting, read_tree
from recam.recipes import COMPARE, NAME, TRAINING
from recam.runfolder.store import read_run
from recam.settings import Settings, as_json, sections

S = TypeVar("S", bound=Settings)


class Recipe(BaseModel):
    """All settings of a run; `recipe_type` adds the sections as attributes."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    about: str = ""
    """What the recipe is for."""
    seed: int = Field(0, ge=0)
    """Decides initial weights, order and augmentation."""
    training: str = TRAINING
    """The training whose class maps become pseudo masks; those that it starts from are made before it."""
    candidates: tuple[str, ...] = ()
    """Trainings to choose `training` from, by held-out labels and by how well masks at their own thresholds agree with
    the images. Needs `masks.threshold` = "auto"."""
    compare: tuple[str, ...] = COMPARE
    """Further trainings whose class maps are made and scored beside."""
    maker: str = ""
    """What makes the class maps of a trained network, e.g. ``advcam``; empty: its weights alone, as the training
    does."""
    refine: tuple[str, ...] = ()
    """Refiners that the class maps pass through before they become pseudo masks, in this order, e.g. ``["irn",
    "crf"]``."""
    choose: tuple[str, ...] = ()
    """Settings that a run chooses from data and machine before it begins, e.g. ``["data.max_side"]``; one that is given
    by ``--set``, or by a file that extends the recipe, is not chosen. ``recam plan`` shows what and why."""

    def section(self, kind: type[S]) -> S:
        """The section whose settings are of this class; `Settings` itself for what has none.

        Raises:
            TypeError: a class that is not entered as a section.
        """
        if kind is Settings:
            return kind()
        for value in self._sections():
            if type(value) is kind:
                return value
        raise TypeError(f"{kind.__name__} is no section of a recipe: decorate it with @recam.settings.section(NAME).")

    def _sections(self) -> Iterator[Settings]:
        yield from (value for name in type(self).model_fields if isinstance(value := getattr(self, name), Settings))

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        conflicts = [conflict for section in self._sections() for conflict in section.conflicts(self)]
        conflicts += self._unwritable()
        if conflicts:
            raise ValueError("\n".join(conflicts))
        return self

    def _unwritable(self) -> Iterator[str]:
        """Values in tables of options that a record of the run could not hold, such as NaN or a date."""
        for name in type(self).model_fields:
            if isinstance(section := getattr(self, name), Settings):
                for field in dataclasses.fields(section):
                    try:
                        as_json(value := getattr(section, field.name))
                    except (TypeError, ValueError) as error:
                        reason = f"{name}.{field.name} = {value!r:.80}: {error}"
                        yield f"{reason}. Give text, finite numbers, true or false, or lists and tables of them"

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: what `load_recipe` takes."""
        return {name: as_json(getattr(self, name)) for name in type(self).model_fields}


def recipe_type() -> type[Recipe]:
    """`Recipe` with all sections that are entered."""
    return _recipe_type(tuple(sections.items()))


@cache
def _recipe_type(entered: tuple[tuple[str, type[Settings]], ...]) -> type[Recipe]:
    fields: dict[str, Any] = {name: (kind, kind()) for name, kind in entered}
    return create_model("Recipe", __base__=Recipe, **fields)


def load_recipe(
    recipe: str | Path | Mapping[str, Any] | Recipe = NAME, settings: Mapping[str, Any] | Sequence[str] = ()
) -> Recipe:
    """A recipe by name, file or dictionary, with single settings laid over it.

    Args:
        recipe: the name of one that comes with the package, the path of a TOML file, the sections as a dictionary, or a
            `Recipe`.
        settings: ``{"cam.epochs": 3}`` or ``["cam.epochs=3"]``.

    Raises:
        RecipeError: everything that is wrong, at once; unknown names with near matches.
    """
    if isinstance(recipe, Recipe):
        recipe = recipe.as_dict()
    tree = dict(recipe) if isinstance(recipe, Mapping) else read_tree(str(recipe))
    pairs = settings.items() if isinstance(settings, Mapping) else (parse_setting(text) for text in settings)
    for name, value in pairs:
        tree = lay_over(tree, _nest(name, value))
    try:
        return recipe_type().model_validate(tree)
    except RecursionError as error:
        raise RecipeError("the recipe does not hold: its values are nested too deeply.") from error
    except ValidationError as error:
        lines = "\n".join(f"  {line}" for line in _explain(error))
        raise RecipeError(f"the recipe does not hold:\n{lines}") from error


def read_recipe(root: Path) -> Recipe:
    """The settings in force of a run folder. Raises `StoreError` where its ``run.json`` holds none."""
    try:
        return load_recipe(read_run(root)["recipe"])
    except RecipeError as error:
        raise StoreError(f"{root / 'run.json'} is damaged, or of another version of recam: {error}") from error


def _nest(name: str, value: Any) -> dict[str, Any]:
    for part in reversed(name.split(".")):
        value = {part: value}
    return dict(value)


def _explain(error: ValidationError) -> Iterator[str]:
    for problem in error.errors():
        names = [str(part) for part in problem["loc"]]
        where = ".".join(names) or "recipe"
        if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            yield from _explain_unknown(names, problem["input"])
        elif problem["type"] == "value_error":  # of settings that do not fit together, each line naming its fields
            lines = problem["msg"].removeprefix("Value error, ").splitlines()
            yield from (f"{where}: {line}" if names else line for line in lines)
        else:
            yield f"{where}: {problem['msg']} (got {problem['input']!r})"


def _explain_unknown(names: Sequence[str], given: Any) -> Iterator[str]:
    """A line for a setting that there is not, or for each setting of a section that there is not and that is spelled
    like none, such as one of an older version."""
    sections_near = difflib.get_close_matches(names[0], sections, n=1, cutoff=0.7)  # classify is no oaa_classifier
    if len(names) == 1 and isinstance(given, Mapping) and given and not sections_near:
        yield from (f"{names[0]}.{name}: there is no such setting.{_near([names[0], str(name)])}" for name in given)
    else:
        yield f"{'.'.join(names)}: there is no such setting.{_near(names)}"


def _near(names: Sequence[str]) -> str:
    """Settings of the same section that are spelled alike; else those of other sections, as ``backbone.name`` for
    ``cam.backbone``."""
    last, section = names[-1], sections.get(names[0]) if len(names) > 1 else None
    if section:
        beside = [field.name for field in dataclasses.fields(section)]
    else:
        beside = list(recipe_type().model_fields) if len(names) == 1 else []
    if difflib.get_close_matches(last, beside, n=1):
        return near_matches(last, beside)
    # A setting of that name in another section, or a section of that name: what it names comes first.
    named = [(name, field.name) for name, kind in sections.items() for field in dataclasses.fields(kind)]
    found = [f"{name}.{field}" for name, field in named if last in (name, field)]
    found.sort(key=lambda name: (not name.endswith((f"{last}.name", f".{last}")), name.split(".")[0]))
    return (
        f" Did you mean {' or '.join(map(repr, found[:3]))}?" if found else near_matches(last, beside or list(sections))
    )
