"""Label Studio's tasks with predictions (https://labelstud.io/guide/predictions): ``tasks.json``, and the labelling
interface for them.

A class of an image is one brush region, or polygons in percent of the image's size. Photos are referred to by address:
the default, ``/data/local-files/?d=NAME``, is that of files below the server's document root; give another prefix for
others.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from recam.export.formats import MaskFormat, formats, hex_colour, text_file, write_rows
from recam.export.mask_set import MaskSet, Region
from recam.export.shapes import brush_runs

FILE = "tasks.json"
LOCAL_FILES = "/data/local-files/?d="
_TAGS = {"rle": "BrushLabels", "polygons": "PolygonLabels"}


@formats.register("label-studio")
class LabelStudio(MaskFormat):
    """``tasks.json``, to import, and ``interface.xml``, to paste into the project's labelling interface."""

    has_image_prefix = True

    def write(self, masks: MaskSet, folder: Path) -> int:
        """Write both."""
        tag = _TAGS[masks.shapes]
        with text_file(folder / "interface.xml") as file:
            file.write(
                f'<View>\n  <Image name="image" value="$image" zoom="true"/>\n  <{tag} name="mask" toName="image">\n'
            )
            for value, name in masks.named.items():
                file.write(f'    <Label value={quoteattr(name)} background="{hex_colour(value)}"/>\n')
            file.write(f"  </{tag}>\n</View>\n")
        counted: list[int] = []
        with text_file(folder / FILE) as file:
            write_rows(file, _tasks(masks, counted))
        return sum(counted)


def _tasks(masks: MaskSet, counted: list[int]) -> Iterator[dict[str, Any]]:
    prefix = masks.image_prefix or LOCAL_FILES
    for item in masks.each("label-studio"):
        result = [shape for region in masks.regions(item) for shape in _shapes(region)]
        counted.append(len({shape["id"].partition("-")[0] for shape in result}))
        yield {
            "data": {"image": address(prefix, item.image_name)},
            "predictions": [{"model_version": "recam", "result": result}],
        }


def address(prefix: str, name: str) -> str:
    """Where Label Studio finds a photo: signs that mean something in an address (``# % & + ?``), spaces and letters
    beyond ASCII are percent-encoded as UTF-8, as Label Studio's own storages do; ``/`` stays. Keys of a bucket
    (``s3://``, ``gs://``) are no addresses and stay as they are."""
    scheme, found, _ = prefix.partition("://")
    is_key = found and scheme.lower() not in ("http", "https", "file")
    return prefix + (name if is_key else quote(name, safe="/"))


def _shapes(region: Region) -> Iterator[dict[str, Any]]:
    height, width = region.binary.shape
    common = {
        "from_name": "mask",
        "to_name": "image",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
    }
    if not region.polygons:
        value = {"format": "rle", "rle": brush_runs(region.binary), "brushlabels": [region.name]}
        yield {"id": f"{region.value}", "type": "brushlabels", "value": value, **common}
    for number, loop in enumerate(region.polygons):
        value = {
            "points": [[100 * x / width, 100 * y / height] for x, y in loop.tolist()],
            "polygonlabels": [region.name],
        }
        yield {"id": f"{region.value}-{number}", "type": "polygonlabels", "value": value, **common}
