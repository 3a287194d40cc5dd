"""Text in tables that people open in a spreadsheet, which runs a cell such as ``=cmd|'/c calc'!A1`` as a formula.

A cell that could be one gets an apostrophe in front, as spreadsheets themselves mark text; our own readers take it off
again, so every name reads back as it was. Tables that are data sets (``labels.csv``) keep names as they are: there a
name is a path or a class that other programs compare letter by letter.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def is_formula(text: str) -> bool:
    """Whether a spreadsheet would take the text for a formula."""
    return text[:1] in ("=", "+", "-", "@", "\t", "\r")


def as_text(text: str) -> str:
    """The text as a cell that no spreadsheet takes for a formula. Text that begins with apostrophes before such a sign
    gets one more."""
    return f"'{text}" if _FORMULA.match(text) else text


def from_cell(cell: str) -> str:
    """The text that `as_text` made the cell of."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def table_text(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV, a line each. Cells with a line break of any kind are quoted, which Python's writer forgets for
    carriage returns."""
    lines = []
    for row in rows:
        line = io.StringIO()
        csv.writer(line, lineterminator="\r\n").writerow(row)  # what ends lines is what gets quoted
        lines.append(line.getvalue().removesuffix("\r\n") + "\n")
    return "".join(lines)
