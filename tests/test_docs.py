"""docs/recipes.md tells of every setting and every shipped recipe, with the defaults and sentences that the code
has."""

import json
import re
from pathlib import Path

import pytest
from pydantic.fields import FieldInfo
from recam.recipe.sections import Section

from recam.recipe.recipe import Recipe, recipe_names

PAGE = (Path(__file__).parent.parent / "docs" / "recipes.md").read_text(encoding="utf-8")
FIELDS = dict(Recipe.model_fields)
SECTIONS = {name: field.default for name, field in FIELDS.items() if isinstance(field.default, Section)}
TOP = {name: field for name, field in FIELDS.items() if name not in SECTIONS}


def row(name: str, field: FieldInfo) -> str:
    default = "" if field.default is None else f"`{json.dumps(field.default, ensure_ascii=False)}`"
    sentence = " ".join(str(field.description).split()).replace("``", "`")
    return f"| `{name}` | {default or 'none'} | {sentence} |"


def part(heading: str) -> str:
    """The lines under a heading, up to the next."""
    assert f"\n{heading}\n" in PAGE, f"docs/recipes.md has no heading {heading!r}"
    return re.split(r"\n#+ ", PAGE.split(f"\n{heading}\n", 1)[1])[0]


@pytest.mark.parametrize("section", ["", *SECTIONS])
def test_every_setting_has_its_row(section):
    fields = type(SECTIONS[section]).model_fields if section else TOP
    told = part(f"### `[{section}]`" if section else "### Outside the sections")
    rows = [row(name, field) for name, field in fields.items()]
    missing = [line for line in rows if line not in told.splitlines()]
    assert not missing, "docs/recipes.md lacks or contradicts these rows:\n" + "\n".join(missing)
    assert told.count("\n| `") == len(rows), f"docs/recipes.md tells of settings that [{section}] does not have"


def test_every_shipped_recipe_is_told():
    told = part("## Shipped recipes")
    assert not [name for name in recipe_names() if f"| `{name}` |" not in told]
