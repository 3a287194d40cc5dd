"""Try: what the models of a run make of a photo that they have never seen."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from recam.errors import RecamError, StoreError
from recam.inference.prediction import PRESENT
from recam.inference.predictor import Predictor
from recam.inference.run_models import find_models
from recam.methods.cam import classify, read_full
from recam.methods.pamr import PamrRefiner
from recam.methods.recam import Weighting
from recam.methods.refine import EVEN
from recam.methods.thresholds import apply_threshold
from recam.models.classifier import Classifier
from recam.models.saved import load_classifier
from recam.pipeline.run_chain import RunChain, load_chain
from recam.pipeline.seeds import encode_scales, make_seeds
from recam.pipeline.training_stages import WEIGHTS
from recam.review.layers import RunView
from recam.review.photo import decode_upload
from recam.types import Image, Mask
from recam.visualize import overlay_heat, overlay_mask

PLACES = 3
"""Photos that may be tried or wait for it at a time: each holds its bytes in memory, and nobody waits for a tenth."""
SIDE, MOST = 640, 2048
"""Longer side (pixels) that a photo is reduced to where the run names no `data.max_side`, and where it names a larger
one than `MOST`."""


class BusyError(RecamError):
    """All places of the queue are taken."""


@dataclass(frozen=True)
class Found:
    """A class and how sure the models are of it, in [0, 1]; `model` is None without a segmentation model."""

    name: str
    classifier: float
    model: float | None
    present: bool


@dataclass(frozen=True)
class Tried:
    """What came out for one photo.

    Attributes:
        found: all classes, the surest first.
        pictures: by title, (H, W, 3): photo, CAM, ReCAM, mask, the mask refined by the run's chain (by PAMR where it
            has none), prediction.
        notes: what this run could not do, and why.
    """

    found: tuple[Found, ...]
    pictures: dict[str, Image] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Trial:
    """The models of a run, loaded when first asked. One photo at a time: `PLACES` − 1 others wait, further ones are
    refused."""

    def __init__(self, view: RunView) -> None:
        self._view = view
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(PLACES)
        self._loaded: dict[str, Any] = {}

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
        with self._lock, torch.inference_mode():
            return self._try(image)

    def upload(self, content: bytes) -> Tried:
        """The same of a photo that comes as the bytes of its file.

        It is decoded when its turn comes, and reduced to what the networks of the run read, so that memory and time are
        bounded.

        Raises:
            DataError: as `decode_upload`.
            StoreError: the run has no classifier yet.
        """
        side = min(self._view.recipe.data.max_side or SIDE, MOST)
        with self._lock:
            image, (width, height) = decode_upload(content, self._view.review, side)
            with torch.inference_mode():
                tried = self._try(image)
        if max(width, height) > side:
            note = f"The photo of {width}×{height} pixels was reduced to a longer side of {side}."
            tried = replace(tried, notes=(note, *tried.notes))
        return tried

    def predict(self, image: Image) -> Mask:
        """The segmentation model's mask. Raises `StoreError` where the run has none."""
        with self._lock:
            return self._predictor()(image).mask

    def _try(self, image: Image) -> Tried:
        recipe, notes = self._view.recipe, []
        classifier = self._classifier("classify")
        if classifier is None:
            raise StoreError(
                "this run has no trained classifier yet, so nothing can be tried. Run `recam run` on it first."
            )
        features = encode_scales(classifier, image, (1.0,), flip=False, max_side=recipe.data.max_side)[0]
        sure = classify(features, classifier.weight_1)[0].float().sigmoid().tolist()  # (K,)
        present = [index for index, probability in enumerate(sure) if probability >= PRESENT]
        if not present:
            present = [max(range(len(sure)), key=sure.__getitem__)]
            notes.append(f"No class is sure (from {PRESENT:.0%}); the maps show the likeliest.")
        pictures = {"photo": image}
        shown: list[tuple[str, Classifier, Weighting]] = [("CAM", classifier, "w")]
        again = self._classifier("reactivate")
        if again is not None:
            shown.append(("ReCAM", again, recipe.seeds.weighting))
        for title, network, weighting in shown:
            seed = make_seeds(
                network, image, present, (weighting,), recipe.seeds.scales, recipe.seeds.flip, recipe.data.max_side
            )[weighting]
            maps = read_full(seed)
            pictures[title] = overlay_heat(image, maps)
        layer = self._view.layers.get(f"seeds/recam/{recipe.seeds.weighting}" if again is not None else "seeds/cam/w")
        levels = self._view.levels(layer) if layer else [recipe.masks.threshold] * len(sure)
        pictures["mask"] = overlay_mask(image, apply_threshold(maps, present, [levels[index] for index in present]))
        own = self._chain()
        if own:
            # AdvCAM climbs by gradients, which inference mode does not let it have.
            with torch.inference_mode(False):
                refined = own.chain(image, seed)
            title, level = f"refined ({' + '.join(recipe.refine)})", own.threshold
        else:
            refined = PamrRefiner(levels[present[0]])(image, seed)
            title, level = "refined (PAMR)", EVEN
            if recipe.refine:
                notes.append(
                    f"PAMR refines instead of {' + '.join(recipe.refine)}: not finished, or in want of saliency maps."
                )
        pictures[title] = overlay_mask(image, apply_threshold(read_full(refined), present, level))
        chances: list[float | None] = [None] * len(sure)
        if "model" in self._view.layers:
            prediction = self._predictor()(image)
            pictures["prediction"] = overlay_mask(image, prediction.mask)
            chances = list(prediction.probabilities)
        else:
            notes.append("This run has no segmentation model yet.")
        told = zip(self._view.classes, sure, chances, strict=True)
        found = [Found(name, one, two, index in present) for index, (name, one, two) in enumerate(told)]
        return Tried(tuple(sorted(found, key=lambda each: -each.classifier)), pictures, tuple(notes))

    def _classifier(self, stage: str) -> Classifier | None:
        if stage not in self._loaded:
            path = self._view.root / stage / WEIGHTS
            wanted = stage == "classify" or self._view.recipe.reactivate.enabled
            self._loaded[stage] = load_classifier(path) if wanted and path.is_file() else None
        loaded: Classifier | None = self._loaded[stage]
        return loaded

    def _chain(self) -> RunChain | None:
        if "chain" not in self._loaded:
            models = find_models(self._view.root) if "masks" in self._view.layers else None
            with torch.inference_mode(False):
                self._loaded["chain"] = load_chain(models.recipe, models.done, torch.device("cpu")) if models else None
        chain: RunChain | None = self._loaded["chain"]
        return chain

    def _predictor(self) -> Predictor:
        if "predictor" not in self._loaded:
            self._loaded["predictor"] = Predictor(self._view.root)
        predictor: Predictor = self._loaded["predictor"]
        return predictor
