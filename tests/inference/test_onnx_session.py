"""Opening networks for onnxruntime: device, threads, and what is refused."""

import sys

import numpy as np
import pytest

from recam.errors import DependencyError, RecipeError, WeightsError
from recam.inference.onnx_session import open_session
from saliency_inputs import write_network

pytest.importorskip("onnx", reason="a network to test with: pip install 'recam[onnx]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="networks run by onnxruntime: pip install 'recam[onnx]'")


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return write_network(tmp_path_factory.mktemp("network") / "grey.onnx")


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_a_network_runs(network, device):
    session = open_session(network, device)
    (answer,) = session.run(
        [session.get_outputs()[0].name], {session.get_inputs()[0].name: np.full((1, 3, 4, 6), 0.5, np.float32)}
    )
    assert answer.shape == (1, 1, 4, 6)
    assert "CPUExecutionProvider" in session.get_providers()


def test_threads_are_those_asked_for_or_of_the_environment(network, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3,1")
    assert open_session(network).get_session_options().intra_op_num_threads == 3
    assert open_session(network, threads=2).get_session_options().intra_op_num_threads == 2
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert open_session(network).get_session_options().intra_op_num_threads == 0  # onnxruntime's own choice


def test_what_cannot_be_opened(network, tmp_path, monkeypatch):
    with pytest.raises(RecipeError, match=r"unknown device 'gpu'\. Did you mean 'cpu'"):
        open_session(network, "gpu")
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        with pytest.raises(RecipeError, match="no GPU is available to this onnxruntime: take --device auto or cpu"):
            open_session(network, "cuda")
    (tmp_path / "text.onnx").write_text("not a network")
    with pytest.raises(WeightsError, match=r"text\.onnx cannot be read as an ONNX network \(.+\)\. Export it again\."):
        open_session(tmp_path / "text.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DependencyError, match=r"grey\.onnx onnxruntime is needed: pip install 'recam\[onnx\]'"):
        open_session(network)
