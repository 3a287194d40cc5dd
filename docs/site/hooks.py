"""What the site needs beside its pages: files of the repository that pages link to, and no script from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent.parent
OUTSIDE = re.compile(r"\]\(\.\./([^)#\s]+)")
"""A link out of docs/, which on the site leads to a copy under repository/."""


def linked(text: str) -> set[str]:
    """Paths from the root of the repository that a page links to, beside docs/."""
    return set(OUTSIDE.findall(text))


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Copy what pages link to and lies outside docs/."""
    paths = {path for page in files.documentation_pages() for path in linked(page.content_string)}
    for path in sorted(paths):
        files.append(File.generated(config, f"repository/{path}", abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links out of docs/ to the copies."""
    return OUTSIDE.sub(r"](repository/\1", markdown)
