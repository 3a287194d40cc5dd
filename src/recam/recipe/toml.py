"""TOML in and out: recipe files that extend one another, single settings by dotted name, and the recipe of a run as a
file."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import tomli_w

from recam.errors import RecipeError, first_line, near_matches
from recam.files import checked_path


def recipe_names() -> list[str]:
    """The recipes that come with the package."""
    entries = resources.files("recam.recipes").iterdir()
    return sorted(entry.name.removesuffix(".toml") for entry in entries if entry.name.endswith(".toml"))


def read_tree(name: str, above: tuple[str, ...] = ()) -> dict[str, Any]:
    """A recipe's own settings laid over those that it extends, as nested dictionaries.

    Raises:
        RecipeError: no such recipe (with near matches), not valid TOML, or recipes that extend one another in a circle.
    """
    if name in above:
        raise RecipeError(f"recipes extend one another in a circle: {' → '.join((*above, name))}.")
    tree = _parse(name)
    bases = tree.pop("extends", [])
    bases = [bases] if isinstance(bases, str) else bases
    if not (isinstance(bases, list) and all(isinstance(base, str) for base in bases)):
        raise RecipeError(f"recipe {name}: extends is a name or a list of names, got {bases!r}.")
    merged: dict[str, Any] = {}
    for base in bases:
        # A file is looked for beside the one that names it, wherever the command runs.
        start = base if base in recipe_names() else str((Path(name).parent / base).resolve())
        merged = lay_over(merged, read_tree(start, (*above, name)))
    return lay_over(merged, tree)


def own_settings(name: str) -> dict[str, Any]:
    """What a recipe sets itself, by dotted name: without those that it extends, and without its description. Raises as
    `read_tree` does."""
    own = _parse(name)
    return {setting: value for setting, value in flatten(own).items() if setting not in ("extends", "about")}


def _parse(name: str) -> dict[str, Any]:
    if name in recipe_names():
        text = (resources.files("recam.recipes") / f"{name}.toml").read_text(encoding="utf-8")
    elif checked_path(name, RecipeError).is_file():
        try:
            text = Path(name).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"recipe {name} cannot be read ({error}). Write it as UTF-8 text.") from error
    else:
        raise RecipeError(f"no recipe {name!r}, neither by name nor as a file.{near_matches(name, recipe_names())}")
    try:
        return tomllib.loads(text)
    except (
        ValueError,
        RecursionError,
    ) as error:  # also numbers and dates that no calendar or memory holds, and brackets without end
        raise RecipeError(f"recipe {name}: not valid TOML: {first_line(error)}") from error


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid over `base`, section by section."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        # A data set's options are replaced as a whole: those of another kind of data set would not fit.
        both = isinstance(below, Mapping) and isinstance(value, Mapping) and key != "options"
        merged[key] = merge(below, value) if both and below is not None else value
    return merged


def lay_over(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`merge`; what is given over a list of settings to ``choose`` is not chosen any more."""
    merged = merge(base, over)
    if isinstance(chosen := merged.get("choose"), list | tuple) and "choose" not in over:
        merged["choose"] = [name for name in chosen if name not in flatten(dict(over))]
    return merged


def parse_setting(text: str) -> tuple[str, Any]:
    """``NAME=VALUE`` with a TOML value, or a plain word. Raises `RecipeError` without ``=``."""
    name, equals, value = text.partition("=")
    if not equals:
        raise RecipeError(f"a setting is SECTION.FIELD=VALUE, got {text!r}.")
    try:
        return name.strip(), tomllib.loads(f"value = {value}")["value"]
    except (ValueError, RecursionError):
        return name.strip(), value.strip()  # an unquoted word: text


def setting_text(name: str, value: Any) -> str:
    """``NAME=VALUE`` of a setting, as `parse_setting` takes it."""
    return f"{name}={_inline(value)}"


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(str(name))} = {_inline(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_inline, value))}]"
    return json.dumps(value, ensure_ascii=False)  # a string, number or truth value is written alike in both


def write_toml(tree: Mapping[str, Any]) -> str:
    """TOML text of nested dictionaries; what is None is left out, since TOML has no value for it."""
    return tomli_w.dumps(_without_none(tree))


def flatten(tree: dict[str, Any]) -> dict[str, Any]:
    """Nested settings by dotted name, ``{"cam.epochs": 3}``; a data set's or a model's `options` stay whole."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping) and name != "options":
            flat |= {f"{name}.{inner}": below for inner, below in flatten(dict(value)).items()}
        else:
            flat[name] = value
    return flat


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_none(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [_without_none(inner) for inner in value]
    return value
