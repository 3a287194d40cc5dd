"""One figure: drawn once with Matplotlib, kept as SVG (for the page, in its colours light and dark), PNG and CSV."""

from __future__ import annotations

import io
import os
import re
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recam.cells import as_text, table_text
from recam.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Cell = str | float | int | None

PALETTE = {
    "ink": ("#1f2633", "#e8eaf0"),
    "muted": ("#69727f", "#98a1b0"),
    "line": ("#dfe3e9", "#333a46"),
    "paper": ("#fefefe", "#191d24"),
    "grey": ("#8b98a9", "#8d9aad"),
    "violet": ("#b08fc7", "#b596d0"),
    "orange": ("#dd5a2b", "#f27e52"),
    "teal": ("#1f9488", "#3dbdaf"),
    "red": ("#c7392f", "#ee6a5f"),
    "blue": ("#3567c4", "#6f9bf0"),
    "slate": ("#4d5766", "#b9c1cd"),
    "amber": ("#d9992b", "#e8b04c"),
    "rose": ("#c65b8e", "#e07fae"),
    "olive": ("#7c8f2f", "#a5b955"),
}
"""Colour by name: on light and on dark ground. Figures are drawn in the light ones; the page turns each into its CSS
variable."""
SERIES = ("orange", "blue", "teal", "amber", "rose", "olive", "violet", "slate", "grey", "red")
"""What labels of stages may name as their colour; and, in this order, for what is compared but has none of its own,
such as runs."""

WIDTH = 5.4
"""Inches; text of 10 points then reads well on a phone and beside another figure on a desktop."""

LONG_LABEL = 32
"""Characters above which two labels of a legend do not fit beside each other."""

_STYLE: dict[Any, Any] = {
    "font.size": 10,
    "font.family": ["DejaVu Sans"],
    "text.color": PALETTE["ink"][0],
    "axes.edgecolor": PALETTE["line"][0],
    "axes.labelcolor": PALETTE["muted"][0],
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": PALETTE["line"][0],
    "grid.linewidth": 0.7,
    "xtick.color": PALETTE["line"][0],
    "ytick.color": PALETTE["line"][0],
    "xtick.labelcolor": PALETTE["muted"][0],
    "ytick.labelcolor": PALETTE["ink"][0],
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "ytick.major.pad": 6,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.9,
    "svg.fonttype": "none",
    "svg.hashsalt": "recam",
    "text.parse_math": False,
}


@dataclass(frozen=True)
class Figure:
    """A drawn figure.

    Attributes:
        name: of its files.
        title: what it shows.
        note: how to read it, one sentence.
        svg: as a file of its own; `inline` is what a page holds.
        png: at 160 dots per inch, on white.
        table: header and rows of its numbers.
        wide: takes the whole width of a page.
    """

    name: str
    title: str
    note: str
    svg: str
    png: bytes
    table: tuple[tuple[Cell, ...], ...]
    wide: bool

    @property
    def csv(self) -> str:
        """The numbers, all digits; text that a spreadsheet would run as a formula is marked as text."""
        return table_text([_plain(cell) for cell in row] for row in self.table)

    @property
    def inline(self) -> str:
        """The SVG element alone, in the page's variables of colour and its font; without ids that another figure has
        too."""
        text = self.svg[self.svg.index("<svg") :]
        text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
        used = set(re.findall(r"#([\w-]+)", text))
        text = re.sub(r' id="([\w-]+)"', lambda found: found[0] if found[1] in used else "", text)
        for name, (light, _) in PALETTE.items():
            text = text.replace(light, f"var(--{name})")
        text = text.replace("'DejaVu Sans'", "inherit").replace(", sans-serif", "")
        return re.sub(r'<svg ([^>]*?)width="[\d.]+pt" height="[\d.]+pt"', r'<svg role="img" \1', text).replace(
            'height="100%"', "", 1
        )

    def save(self, folder: Path) -> None:
        """Write ``NAME.svg``, ``NAME.png`` and ``NAME.csv``."""
        for ending, content in (("svg", self.svg.encode()), ("png", self.png), ("csv", self.csv.encode())):
            write_bytes(folder / f"{self.name}.{ending}", content)


def _plain(cell: Cell) -> Cell:
    return "" if cell is None else as_text(cell) if isinstance(cell, str) else cell


def draw(
    name: str,
    title: str,
    note: str,
    table: Sequence[Sequence[Cell]],
    paint: Callable[..., None],
    height: float = 3.4,
    width: float = WIDTH,
    columns: int = 1,
) -> Figure:
    """Draw a figure.

    Args:
        name, title, note: see `Figure`.
        table: header and rows.
        paint: given one Axes for each of `columns`, which share their y axis.
        height, width: inches.
    """
    # Matplotlib keeps a list of fonts; without this it would make folders in the user's home.
    os.environ.setdefault("MPLCONFIGDIR", str(Path(tempfile.gettempdir()) / f"recam-matplotlib-{os.getuid()}"))
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Canvas

    # Names of classes in any script: the page has the reader's fonts, a missing glyph in the PNG is no reason to warn.
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*missing from.*font.*")
        canvas = Canvas(figsize=(width, height), layout="constrained")
        axes = canvas.subplots(1, columns, sharey=columns > 1, squeeze=False)[0]
        paint(*axes)
        png, svg = io.BytesIO(), io.StringIO()
        FigureCanvasAgg(canvas).print_figure(png, dpi=160, facecolor="white", format="png")
        FigureCanvasSVG(canvas).print_figure(svg, format="svg", facecolor="none", metadata={"Date": None})
    return Figure(name, title, note, svg.getvalue(), png.getvalue(), tuple(map(tuple, table)), width > WIDTH)


def light(name: str) -> str:
    """The colour in which figures are drawn."""
    return PALETTE[name][0]


def legend_below(axes: Axes, columns: int = 2) -> None:
    """A legend under the axes, clear of the data."""
    handles, labels = axes.get_legend_handles_labels()
    if any(len(label) > LONG_LABEL for label in labels):
        columns = 1
    if labels:
        axes.figure.legend(handles, labels, loc="outside lower left", ncols=min(columns, len(labels)), handlelength=1.6)
