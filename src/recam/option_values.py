"""Values of options of the command line that are several in one text."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

from recam.errors import RecipeError


def parse_names(text: str | None) -> list[str] | None:
    """Names separated by commas, or a JSON list of them where a name holds a comma. Raises `RecipeError` for a
    list that is none."""
    if text is None or not text.lstrip().startswith("["):
        return None if text is None else [name.strip() for name in text.split(",")]
    try:
        names = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RecipeError(
            f'--classes {text}: no JSON list ({error}). Write it as \'["bird, small", "cow"]\'.'
        ) from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RecipeError(f'--classes {text}: write a list of names, as \'["bird, small", "cow"]\'.')
    return names


def data_options(settings: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Options of a data set by name: ``group``, ``data.group`` and ``data.options.group`` are one. Raises `RecipeError`
    for a setting of another section."""
    options: dict[str, Any] = {}
    for name, value in settings:
        own = name.removeprefix("data.").removeprefix("options.")
        if "." in own:
            raise RecipeError(f"{name} is no setting of a data set. Give those alone, as data.NAME=VALUE.")
        options |= value if own == "options" and isinstance(value, dict) else {own: value}
    return options


def parse_numbers(text: str | None) -> list[float] | None:
    """Finite numbers separated by commas. Raises `RecipeError` for anything else."""
    try:
        numbers = None if text is None else [float(number) for number in text.split(",")]
    except ValueError as error:
        raise RecipeError(f"{text!r} is no list of numbers; write them as 0.75,1,1.25.") from error
    if numbers and not all(map(math.isfinite, numbers)):
        raise RecipeError(f"{text!r} holds what is no number; write them as 0.75,1,1.25.")
    return numbers


def parse_seeds(text: str) -> int | list[int]:
    """How many seeds, or which: ``3``, ``0,1,2``, and ``4,`` for a single one. Raises `RecipeError` for anything
    else."""
    try:
        numbers = [int(number) for number in text.split(",") if number.strip()]
    except ValueError as error:
        raise RecipeError(f"--seeds {text}: write how many, as 3, or which, as 0,1,2.") from error
    if min(numbers, default=-1) < 0:
        raise RecipeError(f"--seeds {text}: seeds are 0 or above. Write how many, as 3, or which, as 0,1,2.")
    return numbers if "," in text else numbers[0]


def with_options(
    settings: Sequence[str] | None, classes: str | None = None, log: Sequence[str] | None = None
) -> list[str]:
    """Settings of ``--set``, and after them those of ``--classes`` and ``--log``."""
    named = [f"data.classes={json.dumps(parse_names(classes))}"] if classes else []
    return [*(settings or []), *named, *([f"compute.log={json.dumps(list(log))}"] if log else [])]
