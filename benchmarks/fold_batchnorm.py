"""What BatchNorm folded into the convolutions saves in inference mode: time of an image and its horizontal
flip, one core.

    python benchmarks/fold_batchnorm.py tf_efficientnet_lite0 resnet50

Once forward alone, as for class maps, and once forward and back to the images, as AdvCAM climbs.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time

import torch
from torch import nn

from recam.models.backbones import Backbone
from recam.models.folding import fold_batchnorm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("backbones", nargs="*", default=["tf_efficientnet_lite0", "resnet50"])
    parser.add_argument("--size", default="256x340", help="HEIGHTxWIDTH of the image")
    parser.add_argument("--rounds", type=int, default=15, help="times that both take turns")
    args = parser.parse_args()

    torch.set_num_threads(1)
    height, width = (int(side) for side in args.size.split("x"))
    images = torch.rand(2, 3, height, width).contiguous(memory_format=torch.channels_last)
    for name in args.backbones:
        plain = (
            Backbone(name, weights="none", freeze_until=0)
            .requires_grad_(False)
            .to(memory_format=torch.channels_last)
            .eval()
        )
        folded = fold_batchnorm(copy.deepcopy(plain))
        for what, gradient in (("forward", False), ("forward and back", True)):
            seconds = [
                (_seconds(plain, images, gradient), _seconds(folded, images, gradient)) for _ in range(args.rounds + 1)
            ][1:]
            ratios = sorted(after / before for before, after in seconds)
            before, after = (1000 * statistics.median(each) for each in zip(*seconds, strict=True))
            shown = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f})"
            print(f"{name}, {what}: {before:.0f} ms, folded {after:.0f} ms: {shown}")


def _seconds(network: nn.Module, images: torch.Tensor, gradient: bool) -> float:
    images = images.detach().requires_grad_(gradient)
    start = time.perf_counter()
    with torch.set_grad_enabled(gradient):
        features = network(images)
        if gradient:
            torch.autograd.grad(features.sum(), images)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
