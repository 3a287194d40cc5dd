"""Numbers of JSON files as programs write them: a table that went through pandas has 1.0, one that went through a web
form has "1"."""

from __future__ import annotations

import json
import math
import re
from contextlib import suppress
from typing import Any

_WHOLE = re.compile(r"\s*([+-]?[0-9]{1,18})(?:\.0*)?\s*")
_DECIMAL = re.compile(r"\s*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\s*")
_EXACT = 2**53
"""Up to here floats hold every whole number, so 1.0 can mean nothing but 1."""


def whole_number(value: Any) -> int | None:
    """A whole number that is written as one, as a float without fraction or as text; None for anything else, truth
    values included.

    >>> [whole_number(value) for value in (1, 1.0, "1", "1.0", 1.5, True, float("nan"), "one")]
    [1, 1, 1, 1, None, None, None, None]
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if math.isfinite(value) and value.is_integer() and abs(value) <= _EXACT else None
    if isinstance(value, str) and (found := _WHOLE.fullmatch(value)):
        return int(found[1])
    return None


def truth_value(value: Any) -> bool | None:
    """0, 1, true or false, as a number, a truth value or text; None for anything else.

    >>> [truth_value(value) for value in (0, "0", False, "false", 1.0, "yes", 2)]
    [False, False, False, False, True, None, None]
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    number = whole_number(value)
    return bool(number) if number in (0, 1) else None


def unquoted(value: Any) -> Any:
    """Numbers in place of text that is one, in a list, in lists in it, and in the lists of an object; what is written
    as one text, ``"[[1, 2]]"``, is read first.

    >>> unquoted([["1", " 2.5", 3, "x"]])
    [[1.0, 2.5, 3, 'x']]
    """
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        with suppress(ValueError):
            value = json.loads(value)
    if isinstance(value, dict):
        return {name: unquoted(inner) if isinstance(inner, list) else inner for name, inner in value.items()}
    if isinstance(value, list):
        return [unquoted(inner) if isinstance(inner, list) else _number(inner) for inner in value]
    return value


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, str) and _DECIMAL.fullmatch(value) else value
