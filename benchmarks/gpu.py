"""Every stage on a CUDA GPU: images/s, memory, and how busy it is; see benchmarks/gpu.sh, which runs it.

Weights are random: images/s and memory do not depend on them, scores do and are not shown. How busy the GPU is comes
from nvidia-smi, read twice per second, as its own share of time with a kernel running; the mean over a stage.
``--tiny`` goes through the same steps in a minute on a CPU, to show that they work.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

STAGES = (
    "backbone.weights=none", "segment.weights=none", "data.options={size=512, train=96, val=24}",
    "data.on_problems=skip", "cam.epochs=2", "recam.epochs=1", 'refine=["irn"]', "irn.labels_by=pamr", "irn.epochs=1",
    "irn.batch=16", "segment.epochs=1", "compute.report=false", "predict.scales=[1.0]",
)  # fmt: skip
"""The published recipe on 120 drawn scenes of 512 pixels, with fewer passes, so that it ends in minutes."""

TINY = (
    "data.options={size=64, train=12, val=4}", "data.on_problems=skip", 'refine=["irn"]', "irn.labels_by=pamr",
    "irn.epochs=1", "irn.batch=4", "irn.crop=80", "irn.radius=3", "compute.workers=0", "compute.report=false",
    "backbone.name=test_resnet", "segment.encoder=tu-test_resnet",
)  # fmt: skip
"""Recipe tiny through the same stages, with the smallest network that timm has."""


class Busy:
    """Samples of a GPU's utilisation with their times, taken in the background; none without a GPU."""

    def __init__(self, has_gpu: bool) -> None:
        self.samples: list[tuple[float, float]] = []
        self._process: subprocess.Popen[str] | None = None
        if not has_gpu:
            return
        query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--loop-ms=500"]
        self._process = subprocess.Popen(query, stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self._watch, args=(self._process,), daemon=True).start()

    def _watch(self, process: subprocess.Popen[str]) -> None:
        for line in process.stdout or ():
            if line.strip().isdigit():
                self.samples.append((time.time(), float(line)))

    def mean(self, start: float, end: float) -> float | None:
        """Share of time, in percent, between two times; None where no sample lies between."""
        inside = [share for at, share in self.samples if start <= at <= end]
        return sum(inside) / len(inside) if inside else None

    def stop(self) -> None:
        """End the sampling."""
        if self._process:
            self._process.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--tiny", action="store_true", help="recipe tiny on the CPU instead")
    parser.add_argument("--only", nargs="+", metavar="STEP", help="of conformance, sizes, stages, demo")
    args = parser.parse_args()
    found: dict[str, Any] = {
        **({"device": "CPU", "bf16": False} if args.tiny else describe_gpu()),
        "torch": version("torch"),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
    }
    args.output.mkdir(parents=True, exist_ok=True)
    busy = Busy(has_gpu=not args.tiny)
    with tempfile.TemporaryDirectory() as folder:
        steps: dict[str, Callable[[], dict[str, Any]]] = {
            "conformance": conformance,
            "sizes": sizes,
            "stages": lambda: stages(Path(folder, "stages"), args.output, busy, "run", *sets("recam", STAGES)),
            "demo": lambda: stages(Path(folder, "demo"), args.output, busy, "demo"),
        }
        if args.tiny:
            tiny = sets("tiny", TINY)
            steps = {"stages": lambda: stages(Path(folder, "stages"), args.output, busy, "run", *tiny)}
        if args.only:
            if unknown := [name for name in args.only if name not in steps]:
                parser.error(f"no step {', '.join(unknown)}; there are {', '.join(steps)}")
            steps = {name: step for name, step in steps.items() if name in args.only}
        for name, step in steps.items():
            start = time.monotonic()
            found[name] = step()
            found[name]["minutes"] = (time.monotonic() - start) / 60
            args.output.joinpath("gpu.json").write_text(json.dumps(found, indent=2))  # each step's result at once
            print(name, f"{found[name]['minutes']:.2f} min", flush=True)
    busy.stop()
    args.output.joinpath("gpu.md").write_text(table(found))
    print(table(found))
    # A step without a return code was skipped.
    sys.exit(1 if any(found[name]["returncode"] for name in steps) else 0)


def describe_gpu() -> dict[str, Any]:
    """Its name, and whether it computes in bf16. Ends the program where there is none."""
    import torch

    if not torch.cuda.is_available():
        sys.exit("no CUDA GPU is here: this benchmark is for machines that have one; --tiny goes without.")
    return {
        "device": torch.cuda.get_device_name(),
        "bf16": torch.cuda.is_bf16_supported(including_emulation=False),
    }


def conformance() -> dict[str, Any]:
    """The golden cases with all tensors on the GPU."""
    if not os.environ.get("RECAM_GOLDEN"):
        return {"message": "skipped: RECAM_GOLDEN names no folder of golden cases", "returncode": None}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/conformance"]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = done.stdout.strip().splitlines()
    return {
        "returncode": done.returncode,
        "message": lines[-1] if lines else done.stderr[-300:],
        "output": done.stdout[-4000:],
    }


def sizes() -> dict[str, Any]:
    """Images of sizes of their own against images of one size, by benchmarks/many_sizes.py."""
    found: dict[str, Any] = {"returncode": 0, "backbones": []}
    for name in ("resnet50", "tf_efficientnet_lite0"):
        command = [sys.executable, "benchmarks/many_sizes.py", "--backbone", name]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            return {"returncode": done.returncode, "message": (done.stdout + done.stderr)[-2000:]}
        found["backbones"].append(json.loads(done.stdout))
    return found


def sets(recipe: str, settings: tuple[str, ...]) -> list[str]:
    """Words of a command line: the built-in scenes, a recipe and what is laid over it."""
    return ["--data", "scenes:", "--recipe", recipe, *(word for setting in settings for word in ("--set", setting))]


def stages(folder: Path, output: Path, busy: Busy, *words: str) -> dict[str, Any]:
    """A run in a process of its own: per stage images/s, GPU memory, and how busy the GPU was."""
    command = [sys.executable, "-m", "recam", *words, "-o", str(folder)]
    log = output / f"{folder.name}.log"  # of a run that is cut short, it tells how far it was
    with log.open("w") as written:
        done = subprocess.run(command, stdout=written, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        return {"returncode": done.returncode, "message": log.read_text()[-2000:]}
    summary = json.loads((folder / "summary.json").read_text())
    rows = {}
    for name, cost in summary["stages"].items():
        path = folder / name / "stage.json"
        record, end = json.loads(path.read_text()), path.stat().st_mtime
        rows[name] = {
            "seconds": record["seconds"],
            "images_per_second": cost["images_per_second"],
            "peak_gpu_mb": record["peak_gpu_mb"],
            "peak_memory_mb": record["peak_memory_mb"],
            "gpu_busy_percent": busy.mean(end - record["seconds"], end),
        }
    scores = {name: each["miou"] for name, each in summary["maps"].items()}
    return {"returncode": 0, "command": " ".join(["recam", *command[3:-1], "RUN"]), "stages": rows, "scores": scores}


ROW = ("seconds", "images_per_second", "gpu_busy_percent", "peak_gpu_mb", "peak_memory_mb")


def table(found: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [f"{found['device']}, {found['cpus']} CPU cores, PyTorch {found['torch']}, bf16: {found['bf16']}.", ""]
    if "conformance" in found:
        lines += [f"Conformance cases on the GPU: {found['conformance']['message']}", ""]
    for each in found.get("sizes", {}).get("backbones", ()):
        speeds = [f"{case} {value:.1f}" for case, value in each.items() if isinstance(value, float)]
        lines += [f"{each['backbone']}, images/s: {'; '.join(speeds)}.", ""]
    for name in (name for name in ("stages", "demo") if name in found):
        each = found[name]
        lines += [f"`{each.get('command', name)}` ({each['minutes']:.1f} min)", ""]
        if each["returncode"]:
            lines += ["```", each["message"], "```", ""]
            continue
        lines += [
            "| stage | seconds | images/s | GPU busy, % | GPU memory, MiB | memory, MiB |",
            "|---|---|---|---|---|---|",
        ]
        for stage, row in each["stages"].items():
            cells = [row[key] for key in ROW]
            shown = ["–" if cell is None else f"{cell:.1f}" for cell in cells]
            lines.append(f"| {stage} | {' | '.join(shown)} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
