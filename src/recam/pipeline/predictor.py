"""A finished run as a function: images of unknown labels in, masks out.

With a segmentation model it is asked. A run that stopped before one has its classifier: the classes that it finds choose the class maps,
and the run's threshold makes the mask.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from recam.data.images import IMAGE_ENDINGS, read_image, write_mask, write_png
from recam.errors import DataError, Problem, RecamError, RecipeError, StoreError, near_matches
from recam.methods.cam import classify, read_full
from recam.methods.thresholds import apply_threshold
from recam.pipeline.evaluate import OVERLAY
from recam.pipeline.predict import most_probable, predict_probabilities
from recam.pipeline.recipe import Recipe
from recam.pipeline.seeds import encode_scales, make_seeds
from recam.pipeline.store import open_run, read_json
from recam.pipeline.trained import TrainedSegmenter, load_classifier, load_segmenter
from recam.pipeline.training_stages import WEIGHTS
from recam.progress import track
from recam.report.pictures import overlay_mask
from recam.types import Image, Mask

PRESENT = 0.5
"""Probability from which the classifier's own prediction counts a class as present."""

RESULT_ENDINGS = (".png", f"{OVERLAY}.png")
"""What `predict` writes of an image: mask and overlay."""


@dataclass(frozen=True)
class Prediction:
    """What was found in one image.

    Attributes:
        mask: (H, W) uint8, 0 background, 1…K classes.
        classes: names of all K classes; mask value k is ``classes[k - 1]``.
        probabilities: (K,) in [0, 1], how sure the model is of each class anywhere in the image: the largest pixel probability of a
            segmentation model, the classifier's sigmoid where there is none.
    """

    mask: Mask
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]

    @property
    def found(self) -> tuple[str, ...]:
        """Names of the classes in the mask."""
        present = set(self.mask.ravel().tolist())
        return tuple(name for value, name in enumerate(self.classes, start=1) if value in present)


class Predictor:
    """Predicts masks with the models of a run.

    Args:
        run: a run folder, finished at least up to its pseudo masks.
        scales, flip: how each image is seen; None takes the run's own settings.
        device: ``auto`` takes a GPU where there is one; or ``cpu``, ``cuda``.

    Raises:
        RecipeError: unknown device.
        StoreError: no such run, or nothing in it to predict with.

    Example:
        >>> mask = Predictor("runs/voc")("photo.jpg").mask
    """

    def __init__(self, run: str | Path, scales: Sequence[float] | None = None, flip: bool | None = None, device: str = "auto") -> None:
        if device not in ("auto", "cpu", "cuda"):
            raise RecipeError(f"unknown device {device!r}.{near_matches(device, ('auto', 'cpu', 'cuda'))}")
        folder = open_run(run)
        written = read_json(folder.root / "run.json")
        self._recipe = Recipe.model_validate(written["recipe"])
        # What other settings had made does not count.
        done = [name for name in folder.done_stages() if folder.stage(name).key == written["stages"].get(name)]
        self._device = torch.device("cuda" if device == "cuda" or (device == "auto" and torch.cuda.is_available()) else "cpu")
        segmenters = [name for name in ("segment/pseudo", "segment/truth") if name in done]
        self._segmenter: TrainedSegmenter | None = None
        self._scales, self._flip = scales, flip
        if segmenters:
            self._segmenter = load_segmenter(folder.stage(segmenters[0]).path / WEIGHTS)
            self._segmenter.network.to(self._device)
            self.classes = self._segmenter.classes
        elif "masks" in done:
            trained = "reactivate" if self._recipe.reactivate.enabled else "classify"
            path = folder.stage(trained).path / WEIGHTS
            self._classifier = load_classifier(path).to(self._device)
            self._threshold = float(folder.stage("masks").record["results"]["threshold"])
            self.classes = tuple(folder.stage(trained).record["inputs"]["classes"])
        else:
            raise StoreError(f"{run} has neither a segmentation model nor pseudo masks yet. Run `recam run` on it to the end first.")

    def __call__(self, image: Image | str | Path) -> Prediction:
        """The mask of one image: (H, W, 3) uint8 RGB, or a file. Raises `DataError` for a file that is no image."""
        pixels = read_image(image) if isinstance(image, str | Path) else image
        if self._segmenter:
            settings = self._recipe.predict
            scales = settings.scales if self._scales is None else self._scales
            flip = settings.flip if self._flip is None else self._flip
            probabilities = predict_probabilities(self._segmenter, pixels, scales, flip, self._recipe.data.max_side)  # (K+1, H, W)
            return Prediction(most_probable(probabilities), self.classes, tuple(probabilities[1:].amax((1, 2)).tolist()))
        return self._from_class_maps(pixels)

    def _from_class_maps(self, image: Image) -> Prediction:
        settings = self._recipe.seeds
        scales = settings.scales if self._scales is None else self._scales
        flip = settings.flip if self._flip is None else self._flip
        sure = self._classify(image)
        present = [index for index, probability in enumerate(sure) if probability >= PRESENT]
        weighting = settings.weighting if self._recipe.reactivate.enabled else "w"
        seed = make_seeds(self._classifier, image, present, (weighting,), scales, flip, self._recipe.data.max_side)[weighting]
        return Prediction(apply_threshold(read_full(seed), present, self._threshold), self.classes, sure)

    @torch.inference_mode()
    def _classify(self, image: Image) -> tuple[float, ...]:
        features = encode_scales(self._classifier, image, (1.0,), flip=False, max_side=self._recipe.data.max_side)[0]
        logits = classify(features, self._classifier.weight_1)  # (1, K)
        return tuple(logits[0].float().sigmoid().tolist())


@dataclass(frozen=True)
class PredictReport:
    """What `predict` wrote.

    Attributes:
        output: the folder.
        images: files done.
        images_per_class: how many masks hold each class.
        problems: files that could not be read.
    """

    output: Path
    images: int
    images_per_class: dict[str, int]
    problems: tuple[Problem, ...]

    def __str__(self) -> str:
        lines = [f"{self.images} masks and overlays in {self.output}"]
        lines += [f"  {name}: in {count}" for name, count in self.images_per_class.items() if count]
        lines += [f"{len(self.problems)} files could not be read:"] * bool(self.problems)
        lines += [f"  {problem.where}: {problem.message}" for problem in self.problems]
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        problems = [problem.as_dict() for problem in self.problems]
        return {"images": self.images, "images_per_class": self.images_per_class, "problems": problems}


def predict(
    run: str | Path,
    images: str | Path | Sequence[str | Path],
    output: str | Path,
    scales: Sequence[float] | None = None,
    flip: bool | None = None,
    device: str = "auto",
) -> PredictReport:
    """Write ``NAME.png`` (palette mask) and ``NAME_overlay.png`` for each image; sub-folders are kept. Bad files are told at the end.

    Args:
        run: a run folder.
        images: a file, a folder (searched with its sub-folders), or several of them.
        output: folder for the results.
        scales, flip, device: see `Predictor`.

    Raises:
        DataError: no image at all, two images that would write the same file, or masks that would be written over images.
        StoreError: no such run.
    """
    places = [images] if isinstance(images, str | Path) else list(images)
    found = list(_find_images([Path(place) for place in places]))
    if not found:
        raise DataError(f"no image in {', '.join(str(place) for place in places)}; looked for {', '.join(IMAGE_ENDINGS)}.")
    root = Path(output)
    counted = Counter(root / f"{target}{ending}" for _, target in found for ending in RESULT_ENDINGS)
    doubled = sorted(str(path) for path, count in counted.items() if count > 1)
    if doubled:
        raise DataError(f"several images would write the same file ({', '.join(doubled[:5])}). Predict them into different folders.")
    results = {path.resolve() for path in counted}
    lost = sorted(str(path) for path, _ in found if path.resolve() in results)
    if lost:
        raise DataError(f"masks would be written over images ({', '.join(lost[:5])}). Predict into a different folder.")
    predictor, problems = Predictor(run, scales, flip, device), []
    counts = dict.fromkeys(predictor.classes, 0)
    for path, target in track(found, "predict", len(found)):
        try:
            image = read_image(path)
            prediction = predictor(image)
        except RecamError as error:
            problems.append(Problem("unreadable-image", str(path), str(error)))
            continue
        mask_path, overlay_path = (root / f"{target}{ending}" for ending in RESULT_ENDINGS)
        write_mask(mask_path, prediction.mask)
        write_png(overlay_path, overlay_mask(image, prediction.mask))
        for name in prediction.found:
            counts[name] += 1
    return PredictReport(root, len(found) - len(problems), counts, tuple(problems))


def _find_images(places: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    """(file, its name below the output folder without ending)."""
    for place in places:
        if place.is_dir():
            files = sorted(path for path in place.rglob("*") if path.suffix.lower() in IMAGE_ENDINGS and path.is_file())
            yield from ((path, path.relative_to(place).with_suffix("")) for path in files)
        elif place.is_file():
            yield place, Path(place.stem)
        else:
            raise DataError(f"{place} is neither a file nor a folder.")
