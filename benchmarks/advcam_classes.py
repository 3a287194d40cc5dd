"""AdvCAM on a CPU: four classes of an image one after the other, or as one batch; seconds per class, and memory that
is held besides.

    python benchmarks/advcam_classes.py

EfficientNet-Lite0 with random weights, one image of 375×500, two steps at scale 1, one thread; median and
peak of three times in turns.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time

import torch

from recam.engine.measure import Measure
from recam.engine.memory import release_memory
from recam.methods.advcam import AdvCamSettings, make_advcams
from recam.models.backbones import Backbone

CLASSES = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="375x500", help="HEIGHTxWIDTH of the image")
    parser.add_argument("--times", type=int, default=3)
    args = parser.parse_args()
    height, width = (int(side) for side in args.size.split("x"))
    torch.set_num_threads(1)
    torch.manual_seed(0)
    backbone = Backbone("tf_efficientnet_lite0", weights="none", freeze_until=0).eval().requires_grad_(False)
    weight, pair = torch.rand(CLASSES, backbone.channels), torch.rand(2, 3, height, width)
    seconds: dict[int, list[float]] = {1: [], CLASSES: []}
    peaks = dict.fromkeys(seconds, 0.0)
    for _ in range(args.times):
        for at_once in seconds:
            release_memory()
            with Measure() as before:
                gc.collect()
            with Measure() as cost:
                start = time.process_time()
                settings = AdvCamSettings(steps=2)
                make_advcams(
                    backbone,
                    [pair],
                    (1,),
                    weight,
                    range(CLASSES),
                    (height, width),
                    settings=settings,
                    classes_at_once=at_once,
                )
                seconds[at_once].append((time.process_time() - start) / CLASSES)
            peaks[at_once] = max(peaks[at_once], cost.peak_memory_mb - before.peak_memory_mb)
    for at_once, taken in seconds.items():
        print(f"{at_once} at once: {statistics.median(taken):.2f} s per class, {peaks[at_once]:.0f} MiB besides")


if __name__ == "__main__":
    main()
