"""The golden cases: `RECAM_GOLDEN=<folder> pytest tests/conformance`; with `RECAM_DEVICE=cuda` on a GPU, in full
precision."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from skipped import GOLDEN

RTOL, ATOL = 1e-4, 1e-5
DEVICE = torch.device(os.environ.get("RECAM_DEVICE", "cpu"))
# TF32 has ten bits of mantissa, too few for these tolerances.
torch.backends.cudnn.allow_tf32 = False


class GoldenCase:
    """One golden file: its arrays by name, and a comparison that names file and array."""

    def __init__(self, path):
        self.name = path.stem
        with np.load(path, allow_pickle=False) as archive:
            self.arrays = dict(archive)

    def __getitem__(self, key):
        return self.arrays[key]

    def tensor(self, key):
        """The array of this name, on the device under test."""
        return self.put(self.arrays[key])

    def put(self, array):
        """An array on the device under test."""
        return torch.from_numpy(np.ascontiguousarray(array)).to(DEVICE)

    def matches(self, key, value, rtol=RTOL, atol=ATOL):
        value = value.detach().cpu() if isinstance(value, torch.Tensor) else value
        np.testing.assert_allclose(
            np.asarray(value), self.arrays[key], rtol=rtol, atol=atol, err_msg=f"{self.name}: {key}", strict=False
        )
        assert np.asarray(value).shape == self.arrays[key].shape, f"{self.name}: {key}"


@pytest.fixture
def golden():
    """All cases of a kind, e.g. ``golden("recam_loss")``; a folder with none of the kind fails the test."""
    folder = os.environ.get("RECAM_GOLDEN")
    if not folder:
        pytest.skip(f"{GOLDEN}: set RECAM_GOLDEN to their folder")

    def load(kind):
        paths = sorted(Path(folder).glob(f"{kind}_*.npz")) + sorted(Path(folder).glob(f"{kind}.npz"))
        if not paths:
            pytest.fail(f"RECAM_GOLDEN={folder} holds no {kind}_*.npz")
        return [GoldenCase(path) for path in paths]

    return load
