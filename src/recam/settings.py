"""Settings: frozen dataclasses that stand with what they are settings of, each field with a sentence under it.

A class that is entered as a *section* becomes that section of a recipe: its defaults, its types and its sentences are
the recipe's. So a setting is declared once, and code that uses it gets the same object from Python, from a TOML file
and from the command line.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from recam.errors import RecipeError
from recam.registry import Registry

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
"""A number in [0, 1]."""
Momentum = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
CountOrNone = Annotated[int, Field(ge=0)]
"""A whole number, 0 for none."""
Scales = Annotated[tuple[Positive, ...], Field(min_length=1)]


@dataclass(frozen=True)
class Settings:
    """Base of all settings: unknown names, infinities and NaN are refused, nothing changes after it is made."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    def conflicts(self, recipe: Any) -> list[str]:
        """What does not fit together with other sections of the recipe, one sentence each, with a way out."""
        return []


SettingsType = TypeVar("SettingsType", bound=type[Settings])

sections: Registry[type[Settings]] = Registry(
    "section of a recipe",
    builtin=(
        "recam.data.roles",
        "recam.models.backbones",
        "recam.training.settings",
        "recam.engine.compute",
        "recam.inference.settings",
        "recam.pipeline.stages",
        "recam.pipeline.trainings",
        "recam.pipeline.makers",
        "recam.pipeline.refiners",
        "recam.pipeline.losses",
    ),
    beside=("recam.trainings", "recam.makers", "recam.refiners", "recam.segment_losses"),
)
"""Sections of a recipe by name, filled by the rooms that they belong to."""


def section(name: str) -> Callable[[SettingsType], SettingsType]:
    """Decorator that makes a class of settings the section `name` of every recipe."""

    def enter(settings: SettingsType) -> SettingsType:
        sections.register(name)(settings)
        return settings

    return enter


def sentences(kind: type[Settings]) -> dict[str, str]:
    """The sentence under each field, in order, those of classes that it extends as well."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if dataclasses.is_dataclass(base):
            fields = TypeAdapter(base).json_schema().get("properties", {})
            found |= {name: field["description"] for name, field in fields.items() if "description" in field}
    return {field.name: found[field.name] for field in dataclasses.fields(kind) if field.name in found}


CHANGES_NOTHING = {"changes results": False}
"""Metadata of a field that decides how something is computed and not what comes out: no key hashes it."""


def as_json(given: Any, for_key: bool = False) -> Any:
    """Settings, or anything made of them, as JSON-ready dictionaries and lists; the same for equal settings.

    Args:
        for_key: without the fields that are declared to change no result, see `CHANGES_NOTHING`; and 5 for 5.0, which
            equal settings may hold in the place of each other.
    """
    if dataclasses.is_dataclass(given) and not isinstance(given, type):
        fields = [
            each
            for each in dataclasses.fields(given)
            if not (for_key and CHANGES_NOTHING.items() <= each.metadata.items())
        ]
        return {field.name: as_json(getattr(given, field.name), for_key) for field in fields}
    if isinstance(given, dict):
        return {str(name): as_json(value, for_key) for name, value in given.items()}
    if isinstance(given, tuple | list):
        return [as_json(value, for_key) for value in given]
    if for_key and isinstance(given, float) and given.is_integer():
        return int(given)
    json.dumps(given, allow_nan=False)  # refuses what no key could be made of
    return given


SettingsObject = TypeVar("SettingsObject", bound=Settings)

_readers: dict[type[Settings], TypeAdapter[Any]] = {}
"""Made once each: pydantic reads the source file of a class for its sentences, longer than opening a run takes."""


def read_settings(kind: type[SettingsObject], tree: Any) -> SettingsObject:
    """Settings from what `as_json` gave. Raises `RecipeError` with everything that does not hold."""
    if kind not in _readers:
        _readers[kind] = TypeAdapter(kind)
    try:
        found: SettingsObject = _readers[kind].validate_python(tree)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise RecipeError(f"{kind.__name__} does not hold: {wrong}") from error
    return found


def check_shares(what: str, shares: dict[str, float]) -> None:
    """Raises `RecipeError` naming all settings that are outside [0, 1]."""
    problems = [f"{name} must be in [0, 1], got {value}" for name, value in shares.items() if not 0 <= value <= 1]
    if problems:
        raise RecipeError(f"{what}: {'; '.join(problems)}.")
