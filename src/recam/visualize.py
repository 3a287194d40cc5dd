"""Masks and class maps made visible: solid colours, overlays on the photo, contact sheets and legends, all as RGB
arrays."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL import ImageDraw, ImageFont

from recam.labels import BACKGROUND, IGNORE, class_colours, row_blocks, voc_palette
from recam.preprocess import rgb_of
from recam.types import Image, Maps, Mask

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_INK = (32, 32, 32)
_FRAME = (150, 150, 150)
_EMPTY = (236, 236, 236)

_TURBO = (0x30123B, 0x4662D7, 0x36AAF9, 0x1AE4B6, 0x72FE5E, 0xC8EF34, 0xFABA39, 0xF66B19, 0xCB2A04, 0x7A0403)
"""Ten samples of Turbo (A. Mikhailov, 2019) from 0 to 1, as RGB. Kept here, as importing matplotlib makes a folder in
the user's home."""


def paint_mask(mask: Mask, colours: NDArray[np.uint8] | None = None) -> Image:
    """The (H, W) `mask` in solid colours.

    Args:
        mask: 0 background, 1…K classes, 255 ignore.
        colours: (256, 3) RGB by mask value; None takes the VOC palette, where background is black and ignore light
            cream.
    """
    painted: Image = (voc_palette() if colours is None else colours)[mask]
    return painted


def overlay_mask(image: Image, mask: Mask, opacity: float = 0.55) -> Image:
    """The classes of a mask laid over its photo in `class_colours`.

    Inside a region the photo is grey, so that its own colour does not shift the class's. Each region has a contour in
    the full colour of its class, and where it meets background a white halo around that, so that it is seen on any
    photo. Ignore is hatched in light cream; no class has a pattern, so it is not
    taken for one. Background is the photo.

    Args:
        image: (H, W, n) the photo; of other bands than three the first three are shown.
        mask: (H, W) 0 background, 1…K classes, 255 ignore.
        opacity: of the colour inside a region, 0 (contour only) to 1 (solid).

    Raises:
        ValueError: image and mask differ in size.
    """
    if image.shape[:2] != mask.shape:
        raise ValueError(
            f"an image of {image.shape[:2]} cannot carry a mask of {mask.shape}: resize the mask to the image (nearest)"
        )
    image = rgb_of(image)
    line = max(1, round(max(mask.shape) / 300))  # pixels
    laid = np.empty_like(image)
    for rows in row_blocks((mask.shape[0], mask.shape[1])):
        top = max(0, rows.start - line)  # contours reach this far into other blocks
        around = slice(top, rows.stop + line)
        laid[rows] = _overlay(image[around], mask[around], opacity, line, top)[rows.start - top : rows.stop - top]
    return laid


def _overlay(image: Image, mask: Mask, opacity: float, line: int, top: int) -> Image:
    """`overlay_mask` of the rows from `top` on, with contours `line` pixels wide."""
    background, ignored = mask == BACKGROUND, mask == IGNORE  # (H, W)
    base = np.where((background | ignored)[..., None], image, _grey(image))  # (H, W, 3)
    paint = paint_mask(mask, class_colours())  # (H, W, 3)
    alpha = np.where(background, np.float32(0), np.float32(opacity))  # (H, W)
    alpha[ignored] = np.where(_stripes(mask.shape, 8 * line, top), 0.7, 0.3)[ignored]
    border = _near_other(mask, line)
    alpha[border] = 1
    halo = border & background
    paint[halo], alpha[halo] = 255, 0.7
    return _blend(base, paint, alpha)


def overlay_heat(image: Image, maps: Maps) -> Image:
    """Class maps as heat over the greyed photo: the greatest value of all classes at each pixel, blue (low) over green
    to red (high).

    The colour shows the level, never the class: one hue per class, its strength the value, hides levels and drowns
    dark colours. Pass one plane (``maps[i : i + 1]``) to see one class. From 0.4 downward the heat
    fades, so that the photo shows where the maps are low.

    Args:
        image: (H, W, n) the photo; of other bands than three the first three are shown.
        maps: (n, h, w) in [0, 1], brought to the image's size bilinearly; n may be 0, which leaves the greyed photo.
    """
    image = rgb_of(image)
    height, width = image.shape[:2]
    heat = np.zeros((height, width), np.float32)
    for plane in maps:
        resized = PIL.Image.fromarray(plane.astype(np.float32)).resize((width, height), PIL.Image.Resampling.BILINEAR)
        heat = np.maximum(heat, np.asarray(resized))  # (H, W)
    colours = _turbo()[np.rint(heat.clip(0, 1) * 255).astype(np.uint8)]  # (H, W, 3)
    greyed = _blend(image, _grey(image), np.full_like(heat, 0.8))
    return _blend(greyed, colours, 0.65 * (heat / 0.4).clip(0, 1))


def panel(
    rows: Sequence[Sequence[Image | None]],
    columns: Sequence[str],
    captions: Sequence[str] | None = None,
    tile: int = 224,
) -> Image:
    """A contact sheet on white: a line of column titles, then the rows, each with its caption below.

    Pictures keep their aspect and are centred in tiles `tile` pixels wide; a row is as high as its highest picture, at
    most `tile`. Titles and captions are wrapped.

    Args:
        rows: for each row one (H, W, 3) picture a column; None draws a light grey tile.
        columns: title of each column.
        captions: one for each row.
        tile: pixels.

    Raises:
        ValueError: a row has not as many cells as there are columns, or there are not as many captions as rows.
    """
    wrong = [f"row {number} has {len(row)} cells" for number, row in enumerate(rows) if len(row) != len(columns)]
    if captions is not None and len(captions) != len(rows):
        wrong.append(f"{len(rows)} rows have {len(captions)} captions")
    if wrong:
        raise ValueError(f"a panel of {len(columns)} columns cannot be laid out: {'; '.join(wrong)}")
    margin, gap = _spacing(tile)
    width = margin * 2 + tile * len(columns) + gap * max(0, len(columns) - 1)
    font, small = _font(max(12, tile // 14)), _font(max(11, tile // 17))
    titles = [_wrapped(title, font, tile) for title in columns]
    notes = [_wrapped(caption, small, width - 2 * margin) for caption in captions or [""] * len(rows)]
    pictures = [[None if cell is None else _fitted(cell, tile) for cell in row] for row in rows]
    heights = [max((picture.height for picture in row if picture), default=tile) for row in pictures]

    header = margin + max(map(len, titles), default=0) * _line_height(font) + gap
    below = [len(lines) * _line_height(small) + (gap if lines else 0) + 2 * gap for lines in notes]
    sheet = PIL.Image.new("RGB", (width, header + sum(heights) + sum(below) + margin - 2 * gap), "white")
    pen = ImageDraw.Draw(sheet)
    for column, lines in enumerate(titles):
        centre = margin + column * (tile + gap) + tile / 2
        for number, text in enumerate(reversed(lines), start=1):
            pen.text((centre, header - gap - number * _line_height(font)), text, _INK, font, anchor="ma")
    top = header
    for row, height, lines, space in zip(pictures, heights, notes, below, strict=True):
        for column, picture in enumerate(row):
            left = margin + column * (tile + gap)
            if picture is None:
                pen.rectangle((left, top, left + tile - 1, top + height - 1), _EMPTY)
            else:
                sheet.paste(picture, (left + (tile - picture.width) // 2, top + (height - picture.height) // 2))
        for number, text in enumerate(lines):
            pen.text((margin, top + height + gap // 2 + number * _line_height(small)), text, _INK, small, anchor="la")
        top += height + space
    return np.array(sheet)


def legend(names: Sequence[str], colours: NDArray[np.uint8], width: int = 720, size: int = 14) -> Image:
    """Coloured squares with class names, in as many lines as `width` needs; a strip to put below a panel of the same
    width.

    Args:
        names: in the order in which they are shown.
        colours: (n, 3) RGB, one for each name.
        width: of the strip, pixels.
        size: of the text, pixels.

    Raises:
        ValueError: not as many colours as names.
    """
    if len(names) != len(colours):
        raise ValueError(f"{len(names)} names cannot share {len(colours)} colours: give one colour for each name")
    margin, gap = _spacing(16 * size)
    font = _font(size)
    left, top, places = margin, margin, []
    for name in names:
        text = _shortened(name, font, width - 2 * margin - size - gap)
        needed = round(size + gap + font.getlength(text))
        if left > margin and left + needed > width - margin:
            left, top = margin, top + _line_height(font)
        places.append((left, top, text))
        left += needed + 2 * gap
    sheet = PIL.Image.new("RGB", (width, top + (_line_height(font) if places else 0) + margin), "white")
    pen = ImageDraw.Draw(sheet)
    for (left, top, text), (red, green, blue) in zip(places, colours.tolist(), strict=True):
        pen.rectangle((left, top, left + size - 1, top + size - 1), (red, green, blue), _FRAME)
        pen.text((left + size + gap, top + size / 2), text, _INK, font, anchor="lm")
    return np.array(sheet)


def _grey(image: Image) -> Image:
    return np.array(PIL.Image.fromarray(image).convert("L").convert("RGB"))


def _blend(image: Image, paint: Image, alpha: NDArray[np.floating]) -> Image:
    """(H, W, 3) `paint` over `image` with (H, W) `alpha` in [0, 1]."""
    cover = PIL.Image.fromarray(np.rint(alpha * 255).astype(np.uint8))
    return np.array(PIL.Image.composite(PIL.Image.fromarray(paint), PIL.Image.fromarray(image), cover))


@cache
def _font(size: int) -> Font:
    """Matplotlib's DejaVu Sans, found without importing it (see `_TURBO`): Pillow's own font has no ⊗, no ′ and few
    letters beyond English."""
    package = find_spec("matplotlib")
    for folder in (package.submodule_search_locations or ()) if package else ():
        with suppress(OSError):
            return ImageFont.truetype(Path(folder, "mpl-data", "fonts", "ttf", "DejaVuSans.ttf"), size)
    return ImageFont.load_default(size)


@cache
def _turbo() -> NDArray[np.uint8]:
    """(256, 3) RGB."""
    samples = np.array([(code >> 16, code >> 8 & 255, code & 255) for code in _TURBO])
    places, wanted = np.linspace(0, 1, len(samples)), np.linspace(0, 1, 256)
    table = np.stack([np.interp(wanted, places, channel) for channel in samples.T], axis=1)
    colours: NDArray[np.uint8] = np.rint(table).astype(np.uint8)
    return colours


def _near_other(mask: Mask, reach: int) -> NDArray[np.bool_]:
    """(H, W) where the square of 2 · `reach` + 1 pixels around a pixel holds another value."""
    highest, lowest = mask, mask
    for axis in (0, 1):  # a square is a row of columns
        around_high, around_low = highest.copy(), lowest.copy()
        for shift in range(1, min(reach, mask.shape[axis] - 1) + 1):
            ahead = (slice(None),) * axis + (slice(shift, None),)
            behind = (slice(None),) * axis + (slice(None, -shift),)
            for here, there in ((ahead, behind), (behind, ahead)):
                np.maximum(around_high[here], highest[there], out=around_high[here])
                np.minimum(around_low[here], lowest[there], out=around_low[here])
        highest, lowest = around_high, around_low
    different: NDArray[np.bool_] = highest != lowest
    return different


def _stripes(size: tuple[int, ...], period: int, top: int) -> NDArray[np.bool_]:
    """(H, W) diagonal stripes, a quarter of `period` wide, from row `top` of a picture on."""
    rows, columns = np.ogrid[: size[0], : size[1]]
    striped: NDArray[np.bool_] = (rows + columns + top) % period < period // 4
    return striped


def _spacing(tile: int) -> tuple[int, int]:
    """Margin around a sheet and gap between its parts, pixels."""
    return max(6, tile // 16), max(3, tile // 32)


def _line_height(font: Font) -> int:
    top, bottom = font.getbbox("Ág")[1::2]
    return round((bottom - top) * 1.45)


def _fitted(image: Image, tile: int) -> PIL.Image.Image:
    height, width = image.shape[:2]
    scale = tile / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return PIL.Image.fromarray(rgb_of(image)).resize(size, PIL.Image.Resampling.LANCZOS)


def _shortened(text: str, font: Font, width: float) -> str:
    text = " ".join(text.split())
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def _wrapped(text: str, font: Font, width: float) -> list[str]:
    """Lines no wider than `width`; a word that is wider alone is cut short."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(_shortened(word, font, width))
    return lines
