"""What the grid sorts and filters by: for each image its size, confidence, disagreements and area, kept between two
starts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recam.ahead import map_ahead
from recam.errors import RecamError
from recam.evaluation.metrics import ConfusionMatrix
from recam.files import write_bytes
from recam.labels import BACKGROUND, IGNORE, ClassSet
from recam.methods.thresholds import apply_threshold
from recam.progress import Progress
from recam.review.layers import Item, Layer, ReviewedRun
from recam.runfolder.store import make_key
from recam.types import Maps, Mask

VERSION = 4
NEAR = 0.1
"""A pixel nearer than this to its threshold lowers the confidence."""


@dataclass(frozen=True)
class Row:
    """Measures of one image, each in [0, 1]; None where what it needs is missing.

    Attributes:
        height, width: pixels.
        confidence: share of pixels whose largest map is further than 0.1 from the threshold: a small move of it changes
            none.
        maps_disagreement: of the maps of two trainings, each at its threshold; see `disagreement` and
            `ReviewedRun.compared_maps`.
        model_disagreement: the same of pseudo mask and segmentation model.
        area: share of pixels that the mask gives to a class.
        iou: mean over the classes in the mask or the truth, where there is a true mask.
        agreement: of the mask and what other images' masks predict for it, where the run has judged it.
        damaged: what could not be read; usually empty.
    """

    height: int = 0
    width: int = 0
    confidence: float | None = None
    maps_disagreement: float | None = None
    model_disagreement: float | None = None
    area: float | None = None
    iou: float | None = None
    agreement: float | None = None
    damaged: str = ""


def disagreement(one: Mask, other: Mask) -> float | None:
    """1 − (pixels where both show the same class) / (pixels where at least one shows a class); 255 is not counted, None
    for other sizes."""
    if one.shape != other.shape:
        return None
    counted = (one != IGNORE) & (other != IGNORE)
    shown = ((one != BACKGROUND) | (other != BACKGROUND)) & counted
    total = int(shown.sum())
    return 1 - int(((one == other) & shown).sum()) / total if total else 0.0


def _margins(maps: Maps, levels: list[float] | None) -> NDArray[np.float32]:
    """(h, w) how far the largest of the maps (n, h, w) is from the threshold of its class; without a background, from
    the second largest map."""
    largest = maps.max(0)
    if levels is not None:
        margins: NDArray[np.float32] = np.abs(largest - np.asarray(levels, np.float32)[maps.argmax(0)])
        return margins
    return largest - np.partition(maps, -2, 0)[-2] if len(maps) > 1 else np.ones_like(largest)


class Index:
    """The rows of all images, in their order. Rows of files that have not changed are taken from
    ``review/index.json``."""

    def __init__(self, run: ReviewedRun) -> None:
        self._run = run
        self._path = run.review / "index.json"
        read = (*(run.compared_maps or run.of_role("maps")[:1]), run.main_maps, run.masks, run.model)
        self._used: list[Layer] = list(dict.fromkeys(layer for layer in read if layer))
        levels = {layer.name: run.levels(layer) for layer in self._used if layer.kind == "maps"}
        used = [(layer.name, layer.key) for layer in self._used]
        self._key = make_key({"version": VERSION, "layers": used, "thresholds": levels, "judged": run.judged_by})
        self.rows: list[Row] = []
        self._stamps: list[str] = []

    def build(self, quiet: bool = False) -> Index:
        """Measure what is new or has changed, with progress; writes the rows down for the next start."""
        known = self._read()
        items = self._run.items
        self._stamps = [self._stamp(item) for item in items]
        rows = {
            item.id: row
            for item, stamp in zip(items, self._stamps, strict=True)
            if (row := known.get((item.id, stamp)))
        }
        new = [item for item in items if item.id not in rows]
        with Progress("index", len(items), len(items) - len(new), quiet=quiet or not new) as progress:
            for item, row in map_ahead(self.measure, new):
                rows[item.id] = row
                progress.advance()
        self.rows = [rows[item.id] for item in items]
        if new or len(known) != len(items):
            self._write()
        return self

    def renew(self, items: Iterable[Item]) -> None:
        """Measure these images again and write all rows down."""
        for item in items:
            number = self._run.number[item.id]
            self.rows[number], self._stamps[number] = self.measure(item), self._stamp(item)
        self._write()

    def measure(self, item: Item) -> Row:
        """The measures of one image."""
        run = self._run
        try:
            masks: dict[Layer, Mask] = {}
            confidence, size = None, None
            for layer in self._used:
                if layer.kind == "mask":
                    mask = run.read_mask(layer, item)
                    if mask is not None:
                        masks[layer] = mask
                        size = size or (mask.shape[0], mask.shape[1])
                elif seed := run.read_maps(layer, item):
                    size = seed.size
                    levels = run.heights(layer, seed.class_indices)
                    masks[layer] = apply_threshold(seed.maps, seed.class_indices, levels)
                    if layer == run.main_maps and len(seed.maps):
                        confidence = float((_margins(seed.maps, levels) > NEAR).mean())
            size = size or run.size(item) or (0, 0)
            present = (masks[layer] for layer in (run.masks, run.main_maps, run.model) if layer in masks)
            shown = next(present, None)
            return Row(
                height=size[0],
                width=size[1],
                confidence=confidence,
                maps_disagreement=_between(masks, run.compared_maps),
                model_disagreement=_between(masks, (run.masks, run.model)),
                area=None if shown is None else float(_is_class(shown).mean()),
                iou=None if shown is None else self._iou(item, shown),
                agreement=run.agreements.get(item.id),
            )
        except (RecamError, OSError) as error:
            return Row(damaged=str(error))

    def _iou(self, item: Item, shown: Mask) -> float | None:
        truth = item.sample.mask.read() if item.sample and item.sample.mask else None
        if truth is None or truth.shape != shown.shape:
            return None
        matrix = ConfusionMatrix(ClassSet(self._run.classes, self._run.background))
        matrix.update(shown, truth)
        miou = matrix.scores().miou
        return None if np.isnan(miou) else float(miou)

    def _stamp(self, item: Item) -> str:
        paths = [path for layer in self._used if (path := layer.path(item.id))]
        return "-".join(str(path.stat().st_mtime_ns) for path in paths)

    def _read(self) -> dict[tuple[str, str], Row]:
        try:
            kept = json.loads(self._path.read_bytes())
            if kept["key"] != self._key:
                return {}
            return {(sample_id, stamp): Row(**row) for sample_id, stamp, row in kept["rows"]}
        except (OSError, ValueError, KeyError, TypeError):  # not there, or not ours: it is made again
            return {}

    def _write(self) -> None:
        rows = [
            (item.id, stamp, asdict(row))
            for item, stamp, row in zip(self._run.items, self._stamps, self.rows, strict=True)
        ]
        write_bytes(Path(self._path), json.dumps({"key": self._key, "rows": rows}, separators=(",", ":")).encode())


def _between(masks: Mapping[Layer, Mask], pair: tuple[Layer | None, Layer | None] | None) -> float | None:
    one, other = (masks.get(layer) if layer else None for layer in pair or (None, None))
    return None if one is None or other is None else disagreement(one, other)


def _is_class(mask: Mask) -> NDArray[np.bool_]:
    shown: NDArray[np.bool_] = (mask != BACKGROUND) & (mask != IGNORE)
    return shown
