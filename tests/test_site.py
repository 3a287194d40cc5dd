"""The documentation as a site: it builds without a warning, loads nothing from elsewhere, shows every public name."""

import ast
import re
import runpy
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import recam

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
LOADED = re.compile(r'<(?!a\b)\w+\b[^>]*\b(?:src|href)="(?:https?:)?//')
"""What a browser fetches from elsewhere to show a page: all but links that a reader follows."""
SHOWN = re.compile(r"^::: (\S+)$", re.MULTILINE)


def test_the_reference_shows_every_public_name():
    names = SHOWN.findall((DOCS / "api.md").read_text(encoding="utf-8"))
    assert sorted(names) == sorted([*(f"recam.{name}" for name in recam.__all__), "recam.errors"])


def test_the_reference_shows_every_method():
    names = SHOWN.findall((DOCS / "api-methods.md").read_text(encoding="utf-8"))
    files = {path.stem for path in (ROOT / "src/recam/methods").glob("*.py")} - {"__init__"}
    assert sorted(names) == sorted(f"recam.methods.{name}" for name in files)


def test_arguments_that_share_a_line_get_one_each():
    griffe = pytest.importorskip("griffe", reason="the extra docs is not installed")
    assert griffe
    split = runpy.run_path(str(DOCS / "site/grouped_arguments.py"))["split_groups"]
    told = "Sum up.\n\nArgs:\n    a, b: numbers\n        to add.\n    c: one, two: more.\n\nRaises:\n    A, B: never.\n"
    assert split(told) == (
        "Sum up.\n\nArgs:\n    a: numbers\n        to add.\n    b: numbers\n        to add.\n    c: one, two: more.\n\n"
        "Raises:\n    A, B: never.\n"
    )


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path):
    if not (find_spec("material") and find_spec("mkdocstrings")):
        pytest.skip("the extra docs is not installed")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.glob("*.html")}
    assert set(pages) == {path.with_suffix(".html").name for path in DOCS.glob("*.md")} | {"404.html"}
    assert not [name for name, text in pages.items() if LOADED.search(text)]
    styles = [path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.css")]
    assert not any(re.search(r"(?:url\(|@import )[\"']?(?:https?:)?//", text) for text in styles)
    assert 'id="recam.Predictor.__call__"' in pages["api.html"] or 'id="recam.Predictor"' in pages["api.html"]
    assert 'id="recam.methods.recam.reactivation_loss"' in pages["api-methods.html"]
    assert (tmp_path / "repository/examples/plain_tensors.py").read_text() == (
        ROOT / "examples/plain_tensors.py"
    ).read_text()


def test_every_message_of_the_troubleshooting_page_is_one_of_ours():
    """Each part between ellipses stands in a text of the source, all parts of a message in the same file."""
    sources = [_texts(path) for path in (ROOT / "src/recam").rglob("*.py")]
    rows = re.findall(r"^\| `([^`]+)` \|", (DOCS / "troubleshooting.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) > 20
    for message in rows:
        parts = [part.strip(" .()") for part in message.split("…")]
        assert any(all(part in text for part in parts) for text in sources), f"no source says {message!r}"


def _texts(path: Path) -> str:
    """All texts that a file writes, a line each, with … where it fills in a value."""
    texts = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            texts.append("".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.append(node.value)
    return "\n".join(texts)
