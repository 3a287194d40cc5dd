r"""Size of a segmentation network, and what a training step costs on one core.

    python benchmarks/segment_step.py upernet tu-swin_tiny_patch4_window7_224 --frozen \
        --options '{"decoder_channels": 64}'

Prints parameters and CPU milliseconds per image, the least of three steps. ``--size 0`` counts parameters without
computing anything.
"""

from __future__ import annotations

import argparse
import json
import time

import torch

from recam.models.segmenters import make_segmenter
from recam.training.segmentation_loss import SegmentationObjective


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("encoder")
    parser.add_argument("--options", type=json.loads, default={}, help="of the network, as JSON")
    parser.add_argument("--frozen", action="store_true", help="keep the encoder's weights")
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, default=192, help="side of the crop, pixels; a multiple of 32")
    args = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(1)
    network = (
        make_segmenter(args.model, args.encoder, args.classes, "none", **args.options)
        .to(memory_format=torch.channels_last)
        .train()
    )
    if args.frozen:
        network.get_submodule("encoder").requires_grad_(False)
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    counts = [sum(parameter.numel() for parameter in part) / 1e6 for part in (list(network.parameters()), learning)]
    print(f"{args.model} on {args.encoder} {args.options}: {counts[0]:.1f} M parameters, {counts[1]:.1f} M learn")
    if args.size:
        print(
            f"{1000 * _seconds(network, learning, args) / args.batch:.0f} ms of a core per image of {args.size} pixels"
        )


def _seconds(network: torch.nn.Module, learning: list[torch.nn.Parameter], args: argparse.Namespace) -> float:
    objective, optimizer = SegmentationObjective(network), torch.optim.SGD(learning, lr=1e-3)
    batch = {
        "images": torch.rand(args.batch, 3, args.size, args.size).contiguous(memory_format=torch.channels_last),
        "masks": torch.randint(0, args.classes + 1, (args.batch, args.size, args.size)),
    }
    seconds = []
    for _ in range(3):
        start = time.process_time()
        optimizer.zero_grad()
        objective(batch)["loss"].backward()
        optimizer.step()
        seconds.append(time.process_time() - start)
    return min(seconds)


if __name__ == "__main__":
    main()
