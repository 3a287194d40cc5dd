"""A prediction as a notebook shows it: one piece of HTML that needs no other file."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from html import escape

import numpy as np
import PIL.Image

from recam.labels import class_colours
from recam.types import Image, Mask
from recam.visualize import overlay_mask, paint_mask

WIDEST = 640
"""Pixels of the longer side of the picture: a notebook keeps it in its file."""


def as_html(mask: Mask, image: Image | None, found: Mapping[int, tuple[str, float, float]], caption: str) -> str:
    """The mask (H, W) over its image (H, W, n), or alone without one, and a line for each class.

    Args:
        found: name, share of the pixels and probability, both in [0, 1], by mask value.
        caption: what the picture shows, for those who do not see it.
    """
    shrunk = PIL.Image.fromarray(paint_mask(mask, class_colours()) if image is None else overlay_mask(image, mask))
    shrunk.thumbnail((WIDEST, WIDEST))
    packed = io.BytesIO()
    shrunk.save(packed, "PNG")
    source = f"data:image/png;base64,{base64.b64encode(packed.getvalue()).decode()}"
    colours = class_colours()
    rows = "".join(
        _row(name, share, probability, colours[value]) for value, (name, share, probability) in found.items()
    )
    table = f"<table><tr><th></th><th>class</th><th>of the pixels</th><th>probability</th></tr>{rows}</table>"
    size = f'width="{shrunk.width}" height="{shrunk.height}"'
    return f'<img src="{source}" {size} alt="{escape(caption)}">{table if found else "<p>no class found</p>"}'


def _row(name: str, share: float, probability: float, colour: np.ndarray) -> str:
    square = f"display:inline-block;width:1em;height:1em;background:rgb({','.join(map(str, colour.tolist()))})"
    cells = (f'<span style="{square}"></span>', escape(name), f"{100 * share:.1f} %", f"{probability:.2f}")
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
