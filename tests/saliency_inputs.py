"""Saliency maps and networks small enough for tests."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageFilter
import pytest

from recam.errors import DependencyError
from recam.inference.saliency_model import u2netp_file
from recam.types import Sample


def needs_u2netp() -> None:
    """Skips the test where the wheel of U²-Netp is not installed."""
    pytest.importorskip("onnxruntime", reason="networks run by onnxruntime: pip install 'recam[onnx]'")
    try:
        u2netp_file()
    except DependencyError:
        pytest.skip("an extra is not installed: recam[saliency]")


def write_maps(folder: Path, samples: Sequence[Sample]) -> Path:
    """Blurred true masks; the first one in 16 bits."""
    for index, sample in enumerate(samples):
        assert sample.mask is not None
        salient = PIL.Image.fromarray((sample.mask.read() > 0).astype(np.uint8) * 255)
        blurred = np.asarray(salient.filter(PIL.ImageFilter.GaussianBlur(1)))
        path = folder / f"{sample.id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(blurred.astype(np.uint16) * 257 if index == 0 else blurred).save(path)
    return folder


def write_network(
    path: Path,
    shape: Sequence[int | str] = (1, 3, "h", "w"),
    inputs: int = 1,
    channels: bool = False,
    axes: Sequence[int] = (1,),
) -> Path:
    """A network whose first output is the mean of the colours, whose second, ``half``, is half of it.

    Args:
        shape: declared shape of the input.
        inputs: how many it has; those behind the first do nothing but be asked for.
        channels: the colours themselves instead of their mean: no map.
        axes: what the mean is taken over; with more than colours it is a row of numbers, as a classifier's.
    """
    import onnx
    from onnx import TensorProto, helper

    given = [
        helper.make_tensor_value_info(f"image{index or ''}", TensorProto.FLOAT, list(shape)) for index in range(inputs)
    ]
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("map", "half")]
    first = (
        helper.make_node("Identity", ["image"], ["map"])
        if channels
        else helper.make_node("ReduceMean", ["image", "axes"], ["map"])
    )
    nodes = [first, helper.make_node("Mul", ["map", "two"], ["half"])]
    constants = [
        helper.make_tensor("axes", TensorProto.INT64, [len(axes)], list(axes)),
        helper.make_tensor("two", TensorProto.FLOAT, [], [0.5]),
    ]
    graph = helper.make_graph(nodes, "colours", given, made, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path
