"""The mask that a person judged, as it was judged: also after later settings have made other masks in its place."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import PIL.Image

from recam.data.images import read_mask, write_mask
from recam.errors import DataError, StoreError
from recam.labels import BACKGROUND, IGNORE, mask_value
from recam.preprocess import rgb_of
from recam.review.decisions import MaskSource, State
from recam.review.layers import CORRECTED, PREDICTIONS, Item, ReviewedRun, mask_of_maps
from recam.runfolder.maps import read_seed
from recam.types import Mask


def labels_of(run: ReviewedRun, item: Item, state: State) -> tuple[int, ...]:
    """Class indices of the image: corrected ones where there are any, else the data set's."""
    if state.labels is None:
        return item.labels
    return tuple(sorted(run.classes.index(name) for name in state.labels if name in run.classes))


def judged_mask(run: ReviewedRun, item: Item, state: State) -> tuple[Mask, frozenset[int]]:
    """The mask (H, W) that was accepted, and the class indices whose pixels in it became 255.

    A label that was removed takes its pixels along: of maps it does not take part any more; in a finished mask its
    pixels become 255, not background, since nobody knows what else they show. So do those of a corrected mask where the
    label was removed after the mask was saved; what was painted after that stays, since it is the later word of the
    same person.

    Raises:
        StoreError: what was judged has been deleted since, or nothing was judged.
        DataError: its file is damaged.
    """
    source = state.source
    if source is None:
        raise StoreError(f"{item.id} has no judged mask.")
    if source.layer == CORRECTED:
        return _without(read_mask(corrected_path(run, source.key)), _unwanted(run, item, state, True))
    path = _find(run, item, source)
    labels = labels_of(run, item, state)
    if path.suffix == ".npz":
        indices = {
            run.classes.index(name): value for name, value in source.class_thresholds.items() if name in run.classes
        }
        default = (source.threshold or 0.0) if run.background else None
        return mask_of_maps(read_seed(path), labels, indices, default), frozenset()
    return _without(read_mask(path), _unwanted(run, item, state, False))


def shown_mask(run: ReviewedRun, item: Item, state: State, mask: Mask, corrected: bool) -> Mask:
    """A finished or corrected mask (H, W) as it would be accepted now: with 255 for the labels that were removed, see
    `judged_mask`."""
    return _without(mask, _unwanted(run, item, state, corrected))[0]


def classes_shown(mask: Mask) -> frozenset[int]:
    """Class indices of all pixels."""
    return frozenset(value - 1 for value in np.unique(mask).tolist() if BACKGROUND < value < IGNORE)


def _unwanted(run: ReviewedRun, item: Item, state: State, corrected: bool) -> frozenset[int]:
    """Class indices whose pixels do not count.

    Of a corrected mask: those that were labels when it was saved, or later, and are none now. Of a finished one: all
    that are no label, where labels were corrected.
    """
    now = labels_of(run, item, state)
    if not corrected:
        return frozenset() if state.labels is None else frozenset(range(len(run.classes))).difference(now)
    had = {
        index for labels in state.earlier for index in labels_of(run, item, state.model_copy(update={"labels": labels}))
    }
    return frozenset(had.difference(now))


def _without(mask: Mask, classes: frozenset[int]) -> tuple[Mask, frozenset[int]]:
    """The mask with 255 in place of these classes, and which of them it showed."""
    found = classes_shown(mask) & classes
    table = np.arange(256, dtype=np.uint8)
    table[[mask_value(index) for index in found]] = IGNORE
    cleaned: Mask = table[mask]
    return cleaned, found


def corrected_path(run: ReviewedRun, name: str) -> Path:
    """Where a corrected mask lies; `name` is one that `save_corrected` gave."""
    return run.review / CORRECTED / name


def save_corrected(run: ReviewedRun, item: Item, mask: Mask) -> str:
    """Write a corrected mask under a name of its own and give that; earlier ones stay, so that each decision can be
    undone. Where there is no background, 0 becomes 255.

    Raises:
        DataError: another size than the image's, or values that are no class.
    """
    size = run.size(item)
    if mask.shape != size:
        raise DataError(f"a mask of {mask.shape[0]}×{mask.shape[1]} pixels does not fit {item.id}, which has {size}.")
    foreign = [value for value in np.unique(mask).tolist() if len(run.classes) < value < IGNORE]
    if foreign:
        raise DataError(
            f"the mask holds {foreign}, but with {len(run.classes)} classes a value is 0…{len(run.classes)} or 255."
        )
    if not run.background:
        mask = np.where(mask == BACKGROUND, np.uint8(IGNORE), mask)
    name = hashlib.sha256(item.id.encode() + b"\0" + mask.tobytes()).hexdigest()[:24] + ".png"
    write_mask(corrected_path(run, name), mask)
    return name


def is_stale(run: ReviewedRun, source: MaskSource | None) -> bool:
    """Whether what was judged is not what the run shows now."""
    if source is None or source.layer == CORRECTED:
        return False
    layer = run.layers.get(source.layer)
    return layer is None or layer.key != source.key


def jpeg(pixels: np.ndarray, quality: int = 85, side: int = 0) -> bytes:
    """(H, W, n) uint8 as JPEG, reduced where its longer side exceeds `side` (0: never)."""
    picture, encoded = PIL.Image.fromarray(rgb_of(pixels)), io.BytesIO()
    if side:
        picture.thumbnail((side, side), PIL.Image.Resampling.BILINEAR, reducing_gap=2.0)
    picture.save(encoded, "JPEG", quality=quality)
    return encoded.getvalue()


def _find(run: ReviewedRun, item: Item, source: MaskSource) -> Path:
    """The file that was judged: of the layer as it is now, or of the same stage made from an earlier key."""
    layer = run.layers.get(source.layer)
    if layer and layer.key == source.key:
        folders = layer.folders
    else:
        outer, _, inner = source.layer.rpartition("/")
        stage, within = run.folder.at(source.layer, source.key), run.folder.at(outer, source.key)
        folders = (stage.path, within.path / inner, run.review / PREDICTIONS / source.key)
    places = (folder / f"{item.id}{ending}" for folder in folders for ending in (".npz", ".png"))
    found = next((path for path in places if path.is_file()), None) if source.key else None
    if found is None:
        raise StoreError(
            f"{item.id}: the mask that was accepted ({source.layer} of {source.key}) is not there any more. Judge it"
            " again."
        )
    return found
