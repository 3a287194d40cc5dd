"""What README and docs show exists: commands and their options, recipes, Python names, links, make targets, files."""

import ast
import dataclasses
import importlib
import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.main import get_command

from recam.cli import app
from recam.pipeline.plan import check_group
from recam.recipe.recipe import load_recipe
from recam.recipe.toml import recipe_names
from recam.settings import sections

ROOT = Path(__file__).parent.parent
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in [*ROOT.glob("*.md"), *sorted(ROOT.glob("docs/*.md"))]
}
COMMANDS = get_command(app).commands


def blocks(page: str, language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", PAGES[page], re.DOTALL | re.MULTILINE)
    return [text for named, text in fenced if named == language]


def shell_lines() -> list[tuple[str, list[str]]]:
    """(page, words) of each line of a shell block, comments taken off."""
    lines = [
        (page, line)
        for page in PAGES
        for block in blocks(page, "sh")
        for line in block.replace("\\\n", " ").splitlines()
    ]
    return [(page, words) for page, line in lines if (words := shlex.split(line, comments=True))]


def shown_commands() -> list[tuple[str, list[str]]]:
    """(page, words from ``recam`` on): whole lines of shell blocks, also behind a launcher, and whole commands in
    running text."""
    found = [(page, words[words.index("recam") :]) for page, words in shell_lines() if "recam" in words]
    for page, text in PAGES.items():
        prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
        found += [(page, shlex.split(code)) for code in re.findall(r"`(recam \w+ [^`\[]+)`", prose)]
    return found


def test_there_is_something_to_hold_the_pages_to():
    assert len(shown_commands()) > 15
    assert {page for page, _ in shown_commands()} >= {
        "README.md",
        "docs/data.md",
        "docs/run.md",
        "docs/recipes.md",
        "docs/predict.md",
    }


@pytest.mark.parametrize(
    ("page", "words"), shown_commands(), ids=lambda value: value if isinstance(value, str) else " ".join(value)[:60]
)
def test_commands_parse(page, words):
    _, command, *arguments = words
    assert command in COMMANDS, f"{page}: there is no command recam {command}"
    if inner := getattr(COMMANDS[command], "commands", None):  # a family of commands
        assert arguments[0] in inner, f"{page}: there is no command recam {command} {arguments[0]}"
        inner[arguments[0]].make_context(arguments[0], arguments[1:])
        return
    parameters = (
        COMMANDS[command].make_context(command, arguments).params
    )  # raises for an unknown option or a missing argument
    if command == "run":
        # Files of the reader's own are not here; their settings still have to hold.
        recipe = parameters["recipe"] if not parameters["recipe"].endswith(".toml") else "recam"
        load_recipe(recipe, parameters["setting"] or ())
        check_group(parameters["until"])
    if command == "recipes" and parameters["name"]:
        assert parameters["name"] in recipe_names()


SETTING = re.compile(rf"`({'|'.join(sections)})\.(\w+)(?: = [^`]*)?`")


@pytest.mark.parametrize("page", [page for page in PAGES if page != "CHANGELOG.md"])
def test_settings_named_in_passing_exist(page):
    """`section.field`, unless it is a function of that method's file, or of the package itself, or a file."""
    unknown = []
    for section, name in SETTING.findall(PAGES[page]):
        fields = [field.name for field in dataclasses.fields(sections[section])]
        module = "recam" if section == "recam" else f"recam.methods.{section}"
        is_code = find_spec(module) and hasattr(importlib.import_module(module), name)
        if name not in (*fields, "json", "yaml") and not is_code and not find_spec(f"recam.{name}"):
            unknown.append(f"{section}.{name}")
    assert not unknown, f"{page} names settings that do not exist: {unknown}"


def test_commands_named_in_passing_exist():
    named = {name for text in PAGES.values() for name in re.findall(r"`recam (\w+)", text)}
    assert named == set(COMMANDS), "README and docs should name each command, and no other"


@pytest.mark.parametrize("page", PAGES)
def test_python_compiles_and_its_names_exist(page):
    for code in blocks(page, "python"):
        tree = ast.parse(code, filename=page)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(str(node.module))
                missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
                assert not missing, f"{page}: {node.module} has no {missing}"


@pytest.mark.parametrize("page", ["README.md", "docs/methods.md", "docs/refine.md", "docs/field.md"])
def test_python_on_plain_tensors_runs(page):
    found = [code for code in blocks(page, "python") if "runs/" not in code]
    assert found
    for code in found:
        if "crf" in code:
            pytest.importorskip("pydensecrf", reason="the dense CRF needs pydensecrf2: pip install 'recam[crf]'")
        exec(compile(code, page, "exec"), {})


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)\)", PAGES[page])
    inner = [link for link in links if not link.startswith(("http://", "https://"))]
    for link in inner:
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), f"{page}: {link} leads nowhere"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{page}: {link} names no heading"


def test_make_targets_exist():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    shown = {name for text in PAGES.values() for name in re.findall(r"(?:^|`)make ([\w-]+)", text, re.MULTILINE)}
    assert {"demo", "test"} <= shown <= targets


def test_the_tree_shows_what_is_there():
    block = next(block for block in blocks("README.md", "") if block.startswith("README.md"))
    folders: list[str] = []
    for line in block.splitlines():
        name, depth = line.split()[0], (len(line) - len(line.lstrip())) // 2
        folders = [*folders[:depth], name]
        path = ROOT.joinpath(*folders)
        assert path.is_dir() if name.endswith("/") else path.is_file(), (
            f"README.md: the tree shows {path.relative_to(ROOT)}"
        )
    packages = {path.parent.name for path in (ROOT / "src" / "recam").glob("*/__init__.py")}
    assert not {f"{package}/" for package in packages} - set(block.split()), "README.md: the tree lacks a package"
