"""Arguments that share a line of a docstring, ``scales, flip: …``, get a line each in the reference."""

from __future__ import annotations

import re
from typing import Any

import griffe

GROUP = re.compile(r"^( +)(\w+(?:, \w+)+): (.*(?:\n\1 +\S.*)*)$", re.MULTILINE)
"""Indent, names, and the sentence with the lines that go on with it."""
ARGUMENTS = re.compile(r"^(?: *)(?:Args|Attributes):\n(?:(?: +\S.*)?\n?)*?(?=^ *\w+:$|\Z)", re.MULTILINE)


def split_groups(docstring: str) -> str:
    """The docstring with a line for each argument."""
    return ARGUMENTS.sub(lambda section: GROUP.sub(_one_each, section[0]), docstring)


def _one_each(group: re.Match[str]) -> str:
    indent, names, sentence = group.groups()
    return "\n".join(f"{indent}{name}: {sentence}" for name in names.split(", "))


class GroupedArguments(griffe.Extension):
    """Rewrites docstrings as they are read."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called for each module, class, function and attribute."""
        if obj.docstring:
            obj.docstring.value = split_groups(obj.docstring.value)
