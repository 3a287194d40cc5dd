"""The networks of a run as ONNX files, each with a card: batch, height and width are free, and PyTorch's numbers come
out.

A network is traced once and then run in onnxruntime, beside PyTorch, at batches and sizes other than the traced ones.
Where the outputs differ by more than `TOLERANCE`, nothing is written. What is traced takes normalised images, as in
training; normalisation, test-time scales and flips are up to the caller (`recam.inference.onnx_predictor`), who finds
them in the card.

PyTorch's older exporter, by tracing, is used: for DeepLabV3+ on EfficientNet-Lite0 it takes a second, while the newer
one (``dynamo=True``) was not done after three minutes of CPU time.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from recam.data.reading import COLOURS, Reading
from recam.errors import DependencyError, ExportError, first_line
from recam.export.card import describe_model, render_card
from recam.export.tracing import make_traceable, tracing_freely
from recam.files import atomic_write, require_folder, write_bytes
from recam.inference.class_maps import weight_of
from recam.inference.onnx_session import open_session
from recam.inference.run_models import RunModels, find_models
from recam.methods.cam import class_maps, classify
from recam.methods.refine import EVEN
from recam.models.classifier import Classifier
from recam.models.saved import load_classifier, load_reading, load_segmenter
from recam.preprocess import PerBand
from recam.runfolder.store import write_json
from recam.settings import as_json

TOLERANCE = 2e-4
"""Largest difference allowed between PyTorch and onnxruntime, relative to the largest output where that is above 1."""
TRACED = (2, 96, 160)
CASES = ((1, 64, 64), (2, 97, 131), (3, 50, 200), (1, 225, 160))
"""Batch, height and width at which outputs are compared; none is `TRACED`."""
OPSET = 17


@dataclass(frozen=True)
class Exported:
    """One network as it was written.

    Attributes:
        path: the ONNX file; its cards lie beside.
        max_difference: largest difference to PyTorch over all `CASES` and outputs.
        megabytes: size of the file, 10⁶ bytes.
    """

    path: Path
    max_difference: float
    megabytes: float


@dataclass(frozen=True)
class ExportReport:
    """The networks that `export_model` wrote."""

    networks: tuple[Exported, ...]

    def __str__(self) -> str:
        lines = [
            f"{one.path}  {one.megabytes:.1f} MB, differs from PyTorch by at most {one.max_difference:.1e} at"
            f" {len(CASES)} sizes"
            for one in self.networks
        ]
        return "\n".join([*lines, "cards beside them: .md to read, .json for programs"])

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"networks": [{**asdict(one), "path": str(one.path)} for one in self.networks]}


class MapsNetwork(nn.Module):
    """A classifier with its class maps: images (B, 3, H, W) → logits (B, K), eq. 4, and raw maps (B, K, h, w), eq. 2 or
    9.

    Args:
        classifier: the trained network.
        weight: (K, D) weights that the maps are made with.
    """

    def __init__(self, classifier: Classifier, weight: Tensor) -> None:
        super().__init__()
        self.backbone = classifier.backbone
        self.weight_1 = nn.Parameter(classifier.weight_1.detach().clone(), requires_grad=False)
        self.register_buffer("bias", classifier.bias.detach().clone())
        self.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)

    bias: Tensor

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.backbone(images)  # (B, D, h, w)
        return classify(features, self.weight_1, self.bias), class_maps(features, self.weight)  # (B, K), (B, K, h, w)


def export_model(run: str | Path, output: str | Path) -> ExportReport:
    """Write ``segmenter.onnx`` and ``classifier.onnx``, as far as the run has them, with a card each (``.md`` and
    ``.json``).

    Args:
        run: a run folder, finished at least up to its pseudo masks.
        output: a folder.

    Raises:
        DependencyError: onnx or onnxruntime is not installed.
        StoreError: no such run, or nothing in it to export.
        ExportError: a network that cannot be traced, or whose outputs differ; nothing is written of it.
    """
    _require_onnx()
    require_folder(output)
    models = find_models(run)
    written = []
    if models.segmenter:
        trained = load_segmenter(models.segmenter.weights)
        facts = {
            **_normalisation(trained.mean, trained.std),
            "inference": as_json(models.inference),
            "background": trained.background,
        }
        outputs = {"logits": {0: "batch", 2: "height", 3: "width"}}
        path = Path(output, "segmenter.onnx")
        written.append(_write(trained.network, outputs, path, models, trained.classes, facts, trained.reading))
    if models.classifier:
        classifier = load_classifier(models.classifier.weights)
        facts = {
            **_normalisation(classifier.backbone.mean, classifier.backbone.std),
            "inference": as_json(models.map_inference),
            "threshold": models.threshold
            if models.threshold is not None
            else models.settings["models"]["seeds"]["threshold"] or EVEN,
            "class_thresholds": models.class_thresholds,
            "background": models.background,
            "weighting": models.weighting,
        }
        outputs = {"logits": {0: "batch"}, "class_maps": {0: "batch", 2: "map_height", 3: "map_width"}}
        network = MapsNetwork(classifier, weight_of(classifier, models.weighting))
        classes = tuple(models.classifier.record["inputs"]["classes"])
        path, reading = Path(output, "classifier.onnx"), load_reading(models.classifier.weights)
        written.append(_write(network, outputs, path, models, classes, facts, reading))
    return ExportReport(tuple(written))


def _write(
    network: nn.Module,
    outputs: Mapping[str, dict[int, str]],
    path: Path,
    models: RunModels,
    classes: tuple[str, ...],
    facts: Mapping[str, Any],
    reading: Reading,
) -> Exported:
    network.eval()
    with atomic_write(path) as temporary:
        _trace(make_traceable(network), outputs, temporary, path.name, reading.channels)
        check = compare(network, temporary, tuple(outputs), reading.channels)
        if not check["passed"]:
            raise ExportError(
                f"{path.name} gives other outputs in onnxruntime than in PyTorch: they differ by"
                f" {check['max_difference']:.1e}, allowed is"
                f" {TOLERANCE:g} of the largest. Nothing was written. Tracing fixed what depends on the size here:"
                " predict with PyTorch."
            )
        content = temporary.read_bytes()
        file = {"file": path.name, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    own = {"classes": list(classes), **facts, **reading.described(), "check": check}
    card = {**file, **own, **describe_model(models, path.stem, reading)}
    write_json(path.with_suffix(".json"), card)
    write_bytes(path.with_suffix(".md"), render_card(card).encode())
    return Exported(path, check["max_difference"], len(content) / 1e6)


@torch.inference_mode()
def _trace(network: nn.Module, outputs: Mapping[str, dict[int, str]], path: Path, name: str, bands: int) -> None:
    batch, height, width = TRACED
    free = {"images": {0: "batch", 2: "height", 3: "width"}, **outputs}
    example = torch.zeros(batch, bands, height, width)
    with warnings.catch_warnings(), tracing_freely():
        # It warns of each size that it reads, and of being the older exporter; `compare` judges what came out.
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                network,
                (example,),
                str(path),
                input_names=["images"],
                output_names=list(outputs),
                dynamic_axes=free,
                opset_version=OPSET,
                dynamo=False,
            )
        # The exporter's own errors, of several modules, and those of a network that it cannot follow.
        except Exception as error:
            raise ExportError(
                f"{name} cannot be exported ({first_line(error)}). Predict with PyTorch, or train another"
                " segment.model."
            ) from error


@torch.inference_mode()
def compare(network: nn.Module, path: Path, names: tuple[str, ...], bands: int = COLOURS) -> dict[str, Any]:
    """Outputs of PyTorch and onnxruntime side by side at `CASES`: the report that goes into the card.

    Args:
        bands: n of the images (B, n, H, W).

    Returns:
        ``passed``, ``max_difference``, ``tolerance`` and, for each of ``cases``, batch, height, width and the
        difference by output.
    """
    import onnxruntime

    session = open_session(path, "cpu", torch.get_num_threads())
    generator = torch.Generator().manual_seed(0)
    cases: list[dict[str, Any]] = []
    passed = True
    for batch, height, width in CASES:
        images = torch.randn(batch, bands, height, width, generator=generator)
        ours = network(images)
        ours = (ours,) if isinstance(ours, Tensor) else ours
        differences: dict[str, float | None] = {}
        try:
            theirs = [torch.from_numpy(one) for one in session.run(None, {"images": images.numpy()})]
        except Exception as error:  # onnxruntime's errors have no base of their own
            raise ExportError(
                f"onnxruntime cannot run {path.name} at {batch} images of {height}×{width}: {error}"
            ) from error
        for name, mine, other in zip(names, ours, theirs, strict=True):
            fits = mine.shape == other.shape
            differences[name] = float((mine - other).abs().max()) if fits else None
            passed &= fits and float((mine - other).abs().max()) <= TOLERANCE * max(1.0, float(mine.abs().max()))
        cases.append({"batch": batch, "height": height, "width": width, "max_difference": differences})
    found = [one for case in cases for one in case["max_difference"].values()]
    largest = max((one for one in found if one is not None), default=float("inf"))
    return {
        "passed": passed,
        "max_difference": largest,
        "tolerance": TOLERANCE,
        "cases": cases,
        "onnxruntime": onnxruntime.__version__,
    }


def _normalisation(mean: PerBand, std: PerBand) -> dict[str, Any]:
    return {"mean": list(mean), "std": list(std)}


def _require_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise DependencyError(
            f"exporting networks needs onnx and onnxruntime ({error}): pip install 'recam[onnx]'."
        ) from error
