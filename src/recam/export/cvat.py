"""CVAT for images 1.1 (https://docs.cvat.ai/docs/other/xml_format): ``annotations.xml`` with one mask for each class of
an image.

A ``mask`` holds its box and the run lengths of the pixels in it, row by row, beginning with those that are not in. CVAT
finds photos by name and classes by label: make the task with these photos, and its labels by pasting ``labels.json``
into the constructor's raw view. Polygons (`shapes="polygons"`) are CVAT's polygons.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO
from xml.sax.saxutils import escape, quoteattr

from recam.export.formats import MaskFormat, formats, hex_colour, text_file
from recam.export.mask_set import MaskSet
from recam.export.outlines import Loop
from recam.export.shapes import Binary, box_of, run_lengths

FILE = "annotations.xml"


@formats.register("cvat")
class Cvat(MaskFormat):
    """``annotations.xml`` and ``labels.json``."""

    def write(self, masks: MaskSet, folder: Path) -> int:
        """Write both."""
        kind = "polygon" if masks.shapes == "polygons" else "mask"
        colours = {name: hex_colour(value) for value, name in masks.named.items()}
        labels = [{"name": name, "color": colour, "type": kind, "attributes": []} for name, colour in colours.items()]
        with text_file(folder / "labels.json") as file:
            file.write(json.dumps(labels, indent=2, ensure_ascii=False) + "\n")
        with text_file(folder / FILE) as file:
            _write_head(file, len(masks.items), colours, kind)
            shapes = sum(_write_image(file, masks, number, kind) for number, _ in enumerate(masks.each("cvat")))
            file.write("</annotations>\n")
        return shapes


def _write_head(file: TextIO, count: int, colours: Mapping[str, str], kind: str) -> None:
    file.write(
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n  <meta>\n    <task>\n'
    )
    file.write(f"      <name>recam</name>\n      <size>{count}</size>\n      <mode>annotation</mode>\n      <labels>\n")
    for name, colour in colours.items():
        parts = f"<name>{escape(name)}</name><color>{colour}</color><type>{kind}</type><attributes></attributes>"
        file.write(f"        <label>{parts}</label>\n")
    file.write("      </labels>\n    </task>\n  </meta>\n")


def _write_image(file: TextIO, masks: MaskSet, number: int, kind: str) -> int:
    """Write the shapes of one image; returns how many."""
    item = masks.items[number]
    height, width = item.size
    file.write(f'  <image id="{number}" name={quoteattr(item.image_name)} width="{width}" height="{height}">\n')
    shapes = 0
    for region in masks.regions(item):
        shapes += 1
        for attributes in _polygons(region.polygons) if kind == "polygon" else [_mask(region.binary)]:
            shape = f'label={quoteattr(region.name)} source="auto" occluded="0" {attributes} z_order="0"'
            file.write(f"    <{kind} {shape}></{kind}>\n")
    file.write("  </image>\n")
    return shapes


def _mask(binary: Binary) -> str:
    left, top, width, height = box_of(binary)
    runs = run_lengths(binary[top : top + height, left : left + width].ravel())
    return f'rle="{", ".join(map(str, runs.tolist()))}" left="{left}" top="{top}" width="{width}" height="{height}"'


def _polygons(loops: Sequence[Loop]) -> list[str]:
    return [f'points="{";".join(f"{x:.2f},{y:.2f}" for x, y in loop.tolist())}"' for loop in loops]
