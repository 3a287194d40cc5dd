"""Masks for files: what `recam predict` does, with the networks of a run or with exported ones, which need no PyTorch.

An image that an earlier call finished is skipped, as long as the same model saw it in the same way: `predict.json` in the output folder
tells. Another model or way of seeing is refused there, unless it may overwrite.
"""

from __future__ import annotations

import io
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recam.data.images import IMAGE_ENDINGS, read_image, write_mask, write_png
from recam.data.mask_folder import OVERLAY
from recam.errors import DataError, Problem, RecamError, StoreError
from recam.files import checked_path, require_folder, write_bytes
from recam.pipeline.exported import ExportedPredictor, is_exported
from recam.pipeline.prediction import Model, Prediction
from recam.pipeline.store import read_json, write_json
from recam.pipeline.windows import Asking, Refinement
from recam.progress import Progress
from recam.report.pictures import overlay_mask

PROBABILITIES = "_probabilities.npz"
REPORT = "predict.json"
LISTED = "-"
"""Instead of a file: the list of files on standard input, one a line."""


@dataclass(frozen=True)
class PredictReport:
    """What `predict` wrote.

    Attributes:
        output: the folder.
        images: files done by this call.
        skipped: files that an earlier call had done.
        images_per_class: how many masks of this call hold each class.
        images_per_second: reading, predicting and writing of this call; None where it did nothing.
        problems: files that could not be read.
    """

    output: Path
    images: int
    skipped: int
    images_per_class: dict[str, int]
    images_per_second: float | None
    problems: tuple[Problem, ...]

    def __str__(self) -> str:
        speed = "" if self.images_per_second is None else f", {self.images_per_second:.1f} images/s"
        lines = [f"{self.images} masks and overlays in {self.output}{speed}"]
        lines += [f"{self.skipped} were there already (--overwrite makes them again)"] * bool(self.skipped)
        lines += [f"  {name}: in {count}" for name, count in self.images_per_class.items() if count]
        lines += [f"{len(self.problems)} files could not be read:"] * bool(self.problems)
        lines += [f"  {problem.where}: {problem.message}" for problem in self.problems]
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "images": self.images,
            "skipped": self.skipped,
            "images_per_class": self.images_per_class,
            "images_per_second": self.images_per_second,
            "problems": [problem.as_dict() for problem in self.problems],
        }


def predict(
    run: str | Path,
    images: str | Path | Sequence[str | Path],
    output: str | Path,
    scales: Sequence[float] | None = None,
    flip: bool | None = None,
    device: str = "auto",
    *,
    window: int | None = None,
    refine: Refinement | None = None,
    probabilities: bool = False,
    overwrite: bool = False,
    onnx: bool | None = None,
) -> PredictReport:
    """Write ``NAME.png`` (palette mask) and ``NAME_overlay.png`` for each image; sub-folders are kept. Bad files are told at the end.

    Args:
        run: a run folder, or what `recam.export_model` wrote.
        images: a file, a folder (searched with its sub-folders), a pattern such as ``"photos/*/7*.jpg"``, ``"-"`` for a list of files on
            standard input, or several of them.
        output: folder for the results.
        scales, flip, device, window, refine: see `recam.Predictor`.
        probabilities: also write ``NAME_probabilities.npz``, see docs/predict.md.
        overwrite: make again what is there.
        onnx: whether `run` holds exported networks; None looks.

    Raises:
        DataError: no image at all, two images that would write the same file, or masks that would be written over images.
        StoreError: no such run; results of another model or another way of seeing in `output`.
    """
    places = [images] if isinstance(images, str | Path) else list(images)
    found = list(find_images(places))
    if not found:
        raise DataError(f"no image in {', '.join(str(place) for place in places)}; looked for {', '.join(IMAGE_ENDINGS)}.")
    root = Path(output)
    require_folder(root)
    endings = (".png", f"{OVERLAY}.png", *([PROBABILITIES] if probabilities else []))
    _refuse_collisions(found, root, endings)
    model, asking = _open(run, scales, flip, device, window, refine, probabilities, onnx)
    identity = {"model": dict(model.identity), "asking": asdict(asking), "classes": list(model.classes)}
    if overwrite or _starts_afresh(root, identity):
        for _, target in found:  # gone first: should this call be stopped, none of them passes for one of its masks
            (root / f"{target}.png").unlink(missing_ok=True)
    todo = [one for one in found if not _is_done(root, one[1], endings)]
    write_json(root / REPORT, identity)
    problems: list[Problem] = []
    counts = dict.fromkeys(model.classes, 0)
    with Progress("predict", len(found), len(found) - len(todo)) as progress:
        for path, target in todo:
            try:
                image = read_image(path)
                prediction = model(image)
            except RecamError as error:
                problems.append(Problem("unreadable-image", str(path), str(error)))
            else:
                # The mask comes last: where it is, the others are.
                if probabilities:
                    write_bytes(root / f"{target}{PROBABILITIES}", _pack(prediction))
                write_png(root / f"{target}{OVERLAY}.png", overlay_mask(image, prediction.mask))
                write_mask(root / f"{target}.png", prediction.mask)
                for name in prediction.found:
                    counts[name] += 1
            progress.advance()
        speed = progress.speed if todo else None
    report = PredictReport(root, len(todo) - len(problems), len(found) - len(todo), counts, speed, tuple(problems))
    write_json(root / REPORT, {**identity, "report": report.as_dict()})
    return report


def find_images(places: Sequence[str | Path]) -> Iterator[tuple[Path, Path]]:
    """(file, its name below the output folder without ending) of files, folders, patterns and ``-``.

    Raises:
        DataError: a place that is none of these, or names nothing.
    """
    for place in places:
        path = checked_path(place)
        if str(place) == LISTED:
            try:
                names = [line.strip() for line in sys.stdin]
            except UnicodeDecodeError as error:
                raise DataError(f"the list on standard input is no text ({error}). Write one file a line, as UTF-8.") from error
            yield from _below_common_folder([Path(name) for name in names if name])
        elif path.is_dir():
            files = sorted(one for one in path.rglob("*") if one.suffix.lower() in IMAGE_ENDINGS and one.is_file())
            yield from ((one, one.relative_to(path).with_suffix("")) for one in files)
        elif path.is_file():
            yield path, Path(path.stem)
        elif any(sign in str(place) for sign in "*?["):
            # The pattern begins where the first part with a sign does.
            parts = path.parts
            start = next(index for index, part in enumerate(parts) if any(sign in part for sign in "*?["))
            files = sorted(Path(*parts[:start]).glob(str(Path(*parts[start:]))))
            yield from _below_common_folder([one for one in files if one.suffix.lower() in IMAGE_ENDINGS and one.is_file()])
        else:
            raise DataError(f"{place} is neither a file nor a folder.")


def _below_common_folder(files: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    """Names from the deepest folder on that all files share."""
    if files:
        # Not resolved: behind a link, a file keeps the name that it was given by.
        whole = [file.absolute() for file in files]
        folder = os.path.commonpath([file.parent for file in whole])
        yield from ((file, one.relative_to(folder).with_suffix("")) for file, one in zip(files, whole, strict=True))


def _open(
    run: str | Path,
    scales: Sequence[float] | None,
    flip: bool | None,
    device: str,
    window: int | None,
    refine: Refinement | None,
    keep: bool,
    onnx: bool | None,
) -> tuple[Model, Asking]:
    if is_exported(run) if onnx is None else onnx:
        exported = ExportedPredictor(run, scales, flip, device, window, refine, keep)
        return exported, exported.asking
    # Here and not above: PyTorch is imported with it.
    from recam.pipeline.predictor import Predictor

    predictor = Predictor(run, scales, flip, device, window, refine, keep)
    return predictor, predictor.asking


def _refuse_collisions(found: Sequence[tuple[Path, Path]], root: Path, endings: Sequence[str]) -> None:
    counted = Counter(root / f"{target}{ending}" for _, target in found for ending in endings)
    doubled = sorted(str(path) for path, count in counted.items() if count > 1)
    if doubled:
        raise DataError(f"several images would write the same file ({', '.join(doubled[:5])}). Predict them into different folders.")
    results = {path.resolve() for path in counted}
    lost = sorted(str(path) for path, _ in found if path.resolve() in results)
    if lost:
        raise DataError(f"masks would be written over images ({', '.join(lost[:5])}). Predict into a different folder.")


def _starts_afresh(root: Path, identity: Mapping[str, Any]) -> bool:
    """Whether no mask in the folder counts, as nobody knows what made it. Raises `StoreError` where another model or way of seeing did."""
    if not (root / REPORT).is_file():
        return True
    before = read_json(root / REPORT)
    # As JSON gives it back: tuples have become lists.
    now = {key: _as_json(value) for key, value in identity.items()}
    differing = [key for key in now if before.get(key) != now[key]]
    if differing:
        raise StoreError(
            f"{root} holds masks made in another way ({', '.join(differing)} differ: see {root / REPORT}). Name another folder with -o, or"
            " make them again with --overwrite."
        )
    return False


def _as_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _as_json(inner) for key, inner in value.items()}
    return [_as_json(inner) for inner in value] if isinstance(value, list | tuple) else value


def _is_done(root: Path, target: Path, endings: Sequence[str]) -> bool:
    return all((root / f"{target}{ending}").is_file() for ending in endings)


def _pack(prediction: Prediction) -> bytes:
    """An npz: probabilities (n, H, W) uint8, values (n,), names (n,)."""
    assert prediction.planes is not None
    assert prediction.plane_values is not None
    names = ("background", *prediction.classes)
    packed = io.BytesIO()
    np.savez_compressed(
        packed,
        probabilities=prediction.planes,
        values=prediction.plane_values,
        names=np.array([names[value] for value in prediction.plane_values.tolist()]),
    )
    return packed.getvalue()
