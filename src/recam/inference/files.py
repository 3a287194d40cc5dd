"""Masks for files: what `recam predict` does, with the networks of a run or with exported ones, which need no PyTorch.

An image that an earlier call finished is skipped, as long as model and inference settings are those that
``predict.json`` in the output folder records. Others are refused there, unless they may overwrite.
"""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from recam.data.catalog import PassedOver
from recam.data.found_images import FoundImages, find_images
from recam.data.images import IMAGE_ENDINGS, read_image, write_mask, write_png
from recam.data.mask_folder import OVERLAY
from recam.engine.cluster import ENDED, Cluster, open_cluster
from recam.engine.shares import Share
from recam.errors import DataError, Problem, RecamError, StoreError, data_error, printable
from recam.files import require_folder, write_bytes
from recam.inference.onnx_predictor import ExportedPredictor, is_exported
from recam.inference.prediction import Model, Prediction
from recam.inference.reports import REPORT, keep_report
from recam.inference.settings import InferenceSettings
from recam.methods.refinements import Refinement
from recam.progress import Progress
from recam.runfolder.lock import hold_lock
from recam.runfolder.store import read_json, write_json
from recam.visualize import overlay_mask

PROBABILITIES = "_probabilities.npz"
LOCK = ".predict.lock"
"""Held while one of several shares decides whether masks in the folder count, or writes the report."""


@dataclass(frozen=True)
class PredictReport:
    """What `predict` wrote.

    Attributes:
        output: the folder.
        images: files done by this call.
        skipped: files that an earlier call had done.
        images_per_class: how many masks of this call hold each class.
        images_per_second: reading, predicting and writing of this call; None where it did nothing.
        problems: files and folders that could not be read.
        passed_over: what lies in the input and is not predicted: files with other endings, hidden files, the output
            folder.
    """

    output: Path
    images: int
    skipped: int
    images_per_class: dict[str, int]
    images_per_second: float | None
    problems: tuple[Problem, ...]
    passed_over: tuple[PassedOver, ...] = ()

    def __str__(self) -> str:
        speed = "" if self.images_per_second is None else f", {self.images_per_second:.1f} images/s"
        lines = [f"{self.images} masks and overlays in {self.output}{speed}"]
        lines += [f"{self.skipped} were there already (--overwrite makes them again)"] * bool(self.skipped)
        lines += [f"  {name}: in {count}" for name, count in self.images_per_class.items() if count]
        lines += ["Passed over:"] * bool(self.passed_over)
        lines += [f"  {entry}" for entry in self.passed_over]
        lines += [f"{len(self.problems)} could not be read:"] * bool(self.problems)
        lines += [f"  {problem.where}: {problem.message}" for problem in self.problems]
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "images": self.images,
            "skipped": self.skipped,
            "images_per_class": self.images_per_class,
            "images_per_second": self.images_per_second,
            "passed_over": [entry.as_dict() for entry in self.passed_over],
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
    shard: str | None = None,
    engine: Literal["local", "ray"] = "local",
    actors: int = 0,
) -> PredictReport:
    """Write ``NAME.png`` (palette mask) and ``NAME_overlay.png`` for each image; sub-folders are kept. Bad files are
    reported at the end.

    Args:
        run: a run folder, or what `recam.export_model` wrote.
        images: a file, a folder (searched with its sub-folders), a pattern such as ``"photos/*/7*.jpg"``, ``"-"`` for a
            list of files on standard input, or several of them.
        output: folder for the results.
        scales, flip, device, window, refine: see `recam.Predictor`.
        probabilities: also write ``NAME_probabilities.npz``, see docs/predict.md.
        overwrite: predict again what is there.
        onnx: whether `run` holds exported networks; None finds out.
        shard: ``I/N``, to do every N-th image alone, from the I-th on: N such calls, on any machines, do all. The
            report returned is of this share; ``predict.json`` is that of all, written by whichever ends last.
        engine, actors: see `recam.engine.compute.ComputeSettings`.

    Raises:
        DataError: no image at all; two images that would write the same file, masks that would be written over images,
            or an output that is the folder of the images itself.
        StoreError: no such run; results of another model or other inference settings in `output`.
    """
    places = [images] if isinstance(images, str | Path) else list(images)
    root = Path(output)
    require_folder(root)
    searched = find_images(places, root)
    found = searched.images
    if not found:
        raise _no_image(places, searched)
    endings = (".png", f"{OVERLAY}.png", *([PROBABILITIES] if probabilities else []))
    _refuse_collisions(found, root, endings)
    share = Share.parse(shard) if shard else None
    opening = Opening(run, scales, flip, device, window, refine, probabilities, onnx)
    model, settings = opening.open()
    identity: dict[str, Any] = {
        "model": dict(model.identity),
        "inference": asdict(settings),
        "classes": list(model.classes),
    }
    identity |= {} if model.background else {"background": False}
    own = share.of(found) if share else found
    with _alone(root, share):
        afresh = not (root / REPORT).is_file() or (not overwrite and _starts_afresh(root, identity))
        if overwrite or afresh:
            for _, target in found if afresh else own:  # first: should this call be stopped, none passes for its mask
                (root / f"{target}.png").unlink(missing_ok=True)
        write_json(root / REPORT, identity)
    todo = [one for one in own if not _is_done(root, one[1], endings)]
    problems, unread = list(searched.problems), 0
    counts = dict.fromkeys(model.classes, 0)
    task = FilesTask(opening, root)
    with (
        open_cluster(engine, actors) as cluster,
        Progress("predict", len(own), len(own) - len(todo)) as progress,
    ):
        for made in _on_cluster(cluster, task, todo, device) if cluster else (task.write(model, *one) for one in todo):
            if isinstance(made, Problem):
                problems.append(made)
                unread += 1
            else:
                for name in made:
                    counts[name] += 1
            progress.advance()
        speed = progress.speed if todo else None
    report = PredictReport(
        root, len(todo) - unread, len(own) - len(todo), counts, speed, tuple(problems), searched.passed_over
    )
    with _alone(root, share):
        keep_report(root, identity, report.as_dict(), share)
    return report


@dataclass(frozen=True)
class Opening:
    """How a model is opened; picklable. Attributes are as those of `predict`."""

    run: str | Path
    scales: Sequence[float] | None
    flip: bool | None
    device: str
    window: int | None
    refine: Refinement | None
    probabilities: bool
    onnx: bool | None

    def open(self) -> tuple[Model, InferenceSettings]:
        """Raises as `predict` does."""
        own = (self.scales, self.flip, self.device, self.window, self.refine, self.probabilities)
        if is_exported(self.run) if self.onnx is None else self.onnx:
            exported = ExportedPredictor(self.run, *own)
            return exported, exported.settings
        # Here and not above: PyTorch is imported with it.
        from recam.inference.predictor import Predictor

        predictor = Predictor(self.run, *own)
        return predictor, predictor.settings


@dataclass(frozen=True)
class FilesTask:
    """Predicts a portion of files: a `recam.engine.cluster.PortionTask`."""

    opening: Opening
    root: Path

    def start(self) -> Callable[[Sequence[tuple[Path, Path]]], list[tuple[str, ...] | Problem]]:
        model, _ = self.opening.open()
        return lambda portion: [self.write(model, *one) for one in portion]

    def write(self, model: Model, path: Path, target: Path) -> tuple[str, ...] | Problem:
        """Write what is predicted of a file; returns the classes found, or what is wrong with the file."""
        try:
            image = read_image(path, model.reading)
            prediction = model.predict(image)
        except RecamError as error:
            return Problem("unreadable-image", printable(path), printable(error))
        # The mask comes last: where it is, the others are.
        if self.opening.probabilities:
            write_bytes(self.root / f"{target}{PROBABILITIES}", _pack(prediction))
        write_png(self.root / f"{target}{OVERLAY}.png", overlay_mask(image, prediction.mask))
        write_mask(self.root / f"{target}.png", prediction.mask)
        return prediction.found


def _on_cluster(
    cluster: Cluster, task: FilesTask, todo: Sequence[tuple[Path, Path]], device: str
) -> Iterator[tuple[str, ...] | Problem]:
    for portion in cluster.each(task, todo, on_gpu=device != "cpu"):
        if portion.result is None:
            yield Problem("ends-process", printable(todo[portion.indices[0]][0]), f"{ENDED}.")
        else:
            yield from portion.result


def _alone(root: Path, share: Share | None) -> AbstractContextManager[None]:
    """One of several shares at a time."""
    return hold_lock(root, LOCK, waits=True) if share else nullcontext()


def _no_image(places: Sequence[str | Path], searched: FoundImages) -> DataError:
    if searched.problems:
        return data_error(searched.problems, rest="correct these first")
    beside = "".join(f" {entry}" for entry in searched.passed_over)
    return DataError(
        f"no image in {', '.join(str(place) for place in places)}; looked for {', '.join(IMAGE_ENDINGS)}.{beside}"
    )


def _refuse_collisions(found: Sequence[tuple[Path, Path]], root: Path, endings: Sequence[str]) -> None:
    writers: dict[str, list[str]] = {}
    for path, target in found:
        for ending in endings:  # composed: names that differ in spelling alone are one file on some systems
            writers.setdefault(unicodedata.normalize("NFC", str(root / f"{target}{ending}")), []).append(str(path))
    results = {Path(name).resolve() for name in writers}
    own = [str(path) for path, _ in found if root.is_dir() and path.resolve().is_relative_to(root.resolve())]
    doubled = [f"{name} of {' and '.join(paths[:3])}" for name, paths in sorted(writers.items()) if len(paths) > 1]
    if doubled and own:
        raise DataError(
            f"the output {root} lies in the input: {len(own)} of the images are files in it (first: {own[0]}). Leave"
            " them out, or name a different folder with -o."
        )
    if doubled:
        raise DataError(
            f"several images would write the same file ({'; '.join(doubled[:5])}). Predict them into different folders."
        )
    lost = sorted(str(path) for path, _ in found if path.resolve() in results)
    if lost:
        raise DataError(f"masks would be written over images ({', '.join(lost[:5])}). Predict into a different folder.")


def _starts_afresh(root: Path, identity: Mapping[str, Any]) -> bool:
    """Whether no mask in the folder counts, since nothing records what made it. Raises `StoreError` where another model
    or other settings did."""
    if not (root / REPORT).is_file():
        return True
    before = read_json(root / REPORT)
    # As JSON returns it: tuples have become lists.
    now = {key: _as_json(value) for key, value in identity.items()}
    differing = [key for key in now if before.get(key) != now[key]]
    if differing:
        raise StoreError(
            f"{root} holds masks of another model or other settings ({', '.join(differing)} differ: see"
            f" {root / REPORT}). Name another folder with -o, or replace them with --overwrite."
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
