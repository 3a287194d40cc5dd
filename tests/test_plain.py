"""benchmarks/plain.py: the plain ways give what the package gives, at tiny size."""

import argparse
import importlib.util
from pathlib import Path

import pytest
import torch

spec = importlib.util.spec_from_file_location("plain", Path(__file__).parents[1] / "benchmarks" / "plain.py")
plain = importlib.util.module_from_spec(spec)
spec.loader.exec_module(plain)


@pytest.mark.parametrize("name", list(plain.CASES))
def test_both_ways_agree(name):
    args = argparse.Namespace(backbone="test_resnet", classes=4, batch=2)
    ways = plain.CASES[name][0]((48, 64), args)
    torch.manual_seed(0)
    found = [way() for way in ways]
    sizes = [results.pop() for results in found] if name == "maps" else None
    for one, other in zip(*found, strict=True):
        assert one.shape == other.shape
        assert torch.allclose(one, other, atol=plain.TOLERANCE.get(name, 1e-4) * float(one.abs().max()), rtol=0)
    assert sizes is None or sizes[0] > sizes[1]
