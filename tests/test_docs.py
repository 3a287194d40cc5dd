"""docs/recipes.md shows every setting and every shipped recipe, with the defaults and sentences that the code has.

``python tests/test_docs.py`` writes the rows of settings into the page.
"""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from recam.recipe.recipe import Recipe, load_recipe
from recam.recipe.toml import recipe_names
from recam.settings import Settings, as_json, sections, sentences

PATH = Path(__file__).parent.parent / "docs" / "recipes.md"
PAGE = PATH.read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(?:(\w+)\.)?\w+` \| .* \| .* \|$")


def row(name: str, default: object, sentence: str) -> str:
    shown = "none" if default is None else f"`{json.dumps(as_json(default), ensure_ascii=False)}`"
    return f"| `{name}` | {shown} | {' '.join(sentence.split()).replace('``', '`')} |"


def rows_of(section: str) -> list[str]:
    """What the page should show of a section; of what stands outside them for an empty name."""
    if not section:
        own = [(name, field) for name, field in Recipe.model_fields.items() if not isinstance(field.default, Settings)]
        return [row(name, field.default, str(field.description)) for name, field in own]
    kind = sections[section]
    defaults, told = kind(), sentences(kind)
    return [
        row(f"{section}.{field.name}", getattr(defaults, field.name), told[field.name])
        for field in dataclasses.fields(kind)
    ]


def part(heading: str) -> str:
    """The lines under a heading, up to the next of its level."""
    assert f"\n{heading}\n" in PAGE, f"docs/recipes.md has no heading {heading!r}"
    level = heading.partition(" ")[0]
    return re.split(rf"\n{level} ", PAGE.split(f"\n{heading}\n", 1)[1])[0]


def shown() -> dict[str, list[str]]:
    """Rows of the page by section, in order."""
    found: dict[str, list[str]] = {}
    for line in part("## All settings").splitlines():
        if match := ROW.match(line):
            found.setdefault(match[1] or "", []).append(line)
    return found


@pytest.mark.parametrize("section", ["", *sections])
def test_every_setting_has_its_row(section):
    assert shown().get(section, []) == rows_of(section), "run python tests/test_docs.py"


def test_every_section_that_is_shown_exists():
    assert set(shown()) == {"", *sections}


def test_every_field_has_a_sentence():
    for name, kind in sections.items():
        assert list(sentences(kind)) == [field.name for field in dataclasses.fields(kind)], name


def test_every_shipped_recipe_has_its_row():
    told = part("## Shipped recipes")
    assert sorted(re.findall(r"^\| `([\w-]+)` \|", told, re.MULTILINE)) == recipe_names()


@pytest.mark.parametrize("name", recipe_names())
def test_commands_in_the_heads_of_recipes_hold(name):
    """The comments above a recipe show commands with settings of today."""
    text = (Path(__file__).parent.parent / "src/recam/recipes" / f"{name}.toml").read_text(encoding="utf-8")
    comments = "\n".join(line.removeprefix("#") for line in text.splitlines() if line.startswith("#"))
    for command in re.findall(r"^ +recam run (?:.*\\\n)*.*", comments, re.MULTILINE):
        given = re.findall(r"--set (?:'([^']+)'|(\S+))", command)
        load_recipe(name, [quoted or plain for quoted, plain in given])


def write() -> None:
    """Replace the rows of each section that the page has, in place."""
    text = PAGE
    for section, old in shown().items():
        new = rows_of(section) if section in ("", *sections) else []
        text = text.replace("\n".join(old), "\n".join(new))
    for section in set(sections) - set(shown()):
        print("\n".join(["docs/recipes.md lacks these rows; put them into one of its tables:", *rows_of(section)]))
    PATH.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
