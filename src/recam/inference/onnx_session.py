"""Networks in ONNX format opened for onnxruntime, in one way for ours and for the user's. Needs no PyTorch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from recam.errors import DependencyError, RecipeError, WeightsError, first_line, near_matches

DEVICES = ("auto", "cpu", "cuda")
_GPU, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


def open_session(path: Path, device: str = "auto", threads: int | None = None) -> Any:
    """A session of onnxruntime, ready to run.

    Args:
        path: the ONNX file, which must be there.
        device: ``auto`` takes a GPU where onnxruntime has one; ``cpu``; or ``cuda``, which insists on it.
        threads: of the CPU; None takes as many as OMP_NUM_THREADS sets, else all cores.

    Raises:
        DependencyError: onnxruntime is not installed.
        RecipeError: unknown device, or one that onnxruntime does not have.
        WeightsError: the file is no ONNX network, or one that this onnxruntime cannot read.
    """
    if device not in DEVICES:
        raise RecipeError(f"unknown device {device!r}.{near_matches(device, DEVICES)}")
    try:
        import onnxruntime
    except ImportError as error:
        raise DependencyError(
            f"to run {path} onnxruntime is needed: pip install 'recam[onnx]', or pip install onnxruntime."
        ) from error
    present = onnxruntime.get_available_providers()
    if device == "cuda" and _GPU not in present:
        raise RecipeError(
            "no GPU is available to this onnxruntime: take --device auto or cpu, or install onnxruntime-gpu."
        )
    wanted = (_CPU,) if device == "cpu" else (_GPU, _CPU)
    options = onnxruntime.SessionOptions()
    # As PyTorch does, of a list the first; onnxruntime would take all cores.
    wished = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if threads := threads or (int(wished) if wished.isdecimal() else 0):
        options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors reach us as exceptions
    try:
        providers = [name for name in wanted if name in present]
        # With one provider there is nothing to fall back on, and onnxruntime would print of it on standard output.
        session = onnxruntime.InferenceSession(
            str(path), options, providers=providers, enable_fallback=len(providers) > 1
        )
        for each in (*session.get_inputs(), *session.get_outputs()):
            _ = each.name, each.shape, each.type  # a damaged name is found out when it is read
        return session
    except Exception as error:  # onnxruntime's errors have no base of their own
        raise WeightsError(
            f"{path} cannot be read as an ONNX network ({first_line(error)}). Export it again."
        ) from error
