"""What a review server holds: the run, its index, the log of decisions, and the work beside the page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from recam.data.images import read_mask, write_mask
from recam.errors import DataError, RecamError, StoreError
from recam.labels import class_colours
from recam.review.counts import TruthCounts
from recam.review.decisions import Decisions, MaskSource, State
from recam.review.index import Index
from recam.review.jobs import Advance, Jobs
from recam.review.judged import corrected_path, is_stale, shown_mask
from recam.review.layers import CORRECTED, TRUTH, Item, Layer, ReviewedRun
from recam.review.packing import Packed, pack_maps, pack_mask
from recam.review.thumbnails import Thumbnails
from recam.review.trial import Trial
from recam.types import Image

SAVE_EVERY = 200
"""Images between two times that the index is written down while the model predicts."""


class MissingError(RecamError):
    """There is no image of that number, or no layer of that name."""


class Session:
    """A run under review; see `ReviewedRun` for what may be wrong with it."""

    def __init__(self, run: ReviewedRun, quiet: bool = False) -> None:
        self.run = run
        self.decisions = Decisions(run.review)
        self.index = Index(run).build(quiet)
        self.thumbnails, self.counts, self.jobs, self.trial = Thumbnails(), TruthCounts(run), Jobs(), Trial(run)

    def item(self, number: int) -> Item:
        """An image by its number. Raises `MissingError` for one that does not exist."""
        if not 0 <= number < len(self.run.items):
            raise MissingError(f"there is no image {number}; the run has {len(self.run.items)}.")
        return self.run.items[number]

    def layer(self, name: str) -> Layer:
        """A layer by name. Raises `MissingError` for one that does not exist."""
        if name not in self.run.layers:
            raise MissingError(f"this run has no layer {name!r}; it has {', '.join(self.run.layers)}.")
        return self.run.layers[name]

    @property
    def model(self) -> Layer:
        """The segmentation model's layer. Raises `MissingError` where the run has no such model."""
        if self.run.model is None:
            raise MissingError("this run has no segmentation model yet.")
        return self.run.model

    def photo(self, item: Item) -> Image:
        """The photo (H, W, 3). Raises `DataError` where it is gone."""
        if item.sample is None:
            raise DataError(f"{item.id}: the photo is not available. {self.run.no_photos}")
        return item.sample.image.read()

    def pack(self, layer: Layer | None, number: int, side: int) -> Packed | None:
        """A layer of an image for the browser, or its corrected mask where `layer` is None; None where it has none, or
        a damaged one."""
        item = self.item(number)
        state = self.decisions.state(item.id)
        try:
            if layer and layer.kind == "maps":
                seed = self.run.read_maps(layer, item)
                return pack_maps(number, seed, side) if seed else None
            if layer:
                mask = self.run.read_mask(layer, item)
            else:
                mask = read_mask(corrected_path(self.run, state.mask)) if state.mask else None
        except RecamError:  # the index reports what is damaged; the other images are shown
            return None
        if mask is None:
            return None
        if layer is None or layer.role != "truth":
            mask = shown_mask(self.run, item, state, mask, corrected=layer is None)
        return pack_mask(number, mask, side)

    def source(self, layer: Layer, threshold: float | None, class_thresholds: Mapping[str, float]) -> MaskSource:
        """What is judged when this layer is shown. Raises `DataError` for a layer that is no mask to accept."""
        if layer.role == "truth":
            raise DataError("the truth is shown for comparison, it is no mask to accept. Choose another layer.")
        if layer.kind == "maps":
            level = self.run.threshold(layer) if threshold is None else threshold
            return MaskSource(layer=layer.name, key=layer.key, threshold=level, class_thresholds=dict(class_thresholds))
        return MaskSource(layer=layer.name, key=layer.key)

    def shown_state(self, state: State) -> dict[str, Any]:
        """A state as the page gets it: with whether what was judged has been made anew since."""
        return {**state.model_dump(mode="json"), "stale": is_stale(self.run, state.source)}

    def predict_all(self, layer: Layer, advance: Advance) -> None:
        """The segmentation model's mask of every image that has none yet in its layer; kept in
        ``review/predictions``."""
        since: list[Item] = []
        folder = layer.folders[-1]
        todo = [item for item in self.run.items if item.sample and layer.path(item.id) is None]
        problems = 0
        for done, item in enumerate(todo):
            advance(done, len(todo))
            try:
                write_mask(folder / f"{item.id}.png", self.trial.predict(self.photo(item)))
            except DataError:
                problems += 1
                continue
            since.append(item)
            if len(since) >= SAVE_EVERY:
                self.index.renew(since)
                since = []
        self.index.renew(since)
        advance(len(todo), len(todo))
        if problems:
            raise StoreError(f"{problems} photos could not be read; all others are done.")

    def columns(self) -> dict[str, list[Any]]:
        """All images by column: ids, labels and measures."""
        items, rows = self.run.items, self.index.rows
        names = (
            "height",
            "width",
            "confidence",
            "maps_disagreement",
            "model_disagreement",
            "area",
            "iou",
            "agreement",
            "damaged",
        )

        def rounded(value: Any) -> Any:
            return round(value, 4) if isinstance(value, float) else value

        return {
            "id": [item.id for item in items],
            "split": [item.split for item in items],
            "labels": [list(item.labels) for item in items],
            **{name: [rounded(getattr(row, name)) for row in rows] for name in names},
        }

    def about(self) -> dict[str, Any]:
        """What the page needs to know of the run as a whole."""
        run = self.run
        layers = []
        for layer in run.layers.values():
            about: dict[str, Any] = {name: getattr(layer, name) for name in ("name", "title", "kind", "done", "key")}
            if layer.kind == "maps":
                scores = layer.scores
                marks = [name for name in ("oracle", "otsu", "recipe") if scores.get(name)]
                about |= {
                    "threshold": run.threshold(layer),
                    "class_thresholds": run.class_thresholds(layer),
                    "marks": {name: scores[name]["threshold"] for name in marks},
                    "thresholds": scores.get("thresholds"),
                    "curve": scores.get("curve"),
                    "countable": self.counts.possible(layer),
                }
            layers.append(about)
        shown = run.masks or run.main_maps or next(iter(run.layers.values()), None)
        return {
            "run": str(Path(run.root).resolve().name),
            "classes": list(run.classes),
            "colours": class_colours()[1 : len(run.classes) + 1].tolist(),
            "background": run.background,
            "layers": layers,
            "shown": shown.name if shown else "",
            "main_maps": run.main_maps.name if run.main_maps else None,
            "masks": run.masks.name if run.masks else None,
            "model": run.model.name if run.model else None,
            "truth": TRUTH,
            "corrected": CORRECTED,
            "compared_maps": [layer.title for layer in run.compared_maps or ()],
            "mask_threshold": run.mask_results.get("threshold"),
            "images": len(run.items),
            "photos": not run.no_photos,
            "no_photos": run.no_photos,
            "damaged_lines": self.decisions.damaged,
            "latest": self.decisions.latest,
        }


def mask_from_bytes(content: bytes, size: tuple[int, int]) -> np.ndarray:
    """(H, W) uint8 of raw rows. Raises `DataError` where their number differs."""
    if len(content) != size[0] * size[1]:
        raise DataError(f"{len(content)} bytes are no mask of {size[0]}×{size[1]} pixels, one byte each.")
    return np.frombuffer(content, np.uint8).reshape(size)
