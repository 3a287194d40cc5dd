"""No cell of a table is a formula, and every name reads back as it was."""

import csv
import io

import pytest

from recam.cells import as_text, from_cell, is_formula, table_text
from recam.evaluation.pixel_counts import ImageScore, read_image_scores, save_image_scores
from recam.report.figures import Figure

NAMES = [
    "=cmd|'/c calc'!A1",
    "+1",
    "-1.jpg",
    "@eaDir/x",
    "\t=1",
    "\r=1",
    "'=1",
    "''=1",
    "'",
    "'cow'",
    "cow",
    "",
    "a=b",
    "é",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_text_and_read_back(name):
    cell = as_text(name)
    assert not is_formula(cell)
    assert from_cell(cell) == name


def test_what_needs_no_mark_gets_none():
    assert [as_text(name) for name in ("cow", "'cow'", "a=b", "")] == ["cow", "'cow'", "a=b", ""]
    assert (as_text("=1"), as_text("'=1")) == ("'=1", "''=1")
    assert len({as_text(name) for name in NAMES}) == len(NAMES)


def test_rows_per_image(tmp_path):
    rows = [ImageScore(name, 1, 0.5, 1, 2, 3, 4, 5, -0.25) for name in NAMES]
    save_image_scores(tmp_path / "images.csv", rows)
    assert read_image_scores(tmp_path / "images.csv") == rows
    assert "\n'=cmd|" in (tmp_path / "images.csv").read_text()
    assert "'-" not in (tmp_path / "images.csv").read_text().replace("'-1.jpg", "")  # numbers stay numbers


def test_tables_of_figures():
    figure = Figure("x", "", "", "", b"", (("class", "IoU"), ("=1+1", -0.5), ("cow", None)), wide=False)
    assert figure.csv == "class,IoU\n'=1+1,-0.5\ncow,\n"


def test_line_breaks_of_any_kind_are_quoted():
    rows = [["a\rb", 1], ["a\nb", ""], ['"', "a,b"], ["cow", 0.5]]
    text = table_text(rows)
    assert text == '"a\rb",1\n"a\nb",\n"""","a,b"\ncow,0.5\n'
    assert list(csv.reader(io.StringIO(text, newline=""))) == [[str(cell) for cell in row] for row in rows]
