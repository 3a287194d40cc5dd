"""recam: from image labels to segmentation masks.

>>> import recam
>>> summary = recam.run("folder:photos", recipe="recam-cpu", output="runs/photos")
>>> mask = recam.Predictor("runs/photos")("photo.jpg").mask

The methods work on plain tensors: see `recam.methods`, one paper per file.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recam.data.catalog import open_catalog
    from recam.data.check import check
    from recam.data.download import download
    from recam.evaluation.folders import evaluate
    from recam.export.adapters.detections import to_detections
    from recam.export.adapters.hugging_face import to_hugging_face
    from recam.export.adapters.torch_dataset import MaskDataset
    from recam.export.masks import export_masks
    from recam.export.model import export_model
    from recam.inference.files import predict
    from recam.inference.onnx_predictor import ExportedPredictor
    from recam.inference.predictor import Predictor
    from recam.pipeline.benchmark import run_benchmark
    from recam.pipeline.demo import run_demo
    from recam.pipeline.planning import plan
    from recam.pipeline.run import run
    from recam.recipe.recipe import load_recipe
    from recam.report.page import write_report
    from recam.review.server import export_review, retrain, serve_review
    from recam.runfolder.runs import clean_runs, list_runs
    from recam.runfolder.status import read_status
    from recam.studies.run import list_studies, run_study

__version__ = version("recam")
__all__ = [
    "ExportedPredictor",
    "MaskDataset",
    "Predictor",
    "check",
    "clean_runs",
    "download",
    "evaluate",
    "export_masks",
    "export_model",
    "export_review",
    "list_runs",
    "list_studies",
    "load_recipe",
    "open_catalog",
    "plan",
    "predict",
    "read_status",
    "retrain",
    "run",
    "run_benchmark",
    "run_demo",
    "run_study",
    "serve_review",
    "to_detections",
    "to_hugging_face",
    "write_report",
]

# Loaded at first use: `import recam` stays instant, and `recam check` needs no network library.
_HOMES = {
    "ExportedPredictor": "recam.inference.onnx_predictor",
    "MaskDataset": "recam.export.adapters.torch_dataset",
    "Predictor": "recam.inference.predictor",
    "check": "recam.data.check",
    "clean_runs": "recam.runfolder.runs",
    "download": "recam.data.download",
    "evaluate": "recam.evaluation.folders",
    "export_masks": "recam.export.masks",
    "export_model": "recam.export.model",
    "export_review": "recam.review.server",
    "list_runs": "recam.runfolder.runs",
    "list_studies": "recam.studies.run",
    "load_recipe": "recam.recipe.recipe",
    "open_catalog": "recam.data.catalog",
    "plan": "recam.pipeline.planning",
    "predict": "recam.inference.files",
    "retrain": "recam.review.server",
    "run": "recam.pipeline.run",
    "run_benchmark": "recam.pipeline.benchmark",
    "run_demo": "recam.pipeline.demo",
    "read_status": "recam.runfolder.status",
    "run_study": "recam.studies.run",
    "serve_review": "recam.review.server",
    "to_detections": "recam.export.adapters.detections",
    "to_hugging_face": "recam.export.adapters.hugging_face",
    "write_report": "recam.report.page",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'recam' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
