"""What the names of image files say of them: labels and groups, by a pattern such as ``{label}_{id}`` or by a regular
expression with named groups.

A pattern without ``/`` is compared with the last part of a name, one with ``/`` with the path from images/ on; both
without the file's ending. Every field stands for one character or more, as few as fit; a name that could be read in
several ways is not guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from recam.data.images import IMAGE_ENDINGS
from recam.errors import RecipeError
from recam.labels import nfc

_FIELD = re.compile(r"\{([^{}]*)\}")
_NAMED_GROUP = "(?P<"
MEANINGS = ("label", "group")
"""Fields that are read; others, such as ``{id}``, stand for anything."""


@dataclass(frozen=True)
class NameReading:
    """What a pattern found in a name.

    Attributes:
        fields: `MEANINGS` by name, those that the pattern has and the name shows.
        others: further ways to read the wanted field; where there are any, nobody knows which one is meant.
    """

    fields: dict[str, str]
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class NamePattern:
    """A pattern of file names.

    Attributes:
        text: as it was given.
        wanted: the field that it is there for.
        readings: regular expressions of the ways in which it may be read.
        decisive: the same with nothing but known names in the wanted field; None where none are known.
    """

    text: str
    wanted: str
    readings: tuple[re.Pattern[str], ...]
    decisive: re.Pattern[str] | None = None

    def read(self, image_id: str) -> NameReading | None:
        """What the name of an image (its path without ending) shows; None where it does not fit."""
        name = nfc(image_id) if "/" in self.text else nfc(image_id).rpartition("/")[2]
        found = [_fields(match) for each in self.readings if (match := each.fullmatch(name))]
        values = list(dict.fromkeys(fields.get(self.wanted, "") for fields in found))
        if len(values) > 1 and self.decisive and (match := self.decisive.fullmatch(name)):
            return NameReading(_fields(match))
        return NameReading(found[0], tuple(values[1:])) if found else None


def is_pattern(text: str) -> bool:
    """Whether a text is a pattern of names and no plain word."""
    return bool(_FIELD.search(text)) or _NAMED_GROUP in text


def make_pattern(
    text: str, wanted: str, setting: str, known: Collection[str] | None = None, separator: str | None = None
) -> NamePattern:
    """A pattern of names.

    Args:
        text: with fields in braces, or a regular expression with a named group.
        wanted: the field that it must have, ``label`` or ``group``.
        setting: its name, for messages.
        known: names that the field may hold, joined by `separator` where there is one; they decide between readings.

    Raises:
        RecipeError: no such field, fields that nothing parts, or no valid expression.
    """
    advice = f"Give a pattern such as '{{{wanted}}}_{{id}}', or a regular expression with a group (?P<{wanted}>…)."
    try:
        if _NAMED_GROUP in text:
            expression = re.compile(text)
            if wanted not in expression.groupindex:
                raise RecipeError(f"{setting} = {text!r} has no group (?P<{wanted}>…). {advice}")
            return NamePattern(text, wanted, (expression,))
    except re.error as error:
        raise RecipeError(f"{setting} = {text!r} is no regular expression ({error}). {advice}") from error
    fields = _FIELD.findall(text)
    doubled = sorted({name for name in fields if fields.count(name) > 1})
    if wanted not in fields:
        raise RecipeError(f"{setting} = {text!r} has no field {{{wanted}}}. {advice}")
    if doubled or not all(name.isidentifier() for name in fields) or "}{" in text:
        wrong = (
            f"the field {{{doubled[0]}}} twice"
            if doubled
            else "fields with nothing between them"
            if "}{" in text
            else "a field that is no name"
        )
        raise RecipeError(f"{setting} = {text!r} has {wrong}. {advice}")
    shape = next((text[: -len(ending)] for ending in IMAGE_ENDINGS if text.lower().endswith(ending)), text)
    lazy, greedy = (_expression(shape, wanted, part) for part in (r"[^/]+?", r"[^/]+"))
    decisive = None
    if known:
        names = "|".join(re.escape(name) for name in sorted(map(nfc, known), key=lambda name: -len(name)))
        one = f"(?:{names})"
        several = f"{one}(?:{re.escape(separator)}{one})*" if separator else one
        decisive = _expression(shape, wanted, several)
    return NamePattern(shape, wanted, (lazy, greedy), decisive)


def _expression(text: str, wanted: str, part: str) -> re.Pattern[str]:
    """The pattern as a regular expression, `part` in place of the field that is wanted."""
    return re.compile("".join(_pieces(text, wanted, part)))


def _pieces(text: str, wanted: str, part: str) -> Iterator[str]:
    for index, piece in enumerate(_FIELD.split(text)):
        if index % 2 == 0:
            yield re.escape(nfc(piece))
        elif piece in MEANINGS:
            yield f"(?P<{piece}>{part if piece == wanted else r'[^/]+?'})"
        else:
            yield r"[^/]+?"


def _fields(match: re.Match[str]) -> dict[str, str]:
    return {name: value for name, value in match.groupdict().items() if name in MEANINGS and value is not None}
