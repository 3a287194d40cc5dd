"""Class maps' forward pass over images of one size, and over images that all have sizes of their own, as photos do.

    python benchmarks/many_sizes.py --backbone resnet50

cuDNN plans each convolution anew for each size of its input. Prints, as JSON, images/s with it and without, on the
device that PyTorch finds, in the precision that a run would take there; an image and its mirrored image at once.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from collections.abc import Iterable

import torch
from torch import Tensor

from recam.models.backbones import Backbone


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--side", type=int, default=500, help="longer side of the images, pixels")
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    backbone = Backbone(args.backbone, "none").eval().to(device, memory_format=torch.channels_last)
    many = [(args.side, args.side * 2 // 3 + 2 * number) for number in range(args.images)]
    found: dict[str, float | str] = {"backbone": args.backbone, "device": str(device)}
    for cudnn in (False, True):
        with torch.backends.cudnn.flags(enabled=cudnn):
            with_it = "cuDNN" if cudnn else "no cuDNN"
            measure_images(backbone, [many[0]] * 5, device)  # begins the libraries
            found[f"one size, {with_it}"] = measure_images(backbone, [many[0]] * args.images, device)
            found[f"sizes of their own, {with_it}"] = measure_images(backbone, many, device)
            found[f"the same sizes again, {with_it}"] = measure_images(backbone, many, device)
    print(json.dumps(found, indent=2))


@torch.inference_mode()
def measure_images(backbone: Backbone, sizes: Iterable[tuple[int, int]], device: torch.device) -> float:
    """Images per second, of pairs (2, 3, H, W)."""
    precision = torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else contextlib.nullcontext()
    start, images = time.monotonic(), 0
    for size in sizes:
        views: Tensor = torch.randn(2, 3, *size, device=device).contiguous(memory_format=torch.channels_last)
        with precision:
            backbone(views).mean().item()  # waits for the device
        images += 1
    return images / (time.monotonic() - start)


if __name__ == "__main__":
    main()
