"""Try: what the models of a run make of a photo that they have not read before."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch

from recam.data.roles import DataSettings
from recam.errors import RecamError, StoreError
from recam.inference.class_maps import view_pairs
from recam.inference.prediction import PRESENT
from recam.inference.predictor import Predictor
from recam.methods.cam import read_full
from recam.methods.pamr import PamrRefiner
from recam.methods.refine import EVEN, Chain
from recam.methods.thresholds import apply_threshold
from recam.models.classifier import Classifier
from recam.models.saved import load_classifier
from recam.pipeline.maker import make_maker
from recam.pipeline.map_set import MapSet
from recam.pipeline.refiner import load_chain, refiner_steps
from recam.pipeline.refiners.pamr import PamrStep
from recam.pipeline.stages.maps import AllMapsOf, load_maps, plan_maps
from recam.pipeline.stages.masks import MaskSettings
from recam.pipeline.stages.train import stage_of
from recam.pipeline.training import Training, make_training
from recam.review.layers import ReviewedRun
from recam.review.photo import decode_upload
from recam.runfolder.store import StageFolder
from recam.types import Image, Mask
from recam.visualize import overlay_heat, overlay_mask

PLACES = 3
"""Photos that may be tried or wait for it at a time: each holds its bytes in memory, and nobody waits for a tenth."""
SIDE, MOST = 640, 2048
"""Longer side (pixels) that a photo is reduced to where the run names no `data.max_side`, and where it names a larger
one than `MOST`."""
CPU = torch.device("cpu")


class BusyError(RecamError):
    """All places of the queue are taken."""


@dataclass(frozen=True)
class Found:
    """A class with its probabilities; `model` is None without a segmentation model."""

    name: str
    classifier: float
    model: float | None
    present: bool


@dataclass(frozen=True)
class Tried:
    """What came out for one photo.

    Attributes:
        found: all classes, the most probable first.
        pictures: by title, (H, W, 3): photo, maps of the run's trainings, mask, the mask refined by the run's chain (by
            PAMR where it has none), prediction.
        notes: what this run could not do, and why.
    """

    found: tuple[Found, ...]
    pictures: dict[str, Image] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Trial:
    """The models of a run, loaded when first used. One photo at a time: `PLACES` − 1 others wait, further ones are
    refused."""

    def __init__(self, run: ReviewedRun) -> None:
        self._run = run
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(PLACES)

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place in the queue, to be taken before the photo is received. Raises `BusyError` where there is none
        left."""
        if not self._places.acquire(blocking=False):
            raise BusyError(f"one photo is being tried and {PLACES - 1} wait already. Try again when they are done.")
        try:
            yield
        finally:
            self._places.release()

    def __call__(self, image: Image) -> Tried:
        """Classes, class maps, mask and prediction of a photo (H, W, 3). Raises `StoreError` where the run has no
        classifier yet."""
        with self._lock:
            return self._try(image)

    def upload(self, content: bytes) -> Tried:
        """The same of a photo that comes as the bytes of its file: decoded when its turn comes, and reduced to what the
        networks of the run read, so that memory and time are bounded.

        Raises:
            DataError: as `decode_upload`.
            StoreError: the run has no classifier yet.
        """
        data = self._run.recipe.section(DataSettings)
        side = min(data.max_side or SIDE, MOST)
        with self._lock:
            image, (width, height) = decode_upload(content, self._run.review, side, data.reading)
            tried = self._try(image)
        if max(width, height) > side:
            note = f"The photo of {width}×{height} pixels was reduced to a longer side of {side}."
            tried = replace(tried, notes=(note, *tried.notes))
        return tried

    def predict(self, image: Image) -> Mask:
        """The segmentation model's mask. Raises `StoreError` where the run has none."""
        with self._lock:
            return self._predictor.predict(image).mask

    def _try(self, image: Image) -> Tried:
        run, notes = self._run, list[str]()
        if not self._trained:
            raise StoreError(
                "this run has no trained classifier yet, so nothing can be tried. Run `recam run` on it first."
            )
        probabilities = self._classify(image)
        present = [index for index, probability in enumerate(probabilities) if probability >= PRESENT]
        if not present:
            present = [max(range(len(probabilities)), key=probabilities.__getitem__)]
            notes.append(f"No class reaches a probability of {PRESENT:.0%}; the maps show the most probable.")
        pictures = {"photo": image}
        for maps, maps_of in self._maps:
            seed = next(iter(maps_of(image, present).values()))
            pictures[maps.title] = overlay_heat(image, read_full(seed))
        layer = run.maps_in(maps.folder.stage, maps.folder.inner)
        height = EVEN if maps.threshold is None else maps.threshold
        fallback = [height] * len(present) if run.background else None
        own = run.heights(layer, seed.class_indices) if layer else fallback
        pictures["mask"] = overlay_mask(image, apply_threshold(read_full(seed), present, own))
        if self._chain and run.main_maps:
            title, refined = run.main_maps.title, self._chain(image, seed)
            own = run.heights(run.main_maps, seed.class_indices)
        else:
            title, refined = PamrStep.title, PamrRefiner(own[0] if own else None)(image, seed)
            own = [EVEN] * len(present) if run.background else None
            if run.recipe.refine:
                chain = " + ".join(refiner_steps[name].title for name in run.recipe.refine)
                notes.append(f"{title} refines instead of {chain}, which has not finished or needs more than a photo.")
        pictures[f"refined ({title})"] = overlay_mask(image, apply_threshold(read_full(refined), present, own))
        by_model: list[float | None] = [None] * len(probabilities)
        if run.model:
            prediction = self._predictor.predict(image)
            pictures["prediction"] = overlay_mask(image, prediction.mask)
            by_model = list(prediction.probabilities)
        else:
            notes.append("This run has no segmentation model yet.")
        pairs = zip(run.classes, probabilities, by_model, strict=True)
        found = [Found(name, one, two, index in present) for index, (name, one, two) in enumerate(pairs)]
        return Tried(tuple(sorted(found, key=lambda each: -each.classifier)), pictures, tuple(notes))

    @property
    def _max_side(self) -> int | None:
        return self._run.recipe.section(DataSettings).max_side

    @cached_property
    def _trained(self) -> list[tuple[Training, StageFolder]]:
        """The training that the run's own starts from, and its own, as far as they have finished."""
        folder, recipe = self._run.folder, self._run.recipe
        own = make_training(recipe, recipe.training) if self._run.written["models"]["classifier"] else None
        done = folder.done_stages()
        both = [each for each in (own.base, own) if each and stage_of(each) in done] if own else []
        return [(each, folder.stage(stage_of(each))) for each in both]

    @cached_property
    def _maps(self) -> list[tuple[MapSet, AllMapsOf]]:
        """What makes the class maps of these trainings."""
        recipe, threshold, made = self._run.recipe, self._run.recipe.section(MaskSettings).fixed, []
        for training, stage in self._trained:
            makes = recipe.maker and training.name == recipe.training
            maker = make_maker(recipe, recipe.maker, self._run.classes) if makes else None
            (*prepared, planned), (maps, *_) = plan_maps(recipe, training, maker, self._max_side, threshold, True)
            given = replace(planned.given, weightings=(maps.folder.inner,))
            inputs = {each.name: self._run.folder.stage(each.name) for each in prepared}
            made.append((maps, load_maps(given, stage.weights, CPU, inputs=inputs)))
        return made

    @torch.inference_mode()
    def _classify(self, image: Image) -> list[float]:
        """(K,) probabilities of the classes."""
        (view,) = view_pairs(self._classifier, image, (1.0,), False, self._max_side)
        probabilities: list[float] = self._classifier(view)[0].float().sigmoid().tolist()
        return probabilities

    @cached_property
    def _classifier(self) -> Classifier:
        return load_classifier(self._trained[0][1].weights)

    @cached_property
    def _chain(self) -> Chain | None:
        finished = self._run.mask_results and self._trained[-1][0].name == self._run.recipe.training
        return load_chain(self._run.folder, CPU) if finished else None

    @cached_property
    def _predictor(self) -> Predictor:
        return Predictor(self._run.root)
