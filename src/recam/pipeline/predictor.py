"""A finished run as a function: images of unknown labels in, masks out.

With a segmentation model it is asked. A run that stopped before one has its classifier: the classes that it finds choose the class maps,
and the run's threshold makes the mask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import torch

from recam.data.arrays import ImageLike, as_image, as_images
from recam.data.views import Planes
from recam.errors import RecipeError, near_matches
from recam.methods.cam import classify, read_full
from recam.models.folding import fold_batchnorm
from recam.pipeline.onnx_session import DEVICES
from recam.pipeline.predict import ask_segmenter, asking_of
from recam.pipeline.prediction import PRESENT, Prediction, SegmentationPrediction, predict_bounded, predict_from_maps
from recam.pipeline.run_models import RunModels, find_models
from recam.pipeline.seeds import encode_scales, make_seeds
from recam.pipeline.trained import load_classifier, load_segmenter
from recam.pipeline.training_stages import WEIGHTS
from recam.pipeline.windows import Asking, Refinement, make_refinement
from recam.types import Image


class Predictor:
    """Predicts masks with the models of a run.

    Args:
        run: a run folder, finished at least up to its pseudo masks.
        scales, flip: how each image is seen; None takes the run's own settings.
        device: ``auto`` takes a GPU where there is one; or ``cpu``, ``cuda``.
        window: side (pixels) of a sliding window for larger images, 0 for none; None takes the run's own setting.
        refine: ``none``, ``crf`` or ``pamr``; None takes the run's own setting.
        keep_planes: give the probability of each class at each pixel, too.

    Raises:
        RecipeError: unknown device, or cuda without a GPU; settings that make no sense; a window for a run that has no segmentation model.
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
            raise RecipeError("no GPU is here: take --device auto or cpu.")
        models = find_models(run)
        self._models, self._keep = models, keep_planes
        self._asking = asking_of(models.recipe, models.segmenter is not None, scales, flip, window, refine)
        make_refinement(self._asking.refine)
        place = torch.device("cuda" if device == "cuda" or (device == "auto" and torch.cuda.is_available()) else "cpu")
        if models.segmenter:
            self._segmenter = load_segmenter(models.segmenter.path / WEIGHTS)
            fold_batchnorm(self._segmenter.network).to(place)
            self.classes = self._segmenter.classes
        else:
            assert models.classifier is not None
            self._classifier = fold_batchnorm(load_classifier(models.classifier.path / WEIGHTS)).to(place)
            self.classes = tuple(models.classifier.record["inputs"]["classes"])

    @property
    def asking(self) -> Asking:
        """How each image is seen."""
        return self._asking

    @property
    def identity(self) -> Mapping[str, Any]:
        """Stage and key of the weights that predict."""
        stage = self._models.segmenter or self._models.classifier
        assert stage is not None
        maps: dict[str, Any] = {"weighting": self._models.weighting, "threshold": self._models.threshold}
        maps |= {"class_thresholds": self._models.class_thresholds} if self._models.class_thresholds else {}
        threshold = {} if self._models.segmenter else maps
        return {"stage": stage.name, "key": stage.key, **threshold}

    @overload
    def __call__(self, image: ImageLike) -> Prediction: ...

    @overload
    def __call__(self, image: list[Any] | tuple[Any, ...]) -> list[Prediction]: ...

    def __call__(self, image: ImageLike | list[Any] | tuple[Any, ...]) -> Prediction | list[Prediction]:
        """The mask of one image, or those of a list of images.

        Args:
            image: a path; a PIL image; an array (H, W, 3), grey (H, W) or RGBA (H, W, 4), of uint8 or of floats in [0, 1]; a tensor of the
                same, also (3, H, W); see `recam.data.arrays.as_image`. A list of them gives a list.

        Raises:
            DataError: what is none of these, described; or a file that is no image. Of a list all are named.
        """
        if isinstance(image, list | tuple):
            return [predict_bounded(pixels, self._asking, self._predict) for pixels in as_images(image)]
        return predict_bounded(as_image(image), self._asking, self._predict)

    def _predict(self, pixels: Image) -> Prediction:
        if self._models.segmenter:
            return SegmentationPrediction(self.classes, self._asking, self._keep)(pixels, self._probabilities_of)
        return self._from_class_maps(pixels, self._models)

    def _probabilities_of(self, part: Image) -> Planes:
        return ask_segmenter(self._segmenter, part, self._asking)

    def _from_class_maps(self, image: Image, models: RunModels) -> Prediction:
        sure = self._classify(image)
        present = [index for index, probability in enumerate(sure) if probability >= PRESENT]
        how = self._asking
        made = make_seeds(self._classifier, image, present, (models.weighting,), how.scales, how.flip, how.max_side)[models.weighting]
        assert models.threshold is not None
        full, own = read_full(made), models.class_thresholds
        return predict_from_maps(image, full, present, models.threshold, own, self.classes, sure, how, self._keep)

    @torch.inference_mode()
    def _classify(self, image: Image) -> tuple[float, ...]:
        features = encode_scales(self._classifier, image, (1.0,), flip=False, max_side=self._asking.max_side)[0]
        logits = classify(features, self._classifier.weight_1)  # (1, K)
        return tuple(logits[0].float().sigmoid().tolist())
