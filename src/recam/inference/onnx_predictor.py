"""Exported networks as a function: images in, masks out, by onnxruntime, NumPy and Pillow alone.

Does what `recam.inference.predictor` does with a run, on what `recam.export_model` wrote: ``segmenter.onnx`` where
there is one, else the class maps of ``classifier.onnx``. All that is needed besides (classes, normalisation, inference
settings) is in the JSON card beside.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recam.errors import StoreError
from recam.inference.exported_card import read_card
from recam.inference.onnx_session import open_session
from recam.inference.prediction import Model, Prediction, find_present, predict_from_maps, predict_segmentation
from recam.methods.refinements import Refinement, make_refinement
from recam.preprocess import Planes, normalise_pixels, resize_image, resize_planes, scaled_size
from recam.types import Image

KINDS = ("segmenter", "classifier")
"""Exported networks, by name of their files; the first that is there predicts."""
STRIDE = 4
EPS = 1e-5


def is_exported(folder: str | Path) -> bool:
    """Whether `recam.export_model` wrote this folder."""
    return any(Path(folder, f"{kind}.json").is_file() and Path(folder, f"{kind}.onnx").is_file() for kind in KINDS)


class ExportedPredictor(Model):
    """Predicts masks with exported networks; arguments as of `recam.Predictor`.

    Args:
        folder: what `recam.export_model` wrote.
        scales, flip, window, refine: None takes the card's own settings.
        device: ``auto`` takes a GPU where onnxruntime has one; or ``cpu``, ``cuda``.
        keep_planes: also return the probability of each class at each pixel.

    Raises:
        DependencyError: onnxruntime is not installed; or `refine` needs a package that is not.
        StoreError: no exported network there, or one that is damaged.
        RecipeError: unknown device, or one that onnxruntime does not have; settings that make no sense.
    """

    def __init__(
        self,
        folder: str | Path,
        scales: Sequence[float] | None = None,
        flip: bool | None = None,
        device: str = "auto",
        window: int | None = None,
        refine: Refinement | None = None,
        keep_planes: bool = False,
    ) -> None:
        if not is_exported(folder):
            raise StoreError(f"{folder} holds no exported network. Name a folder that `recam export model` wrote.")
        self.kind = next(
            kind for kind in KINDS if Path(folder, f"{kind}.onnx").is_file() and Path(folder, f"{kind}.json").is_file()
        )
        is_segmenter = self.kind == "segmenter"
        self.card, own, self.reading = read_card(Path(folder, f"{self.kind}.json"), needs_threshold=not is_segmenter)
        self.classes = tuple(self.card["classes"])
        self.keep_planes = keep_planes
        self.settings = own.changed(is_segmenter, scales=scales, flip=flip, window=window, refine=refine)
        make_refinement(self.settings.refine)
        network = Path(folder, f"{self.kind}.onnx")
        try:
            content = network.read_bytes()
        except OSError as error:
            raise StoreError(
                f"{network} cannot be read ({error.strerror}). Export it again, or give read permission."
            ) from error
        if hashlib.sha256(content).hexdigest() != self.card["sha256"]:
            raise StoreError(
                f"{network} is not the file that {self.kind}.json describes. Export it again, or copy both again."
            )
        self._session = open_session(network, device)
        self.background = bool(self.card.get("background", True))
        planes = self._session.get_outputs()[0].shape[1]  # logits: background first in a segmenter's, if there is one
        if planes != len(self.classes) + (is_segmenter and self.background):
            raise StoreError(
                f"{self.kind}.json names {len(self.classes)} classes, but {network} has {planes} outputs. Export both"
                " again."
            )

    @property
    def identity(self) -> Mapping[str, Any]:
        """Hash of the file that predicts, and the thresholds of its class maps."""
        threshold = {} if self.kind == "segmenter" else {"threshold": self.card["threshold"]}
        threshold |= {"class_thresholds": self._class_thresholds} if self._class_thresholds else {}
        return {"onnx": self.kind, "sha256": self.card["sha256"], **threshold}

    @property
    def _class_thresholds(self) -> dict[str, float]:
        # A segmentation network has no class maps, and its card no thresholds.
        own: dict[str, float] = self.card.get("class_thresholds", {})
        return own

    def _predict(self, image: Image) -> Prediction:
        if self.kind == "segmenter":
            return predict_segmentation(
                image, self._probabilities_of, self.classes, self.settings, self.keep_planes, self.background
            )
        return self._from_class_maps(image)

    def _run(self, image: Image, scale: float, flip: bool, max_side: int | None) -> list[Planes]:
        """Outputs for an image, and its horizontal flip, at one scale: (1 or 2, …) each."""
        size = scaled_size((image.shape[0], image.shape[1]), scale, max_side)
        view = normalise_pixels(
            resize_image(image, size), tuple(self.card["mean"]), tuple(self.card["std"])
        )  # (n, h, w)
        views = np.stack([view, view[:, :, ::-1]]) if flip else view[None]
        outputs: list[Planes] = self._session.run(None, {"images": np.ascontiguousarray(views)})
        return outputs

    def _probabilities_of(self, part: Image) -> Planes:
        own = self.settings
        size = (part.shape[0], part.shape[1])
        total = np.zeros((len(self.classes) + self.background, *size), np.float32)
        for scale in own.scales:
            logits = self._run(part, scale, own.flip, None if own.window else own.max_side)[0]  # (2, K+1, h, w)
            raised = np.exp(logits - logits.max(1, keepdims=True))
            probabilities = raised / raised.sum(1, keepdims=True)
            mean = (
                (probabilities[0] + probabilities[1][:, :, ::-1]) / 2 if own.flip else probabilities[0]
            )  # (K+1, h, w)
            total += resize_planes(mean, size)
        return total / np.float32(len(own.scales))

    def _from_class_maps(self, image: Image) -> Prediction:
        own = self.settings
        size = (image.shape[0], image.shape[1])
        logits = self._run(image, 1.0, False, own.max_side)[0][0]  # (K,)
        probabilities = tuple((1 / (1 + np.exp(-logits.astype(np.float64)))).tolist())
        present = find_present(probabilities, self.background)
        strided = (-(-size[0] // STRIDE), -(-size[1] // STRIDE))
        fused = np.zeros((len(present), *strided), np.float32)
        for scale in own.scales if present else ():
            raw = self._run(image, scale, own.flip, own.max_side)[1][:, present].clip(0)  # (2, n, h, w)
            both = raw[0] + raw[1][:, :, ::-1] if own.flip else raw[0]
            fused += resize_planes(both, strided)
        maps = fused / (fused.max((1, 2), keepdims=True, initial=0) + np.float32(EPS))
        full = resize_planes(maps, (strided[0] * STRIDE, strided[1] * STRIDE))[:, : size[0], : size[1]]  # (n, H, W)
        threshold = self.card["threshold"] if self.background else None
        return predict_from_maps(
            image, full, present, threshold, self._class_thresholds, self.classes, probabilities, own,
            self.keep_planes,
        )  # fmt: skip
