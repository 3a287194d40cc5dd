"""What a run has to show: its images, and the layers of maps and masks over them, finished or half done, with or
without photos."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from recam.data.catalog import open_catalog
from recam.data.images import ImageFile, image_size, read_mask
from recam.data.roles import RunData
from recam.errors import RecamError, StoreError
from recam.files import ARRAY_ERRORS
from recam.methods.cam import read_full
from recam.methods.thresholds import apply_threshold
from recam.runfolder.maps import read_seed
from recam.runfolder.store import RunFolder, StageFolder, open_run, read_record
from recam.types import Mask, Sample, SeedMaps

REVIEW = "review"
"""Sub-folder of a run that the review page writes to; it writes nowhere else."""

MASKS, MODEL, TRUTH, CORRECTED = "masks", "model", "truth", "corrected"


@dataclass(frozen=True, eq=False)
class Layer:
    """Maps or masks of the images of a run.

    Attributes:
        name: in addresses and in the log of decisions, e.g. ``seeds/recam/mul``, ``masks``, ``model``, ``truth``.
        title: for people.
        kind: ``maps`` (class maps that a threshold makes a mask of) or ``mask``.
        stage: the stage that made it; empty for the truth.
        key: what it was made from; a decision on it holds for this key.
        folders: where its files are looked for, ``ID.npz`` or ``ID.png``.
        scores: threshold, mIoU curve and choices from the run's own scores of the maps; empty where there is no truth.
        done: whether its stage has finished.
    """

    name: str
    title: str
    kind: Literal["maps", "mask"]
    stage: str
    key: str
    folders: tuple[Path, ...]
    scores: Mapping[str, Any] = field(default_factory=dict)
    done: bool = True

    @property
    def ending(self) -> str:
        """Of its files."""
        return ".npz" if self.kind == "maps" else ".png"

    def path(self, sample_id: str) -> Path | None:
        """The file of an image, None where there is none. `sample_id` must be one of the run's own ids."""
        return next((path for folder in self.folders if (path := folder / f"{sample_id}{self.ending}").is_file()), None)

    def ids(self) -> Iterator[str]:
        """Ids of all images that have a file."""
        for folder in self.folders:
            for path in folder.rglob(f"*{self.ending}"):
                if not path.name.startswith("."):
                    yield path.relative_to(folder).as_posix().removesuffix(self.ending)


@dataclass(frozen=True, eq=False)
class Item:
    """One image to review.

    Attributes:
        id: as in the run.
        split: ``train`` or ``val``, by the role that it plays in the run.
        labels: class indices of its image labels, as the data set has them.
        sample: photo and truth; None where the data set cannot be opened.
    """

    id: str
    split: Literal["train", "val"]
    labels: tuple[int, ...]
    sample: Sample | None


class RunView:
    """A run as the review page sees it: read only, but for its sub-folder ``review``.

    Args:
        run: the run folder, finished or half done.
        data: KIND:PATH of the data set, where it has moved since the run; None takes the run's own.

    Raises:
        StoreError: no run folder, or a run that has nothing to show yet.
    """

    def __init__(self, run: str | Path, data: str | None = None) -> None:
        self.folder: RunFolder = open_run(run)
        self.root = self.folder.root
        self.recipe = read_recipe(self.root)
        self.no_photos = ""
        """Why there are no photos; empty where there are."""
        self._data: RunData | None = None
        try:
            settings = self.recipe.data.model_copy(update={} if data is None else {"location": data})
            self._data = RunData(open_catalog(settings.location, settings.classes, **settings.options), settings)
            self.classes = self._data.catalog.classes.names
        except RecamError as error:
            if data is not None:  # named on purpose: a mistake in it is told, not worked around
                raise
            self.no_photos = str(error)
            self.classes = self._recorded_classes()
        self.layers = {layer.name: layer for layer in self._find_layers()}
        self.items = tuple(self._find_items())
        if not self.items:
            raise StoreError(f"{self.root} holds no image to review yet. Run `recam run` on it, at least until seeds.")
        self.number = {item.id: number for number, item in enumerate(self.items)}

    @property
    def review(self) -> Path:
        """The folder that the review page writes to."""
        return self.root / REVIEW

    @cached_property
    def main_maps(self) -> Layer | None:
        """The maps that pseudo masks are made from; before there are masks, the last that were made."""
        maps = [layer for layer in self.layers.values() if layer.kind == "maps"]
        made_from = self.mask_results.get("seeds")
        titled = next((layer for layer in maps if made_from and layer.scores.get("name") == made_from), None)
        return titled or (maps[-1] if maps else None)

    @cached_property
    def mask_results(self) -> dict[str, Any]:
        """What the stage of the pseudo masks recorded: seeds, threshold and where it is from; empty before it has
        finished."""
        return dict(self._record("masks").get("results", {}))

    def threshold(self, layer: Layer) -> float:
        """The threshold that a layer of maps starts with: that of the pseudo masks, the scores' choice, or the
        recipe's."""
        if self.mask_results and layer == self.main_maps:
            return float(self.mask_results["threshold"])
        choice = layer.scores.get("oracle" if self.recipe.masks.oracle else "recipe")
        return float(choice["threshold"]) if choice else self.recipe.masks.threshold

    def class_thresholds(self, layer: Layer) -> dict[str, float]:
        """Thresholds of single classes that the pseudo masks were made with, by name; empty for layers they were not
        made from."""
        return dict(self.mask_results.get("class_thresholds", {})) if layer == self.main_maps else {}

    def levels(self, layer: Layer) -> list[float]:
        """(K,) the threshold of each class that a layer of maps starts with."""
        own, level = self.class_thresholds(layer), self.threshold(layer)
        return [own.get(name, level) for name in self.classes]

    def has(self, item: Item, layer: Layer) -> bool:
        """Whether an image has this layer."""
        return bool(item.sample and item.sample.mask) if layer.name == TRUTH else layer.path(item.id) is not None

    def read_maps(self, layer: Layer, item: Item) -> SeedMaps | None:
        """Class maps of an image; None where it has none. Raises `StoreError` for a damaged file."""
        path = layer.path(item.id)
        return read_seed(path) if path else None

    def read_mask(self, layer: Layer, item: Item) -> Mask | None:
        """Mask (H, W) of an image; None where it has none. Raises `DataError` for a damaged file."""
        if layer.name == TRUTH:
            return item.sample.mask.read() if item.sample and item.sample.mask else None
        path = layer.path(item.id)
        return read_mask(path) if path else None

    def size(self, item: Item) -> tuple[int, int] | None:
        """(H, W) of an image, from its mask or maps, else from its photo; None where none of them can be read."""
        for layer in self.layers.values():
            path = None if layer.name == TRUTH else layer.path(item.id)
            if path is None:
                continue
            with suppress(RecamError):  # the next one may be intact
                return read_seed(path).size if layer.kind == "maps" else image_size(ImageFile(path))
        with suppress(RecamError):
            return image_size(item.sample.image) if item.sample else None
        return None

    def _record(self, stage: str) -> dict[str, Any]:
        return StageFolder(stage, self.root / stage, "").record

    def _recorded_classes(self) -> tuple[str, ...]:
        for path in sorted(self.root.rglob("stage.json")):
            names = read_record(path).get("inputs", {}).get("classes")
            if names:
                return tuple(names)
        raise StoreError(f"{self.root} has nothing to review yet, and its data set cannot be opened: {self.no_photos}")

    def _find_layers(self) -> Iterator[Layer]:
        seeds = [
            ("seeds/given", "w", "class maps", "given"),
            ("seeds/cam", "w", "CAM", "cam"),
            ("seeds/control", "w", "control", "control"),
        ]
        own = self.recipe.seeds.weighting
        weightings = sorted(
            {own, *self.recipe.seeds.weightings}, key=lambda weighting: weighting == own
        )  # the run's own last
        seeds += [("seeds/recam", w, "ReCAM" if w == own else f"ReCAM {w}", f"recam {w}") for w in weightings]
        for stage, weighting, title, scored in seeds:
            if (self.root / stage / weighting).is_dir():
                yield self._maps(f"{stage}/{weighting}", title, stage, self.root / stage / weighting, scored)
        for record in sorted(
            (self.root / "refined").glob("*/stage.json"), key=lambda path: path.parent.name.count("+")
        ):
            name = record.parent.name
            origin, *steps = name.split("+")
            scored = " + ".join((f"recam {own}" if origin == "recam" else origin, *steps))
            yield self._maps(f"refined/{name}", _refined_title(origin, steps), f"refined/{name}", record.parent, scored)
        if (self.root / "masks" / "stage.json").is_file():
            yield Layer(
                MASKS, "mask", "mask", "masks", self._key("masks"), (self.root / "masks",), done=self._is_done("masks")
            )
        model = next((name for name in ("pseudo", "truth") if self._is_done(f"segment/{name}")), None)
        if model:
            key = self._key(f"segment/{model}")
            asked = (self.root / "predictions" / model, self.review / "predictions" / key)
            yield Layer(MODEL, "model", "mask", f"segment/{model}", key, asked)
        if self._data and any(sample.mask for sample in (*self._data.score, *self._data.val)):
            yield Layer(TRUTH, "truth", "mask", "", "", ())

    def _maps(self, name: str, title: str, stage: str, folder: Path, scored: str) -> Layer:
        scores_stage = f"scores/{stage.split('/', 1)[1]}"
        scores = self._record(scores_stage).get("results", {}).get("seeds", {}).get(scored, {})
        return Layer(
            name, title, "maps", stage, self._key(stage), (folder,), {"name": scored, **scores}, self._is_done(stage)
        )

    def _key(self, stage: str) -> str:
        return str(self._record(stage).get("key", ""))

    def _is_done(self, stage: str) -> bool:
        return self._record(stage).get("state") == "done"

    def _find_items(self) -> Iterator[Item]:
        made = {name: set(layer.ids()) for name, layer in self.layers.items() if layer.name != TRUTH}
        if self._data is None:
            labels = self._labels_by_maps()
            held_out = made.get(MODEL, set()).difference(*(ids for name, ids in made.items() if name != MODEL))
            for sample_id in sorted(set().union(*made.values())):
                yield Item(sample_id, "val" if sample_id in held_out else "train", labels.get(sample_id, ()), None)
            return
        seen = set()
        for sample in self._data.seeded:
            seen.add(sample.id)
            yield Item(sample.id, "train", sample.labels, sample)
        for sample in self._data.val:
            if sample.id not in seen and sample.id in made.get(MODEL, ()):
                yield Item(sample.id, "val", sample.labels, sample)

    def _labels_by_maps(self) -> dict[str, tuple[int, ...]]:
        """Maps are made for an image's labels: without the data set they tell them."""
        layer = self.main_maps
        if layer is None:
            return {}
        return {
            sample_id: labels
            for sample_id in layer.ids()
            if (labels := _classes_of(layer.folders[0] / f"{sample_id}.npz")) is not None
        }


def _classes_of(path: Path) -> tuple[int, ...] | None:
    """Class indices of stored maps without reading the maps; None for a damaged file, which the index tells of."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return tuple(file["class_indices"].tolist())
    except ARRAY_ERRORS:
        return None


def _refined_title(origin: str, steps: list[str]) -> str:
    known = {"cam": "CAM", "recam": "ReCAM", "given": "class maps"}
    return " + ".join((known.get(origin, origin), *steps))


def mask_of_maps(seed: SeedMaps, labels: tuple[int, ...], thresholds: Mapping[int, float], default: float) -> Mask:
    """Mask (H, W) at full size: the largest map of the image's labels, where it exceeds the threshold of its class.

    Maps of classes that are no label (any more) do not take part.

    Args:
        labels: class indices that the image holds.
        thresholds: by class index; `default` for the others.
    """
    kept = np.isin(seed.class_indices, labels)
    indices = seed.class_indices[kept]
    maps = read_full(SeedMaps(seed.maps[kept], indices, seed.size))  # (n, H, W)
    return apply_threshold(maps, indices, [thresholds.get(index, default) for index in indices.tolist()], seed.ignore)
