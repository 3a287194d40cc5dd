"""The table of `mutated_readers`, continued: exported networks, and networks of others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from mutate import mutate_json
from mutated_readers import CLASSES, SIZE, Made, check_grey, check_mask, picture, reader


def write_onnx(path: Path, planes: int) -> None:
    """Images (B, 3, H, W) → (B, planes, H, W), a sum of colours each."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.random.default_rng(0).random((planes, 3, 1, 1), dtype=np.float32), "weight")
    given = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["b", 3, "h", "w"])
    made = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", planes, "h", "w"])
    graph = helper.make_graph(
        [helper.make_node("Conv", ["images", "weight"], ["logits"])], "colours", [given], [made], [weight]
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


@reader(200, json=mutate_json)
def exported_networks(folder: Path) -> Made:
    import hashlib

    from recam.inference.onnx_predictor import ExportedPredictor

    write_onnx(folder / "segmenter.onnx", 3)
    inference = {
        "scales": [1.0, 0.5],
        "flip": True,
        "max_side": None,
        "window": None,
        "overlap": 0.25,
        "refine": "none",
    }
    card = {
        "file": "segmenter.onnx",
        "sha256": hashlib.sha256((folder / "segmenter.onnx").read_bytes()).hexdigest(),
        "classes": list(CLASSES),
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "inference": inference,
    }
    (folder / "segmenter.json").write_text(json.dumps(card))

    def read() -> None:
        made = ExportedPredictor(folder, device="cpu")(picture(0))
        check_mask(made.mask)
        assert made.mask.shape == SIZE
        assert made.mask.max() <= len(made.classes)
        assert all(0 <= probability <= 1.0001 for probability in made.probabilities)

    return [folder / "segmenter.json", folder / "segmenter.onnx"], read


@reader(120)
def saliency_networks(folder: Path) -> Made:
    from recam.inference.saliency_model import SaliencyModel, SaliencySettings

    write_onnx(folder / "s.onnx", 1)
    section = SaliencySettings(source=str(folder / "s.onnx"), input_size=16, values="stretch")

    def read() -> None:
        grey = SaliencyModel(section)(picture(0))
        check_grey(grey)
        assert grey.shape == SIZE

    return [folder / "s.onnx"], read
