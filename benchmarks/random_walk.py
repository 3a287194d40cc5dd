"""What IRN's random walk costs by image size: seconds on one core, and memory on top of the maps.

    python benchmarks/random_walk.py

Every size runs in a process of its own, so that its peak memory is its own. ``--device cuda`` measures a GPU's time;
memory is the host's.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time

import torch

from recam.methods.cam import strided_size
from recam.methods.irn_walk import random_walk

SIZES = "375x500,250x250,500x500,1000x1000,2000x2000"


def measure(size: tuple[int, int], classes: int, repeats: int, device: str) -> tuple[float, float, float]:
    """Best wall-clock seconds, best CPU seconds, and peak MB (10⁶ bytes) above what the process held before the first
    walk."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    cams = torch.rand(classes, *strided_size(size), generator=generator).to(device)
    edges = (torch.rand(1, *strided_size(size), generator=generator) ** 4).to(device)
    random_walk(cams[:, :16, :16], edges[:, :16, :16])  # what torch loads on first use is no cost of the walk
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = [], []
    for _ in range(repeats):
        started, used = time.perf_counter(), time.process_time()
        random_walk(cams, edges).sum().item()
        wall.append(time.perf_counter() - started)
        cpu.append(time.process_time() - used)
    return min(wall), min(cpu), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default=SIZES, help="HEIGHTxWIDTH of the images")
    parser.add_argument("--classes", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()

    print(f"{args.classes} classes, 256 steps, {args.device}, one thread, best of {args.repeats}")
    print("image (H×W)   wall s    cpu s   µs/pixel   peak MB")
    context = multiprocessing.get_context("spawn")
    for text in args.sizes.split(","):
        size = tuple(int(side) for side in text.split("x"))
        with context.Pool(1) as pool:
            wall, cpu, memory = pool.apply(measure, (size, args.classes, args.repeats, args.device))
        print(
            f"{size[0]:>5}×{size[1]:<5} {wall:8.2f} {cpu:8.2f} {cpu / (size[0] * size[1]) * 1e6:10.2f} {memory:9.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
