"""What prediction costs: images/s of PyTorch and of the exported network side by side, or time and memory of one large
image.

    python benchmarks/predict.py RUN
    python benchmarks/predict.py RUN --large 4000x3000 --windows 0,512

Images are drawn. Each measurement runs in a process of its own, on one thread, so that its peak memory is its own: that
of the whole process, libraries and the image included.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from typing import Any

import numpy as np
from PIL import Image

from recam.scenes.catalog import ScenesCatalog


def draw_scenes(count: int, size: int) -> list[np.ndarray]:
    """`count` scenes of `size`×`size` pixels."""
    catalog = ScenesCatalog("", seed=1, size=size, train=count, val=1)
    return [sample.image.read() for sample in catalog.samples("train")]


def peak_mb() -> float:
    """10⁶ bytes that this process held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def export(run: str, folder: str) -> None:
    """Write the run's networks as ONNX."""
    import recam

    recam.export_model(run, folder)


def load(kind: str, folder: str, **how: Any) -> Any:
    """A predictor on one thread, that has warmed up."""
    import recam

    if kind == "onnx":
        return recam.ExportedPredictor(folder, **how)
    import torch

    torch.set_num_threads(1)
    return recam.Predictor(folder, device="cpu", **how)


def measure_speed(kind: str, folder: str, count: int, size: int, scales: list[float]) -> tuple[float, float]:
    """(images/s of `count` images, peak MB)."""
    images = draw_scenes(count, size)
    predictor = load(kind, folder, scales=scales, flip=False)
    predictor(images[0])
    started = time.perf_counter()
    for image in images:
        predictor(image)
    return count / (time.perf_counter() - started), peak_mb()


def measure_large(kind: str, folder: str, width: int, height: int, window: int) -> tuple[float, float]:
    """(seconds, peak MB) of one image; window 0 reads it whole, at its own size."""
    drawn = Image.fromarray(draw_scenes(1, 512)[0]).resize((width, height), Image.Resampling.BICUBIC)
    predictor = load(kind, folder, scales=[1.0], flip=False, window=window or max(width, height))
    started = time.perf_counter()
    predictor(np.asarray(drawn))
    return time.perf_counter() - started, peak_mb()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--images", type=int, default=30)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=3, help="times that PyTorch and ONNX take turns")
    parser.add_argument("--scales", default="1")
    parser.add_argument("--large", help="WIDTHxHEIGHT of one image instead")
    parser.add_argument("--windows", default="0,512", help="windows for --large; 0 reads the image whole")
    args = parser.parse_args()

    os.environ["OMP_NUM_THREADS"] = "1"  # for PyTorch and onnxruntime in the processes to come
    context = multiprocessing.get_context("spawn")

    def apart(function: Any, *arguments: Any) -> Any:
        with context.Pool(1) as pool:
            return pool.apply(function, arguments)

    if args.large:
        width, height = (int(side) for side in args.large.split("x"))
        print(f"one image of {width}×{height}, scale 1, no flip, one thread\nwindow    seconds   peak MB")
        for window in (int(text) for text in args.windows.split(",")):
            seconds, memory = apart(measure_large, "torch", args.run, width, height, window)
            print(f"{window or 'whole':>6} {seconds:10.1f} {memory:9.0f}", flush=True)
        return
    scales = [float(text) for text in args.scales.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        apart(export, args.run, folder)  # apart too: a process begins with the peak of the one that it came from
        found: dict[str, list[float]] = {"torch": [], "onnx": []}
        memory = {}
        for _ in range(args.repeats):
            for kind, place in (("torch", args.run), ("onnx", folder)):
                speed, memory[kind] = apart(measure_speed, kind, place, args.images, args.size, scales)
                found[kind].append(speed)
    print(
        f"{args.images} images of {args.size}×{args.size}, scales {args.scales}, one thread, median of {args.repeats}"
        " turns"
    )
    for kind, speeds in found.items():
        print(f"{kind:<6} {statistics.median(speeds):6.1f} images/s   peak {memory[kind]:5.0f} MB")
    ratios = [other / own for own, other in zip(found["torch"], found["onnx"], strict=True)]
    print(f"onnx is {statistics.median(ratios):.2f} times as fast ({', '.join(f'{ratio:.2f}' for ratio in ratios)})")


if __name__ == "__main__":
    main()
