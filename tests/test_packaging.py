"""The conda recipe: what it requires, and its version, are those of pyproject.toml."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RECIPE = yaml.safe_load((ROOT / "packaging/conda/recipe.yaml").read_text())
NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base"}
"""What conda-forge calls differently."""


def test_requirements_are_those_of_the_package():
    wanted = [f"python {PROJECT['requires-python']}"]
    for requirement in PROJECT["dependencies"]:
        name, bounds = re.fullmatch(r"([\w-]+)(.*)", requirement).groups()
        wanted.append(f"{NAMES.get(name, name)} {bounds}")
    assert RECIPE["requirements"]["run"] == wanted


def test_version_command_and_licence():
    assert RECIPE["context"]["version"] == PROJECT["version"]
    (command,) = (f"{name} = {place}" for name, place in PROJECT["scripts"].items())
    assert RECIPE["build"]["python"]["entry_points"] == [command]
    assert RECIPE["about"]["license"] == PROJECT["license"]
    assert RECIPE["about"]["summary"] == PROJECT["description"]
