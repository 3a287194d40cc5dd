"""A finished run as a function: images of unknown labels in, masks out.

The segmentation model predicts where the run has one. A run that stopped before has its classifier: class maps of the
classes that it finds become the mask, at the run's threshold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from recam.errors import RecipeError, near_matches
from recam.inference.class_maps import make_class_maps, view_pairs
from recam.inference.onnx_session import DEVICES
from recam.inference.prediction import Model, Prediction, find_present, predict_from_maps, predict_segmentation
from recam.inference.run_models import RunModels, find_models
from recam.inference.tta import segment_part
from recam.methods.cam import read_full
from recam.methods.refinements import Refinement, make_refinement
from recam.models.folding import fold_batchnorm
from recam.models.saved import load_classifier, load_reading, load_segmenter
from recam.preprocess import Planes
from recam.types import Image


class Predictor(Model):
    """Predicts masks with the models of a run.

    Args:
        run: a run folder, finished at least up to its pseudo masks.
        scales, flip: test-time scales and horizontal-flip TTA; None takes the run's own settings.
        device: ``auto`` takes a GPU where there is one; or ``cpu``, ``cuda``.
        window: side (pixels) of a sliding window for larger images, 0 for none; None takes the run's own setting.
        refine: ``none``, ``crf`` or ``pamr``; None takes the run's own setting.
        keep_planes: also return the probability of each class at each pixel.

    Raises:
        RecipeError: unknown device, or cuda without a GPU; settings that make no sense; a window where there is no
            segmentation model.
        DependencyError: `refine` needs a package that is not installed.
        StoreError: no such run, or nothing in it to predict with.

    Example:
        >>> mask = Predictor("runs/voc")("photo.jpg").mask
    """

    def __init__(
        self,
        run: str | Path,
        scales: Sequence[float] | None = None,
        flip: bool | None = None,
        device: str = "auto",
        window: int | None = None,
        refine: Refinement | None = None,
        keep_planes: bool = False,
    ) -> None:
        if device not in DEVICES:
            raise RecipeError(f"unknown device {device!r}.{near_matches(device, DEVICES)}")
        if device == "cuda" and not torch.cuda.is_available():
            raise RecipeError("no GPU is available: take --device auto or cpu.")
        models = find_models(run)
        self._models, self.keep_planes = models, keep_planes
        self.settings = models.inference.changed(
            models.segmenter is not None, scales=scales, flip=flip, window=window, refine=refine
        )
        make_refinement(self.settings.refine)
        place = torch.device("cuda" if device == "cuda" or (device == "auto" and torch.cuda.is_available()) else "cpu")
        if models.segmenter:
            self._segmenter = load_segmenter(models.segmenter.weights)
            fold_batchnorm(self._segmenter.network).to(place)
            self.classes, self.reading = self._segmenter.classes, self._segmenter.reading
            self.background = self._segmenter.background
        else:
            assert models.classifier is not None
            self._classifier = fold_batchnorm(load_classifier(models.classifier.weights)).to(place)
            self.reading = load_reading(models.classifier.weights)
            self.classes = tuple(models.classifier.record["inputs"]["classes"])
            self.background = models.background

    @property
    def identity(self) -> Mapping[str, Any]:
        """Stage and key of the weights that predict."""
        stage = self._models.predicts
        maps: dict[str, Any] = {"weighting": self._models.weighting, "threshold": self._models.threshold}
        maps |= {"class_thresholds": self._models.class_thresholds} if self._models.class_thresholds else {}
        threshold = {} if self._models.segmenter else maps
        return {"stage": stage.name, "key": stage.key, **threshold}

    def _predict(self, image: Image) -> Prediction:
        if self._models.segmenter:
            return predict_segmentation(
                image, self._probabilities_of, self.classes, self.settings, self.keep_planes, self.background
            )
        return self._from_class_maps(image, self._models)

    def _probabilities_of(self, part: Image) -> Planes:
        return segment_part(self._segmenter, part, self.settings)

    def _from_class_maps(self, image: Image, models: RunModels) -> Prediction:
        probabilities = self._classify(image)
        present = find_present(probabilities, self.background)
        own, weighting = self.settings, models.weighting
        made = make_class_maps(self._classifier, image, present, (weighting,), own.scales, own.flip, own.max_side)
        threshold = models.threshold if self.background else None
        return predict_from_maps(
            image, read_full(made[weighting]), present, threshold, models.class_thresholds, self.classes,
            probabilities, own, self.keep_planes,
        )  # fmt: skip

    @torch.inference_mode()
    def _classify(self, image: Image) -> tuple[float, ...]:
        view = view_pairs(self._classifier, image, (1.0,), False, self.settings.max_side)[0]  # (1, 3, h, w)
        logits = self._classifier(view)  # (1, K)
        return tuple(logits[0].float().sigmoid().tolist())
