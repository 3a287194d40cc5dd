"""What a run has to show: its images, and the layers of maps and masks over them, finished or half done, with or
without photos.

Stages are found by their labels in ``run.json``, never by their names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from recam.data.images import ImageFile, image_size, read_mask
from recam.data.roles import DataSettings, RunData
from recam.errors import RecamError, StoreError
from recam.files import ARRAY_ERRORS
from recam.methods.cam import read_full
from recam.methods.refine import EVEN
from recam.methods.thresholds import apply_threshold
from recam.pipeline.stages.masks import MaskSettings
from recam.recipe.recipe import read_recipe
from recam.runfolder import kinds
from recam.runfolder.maps import read_seed
from recam.runfolder.records import read_records
from recam.runfolder.store import StageFolder, open_run, read_json, read_run
from recam.runfolder.summary import nearest
from recam.types import Mask, Sample, SeedMaps

REVIEW = "review"
"""Sub-folder of a run that the review page writes to; it writes nowhere else."""
PREDICTIONS = "predictions"
"""Inside that, masks of the segmentation model that the page has made, by key."""

TRUTH, CORRECTED = "truth", "corrected"
"""Layers that no stage makes."""

Role = Literal["maps", "masks", "model", "truth"]


@dataclass(frozen=True, eq=False)
class Layer:
    """Maps or masks of the images of a run.

    Attributes:
        stage: the stage that made it, or ``truth``.
        title: for people.
        role: what it is in the run; the segmentation model's masks are ``model``.
        inner: folder inside the stage; empty: the stage's own.
        key: what it was made from; a decision on it holds for this key.
        folders: where its files are searched, ``ID.npz`` or ``ID.png``.
        own_threshold: the recipe's threshold for these maps, or that which the run found; None before it has.
        scores: oracle, otsu and mIoU curve from the run's own scores of the maps; empty where there is no truth.
        done: whether its stage has finished.
    """

    stage: str
    title: str
    role: Role
    inner: str = ""
    key: str = ""
    folders: tuple[Path, ...] = ()
    own_threshold: float | None = None
    scores: Mapping[str, Any] = field(default_factory=dict)
    done: bool = True

    @property
    def name(self) -> str:
        """In addresses and in the log of decisions, e.g. ``maps/recam/mul``."""
        return f"{self.stage}/{self.inner}" if self.inner else self.stage

    @property
    def kind(self) -> Literal["maps", "mask"]:
        """``maps`` (class maps that a threshold makes a mask of) or ``mask``."""
        return "maps" if self.role == "maps" else "mask"

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
        split: ``train`` or ``val``, by the role that it plays in the run; or ``unlabelled``.
        labels: class indices of its image labels, as the data set has them.
        sample: photo and truth; None where the data set cannot be opened.
    """

    id: str
    split: Literal["train", "val", "unlabelled"]
    labels: tuple[int, ...]
    sample: Sample | None


class ReviewedRun:
    """A run under review: read only, but for its sub-folder ``review``.

    Args:
        run: the run folder, finished or half done.
        data: KIND:PATH of the data set, where it has moved since the run; None takes the run's own.

    Raises:
        StoreError: no run folder, or a run that has nothing to show yet.
    """

    def __init__(self, run: str | Path, data: str | None = None) -> None:
        self.folder = open_run(run)
        self.root = self.folder.root
        self.written, self._records = read_run(self.root), read_records(self.folder)
        self.recipe = read_recipe(self.root)
        self.background = self.recipe.section(DataSettings).has_background
        """Whether pixels may belong to no class; else no threshold is in force."""
        self.no_photos = ""
        """Why there are no photos; empty where there are."""
        self._data: RunData | None = None
        try:
            settings = self.recipe.section(DataSettings)
            settings = settings if data is None else replace(settings, location=data)
            self._data = RunData(settings.open(), settings)
            self.classes = self._data.catalog.classes.names
        except RecamError as error:
            if data is not None:  # named on purpose: a mistake in it is reported, not worked around
                raise
            self.no_photos = str(error)
            self.classes = self._recorded_classes()
        self.layers = {layer.name: layer for layer in self._find_layers()}
        self.items = tuple(self._find_items())
        if not self.items:
            raise StoreError(f"{self.root} holds no image to review yet. Run `recam run` on it, at least until maps.")
        self.number = {item.id: number for number, item in enumerate(self.items)}

    @property
    def review(self) -> Path:
        """The folder that the review page writes to."""
        return self.root / REVIEW

    def stage(self, name: str) -> StageFolder:
        """A stage that the settings in force name, made or not."""
        return self.folder.at(name, str(self.written["stages"][name]["key"]))

    def of_role(self, role: Role) -> list[Layer]:
        """Layers of this role, in the order in which they are made."""
        return [layer for layer in self.layers.values() if layer.role == role]

    @property
    def masks(self) -> Layer | None:
        """The pseudo masks."""
        return next(iter(self.of_role("masks")), None)

    @property
    def model(self) -> Layer | None:
        """The segmentation model's masks."""
        return next(iter(self.of_role("model")), None)

    @cached_property
    def main_maps(self) -> Layer | None:
        """The maps that pseudo masks are made from; before these are there, the last that were made."""
        return self._planned("maps") or self._planned("seeds") or next(iter(self.of_role("maps")[::-1]), None)

    @cached_property
    def compared_maps(self) -> tuple[Layer, Layer] | None:
        """The maps before any refiner, after the first ones of another training; None where only one makes maps."""
        own, unrefined = self._planned("seeds"), {stage.name for stage, _ in self._of_kind(kinds.MAPS)}
        others = [each for each in self.layers.values() if own and each.stage in unrefined - {own.stage}]
        return (others[0], own) if own and others else None

    @cached_property
    def mask_results(self) -> dict[str, Any]:
        """What the stage of the pseudo masks recorded: maps, threshold and where it is from; empty before it ended."""
        return self._results(self.masks.stage) if self.masks else {}

    @property
    def judged_by(self) -> str:
        """Key of the stage that judged the masks without true ones; empty where none has."""
        stage = next((each for each, _ in self._of_kind(kinds.QUALITY)), None)
        return stage.key if stage and stage.claims_done else ""

    @cached_property
    def agreements(self) -> dict[str, float]:
        """By image, how well its mask agrees with what the others predict for it, in [0, 1], of images that were
        judged; empty where the run judges none. Raises `StoreError` for a damaged file."""
        stage = next((each for each, _ in self._of_kind(kinds.QUALITY)), None)
        if not stage or not stage.claims_done:
            return {}
        return {name: float(value) for name, value in read_json(stage.path / kinds.AGREEMENTS).items()}

    def threshold(self, layer: Layer) -> float:
        """The threshold that maps start with: that of the pseudo masks, the oracle where the recipe wants it, or the
        recipe's; 0 where there is no background."""
        if not self.background:
            return 0.0
        if self.mask_results and layer == self.main_maps:
            return float(self.mask_results["threshold"])
        oracle = layer.scores.get("oracle") if self.recipe.section(MaskSettings).oracle else None
        otsu = layer.scores.get("otsu")
        fallback = float(otsu["threshold"]) if otsu else EVEN
        own = fallback if layer.own_threshold is None else layer.own_threshold
        return float(oracle["threshold"]) if oracle else own

    def class_thresholds(self, layer: Layer) -> dict[str, float]:
        """Thresholds of single classes, by name, that pseudo masks were made with from these maps; else empty."""
        return dict(self.mask_results.get("class_thresholds", {})) if layer == self.main_maps else {}

    def levels(self, layer: Layer) -> list[float]:
        """(K,) the threshold of each class that a layer of maps starts with."""
        own, level = self.class_thresholds(layer), self.threshold(layer)
        return [own.get(name, level) for name in self.classes]

    def heights(self, layer: Layer, class_indices: NDArray[np.int64]) -> list[float] | None:
        """`levels` of these classes; None, no threshold at all, where there is no background."""
        levels = self.levels(layer)
        return [levels[index] for index in class_indices.tolist()] if self.background else None

    def has(self, item: Item, layer: Layer) -> bool:
        """Whether an image has this layer."""
        return bool(item.sample and item.sample.mask) if layer.role == "truth" else layer.path(item.id) is not None

    def read_maps(self, layer: Layer, item: Item) -> SeedMaps | None:
        """Class maps of an image; None where it has none. Raises `StoreError` for a damaged file."""
        path = layer.path(item.id)
        return read_seed(path) if path else None

    def read_mask(self, layer: Layer, item: Item) -> Mask | None:
        """Mask (H, W) of an image; None where it has none. Raises `DataError` for a damaged file."""
        if layer.role == "truth":
            return item.sample.mask.read() if item.sample and item.sample.mask else None
        path = layer.path(item.id)
        return read_mask(path) if path else None

    def size(self, item: Item) -> tuple[int, int] | None:
        """(H, W) of an image, from its mask or maps, else from its photo; None where none of them can be read."""
        for layer in self.layers.values():
            path = None if layer.role == "truth" else layer.path(item.id)
            if path is None:
                continue
            with suppress(RecamError):  # the next one may be intact
                return read_seed(path).size if layer.kind == "maps" else image_size(ImageFile(path))
        with suppress(RecamError):
            return image_size(item.sample.image) if item.sample else None
        return None

    def maps_in(self, stage: str, inner: str) -> Layer | None:
        """The layer that a stage makes in its folder `inner`."""
        return next((each for each in self.of_role("maps") if (each.stage, each.inner) == (stage, inner)), None)

    def _planned(self, name: Literal["maps", "seeds"]) -> Layer | None:
        """The layer of a set of maps that ``run.json`` names."""
        maps = self.written["models"][name]
        return self.maps_in(maps["stage"], maps["folder"])

    def _recorded_classes(self) -> tuple[str, ...]:
        for name in self.written["stages"]:
            names = self.stage(name).record.get("inputs", {}).get("classes")
            if names:
                return tuple(names)
        raise StoreError(f"{self.root} has nothing to review yet, and its data set cannot be opened: {self.no_photos}")

    def _results(self, stage: str) -> dict[str, Any]:
        """Results of a stage; empty before it has finished."""
        return dict(self._records[stage]["results"]) if stage in self._records else {}

    def _of_kind(self, *wanted: str) -> Iterator[tuple[StageFolder, dict[str, Any]]]:
        """Stages of the settings in force whose label is of one of these kinds, with their labels, in order."""
        for name, stage in self.written["stages"].items():
            if stage["label"].get("kind") in wanted:
                yield self.stage(name), stage["label"]

    def _find_layers(self) -> Iterator[Layer]:
        scores: dict[str, Any] = {}
        for stage, _ in self._of_kind(kinds.MAP_SCORES):
            scores |= self._results(stage.name).get("maps", {})
        for stage, label in self._of_kind(kinds.MAPS, kinds.REFINED_MAPS):
            for maps in reversed(label.get("sets", ())):  # the set for pseudo masks last
                if (path := stage.path / maps["folder"]).is_dir():
                    found, threshold = scores.get(maps["name"], {}), maps["threshold"]
                    if threshold is None:
                        threshold = self._results(maps.get("finds", "")).get("threshold")
                    found = {**found, "recipe": None if threshold is None else nearest(found, threshold)}
                    where = (maps["folder"], stage.key, (path,))
                    yield Layer(stage.name, maps["title"], "maps", *where, threshold, found, stage.claims_done)
        for stage, _ in self._of_kind(kinds.MASKS):
            if stage.path.is_dir():
                yield Layer(stage.name, "mask", "masks", "", stage.key, (stage.path,), done=stage.claims_done)
        trained = next((stage for stage, _ in self._of_kind(kinds.SEGMENTER)), None)  # of several the first predicts
        if trained and trained.claims_done:
            stage = next((stage for stage, _ in self._of_kind(kinds.PREDICTIONS)), trained)
            folders = (stage.path, self.review / PREDICTIONS / stage.key)
            yield Layer(stage.name, "model", "model", "", stage.key, folders)
        if self._data and any(sample.mask for sample in (*self._data.score, *self._data.val)):
            yield Layer(TRUTH, "truth", "truth")

    def _find_items(self) -> Iterator[Item]:
        made = {layer.role: set[str]() for layer in self.layers.values()}
        for layer in self.layers.values():
            made[layer.role].update(layer.ids())
        predicted = made.pop("model", set[str]())
        if self._data is None:
            labels = self._labels_by_maps()
            held_out = predicted.difference(*made.values())
            for sample_id in sorted(predicted.union(*made.values())):
                yield Item(sample_id, "val" if sample_id in held_out else "train", labels.get(sample_id, ()), None)
            return
        seeded = {sample.id for sample in self._data.seeded}
        for sample in self._data.seeded:
            yield Item(sample.id, "train", sample.labels, sample)
        for sample in self._data.val:
            if sample.id not in seeded and sample.id in predicted:
                yield Item(sample.id, "val", sample.labels, sample)
        for sample in self._data.unlabelled if self.model else ():  # the model's masks are all that they can have
            yield Item(sample.id, "unlabelled", (), sample)

    def _labels_by_maps(self) -> dict[str, tuple[int, ...]]:
        """Maps are made for an image's labels, so without the data set these are known from them."""
        layer = self.main_maps
        read = ((each, _classes_of(path)) for each in layer.ids() if (path := layer.path(each))) if layer else ()
        return {sample_id: labels for sample_id, labels in read if labels is not None}


def _classes_of(path: Path) -> tuple[int, ...] | None:
    """Class indices of stored maps without reading the maps; None for a damaged file, which the index reports."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return tuple(file["class_indices"].tolist())
    except ARRAY_ERRORS:
        return None


def mask_of_maps(
    seed: SeedMaps, labels: tuple[int, ...], thresholds: Mapping[int, float], default: float | None
) -> Mask:
    """Mask (H, W) at full size: the largest map of the image's labels, where it exceeds the threshold of its class.

    Maps of classes that are no label (any more) do not take part.

    Args:
        labels: class indices that the image holds.
        thresholds: by class index; `default` for the others; None: there is no background, and no threshold counts.
    """
    kept = np.isin(seed.class_indices, labels)
    indices = seed.class_indices[kept]
    maps = read_full(SeedMaps(seed.maps[kept], indices, seed.size))  # (n, H, W)
    heights = None if default is None else [thresholds.get(index, default) for index in indices.tolist()]
    return apply_threshold(maps, indices, heights, seed.ignore)
