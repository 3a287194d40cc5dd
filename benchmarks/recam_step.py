"""What a ReCAM step costs against a BCE step of the same batch, in turn, in one process.

    python benchmarks/recam_step.py --backbone tf_efficientnet_lite0 --classes 80 --batch 8 --size 224

Prints seconds per step of both and the ratio of each pair; quote the median ratio. ``--frozen blocks.5``: the step on
cached features.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from recam.models.backbones import Backbone
from recam.pipeline.training import Objective, make_training
from recam.recipe.recipe import load_recipe
from recam.training.loader import Batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--labels", type=int, default=3, help="positive classes per image")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument(
        "--frozen", default=None, help="last frozen unit; the step then starts from the trunk's features"
    )
    parser.add_argument("--pairs", type=int, default=7)
    args = parser.parse_args()

    torch.manual_seed(0)
    backbone = Backbone(args.backbone, weights="none", freeze_until=args.frozen or 1)
    recipe = load_recipe({})
    cam, recam = (make_training(recipe, name) for name in ("cam", "recam"))
    classifier = recam.network(backbone, args.classes).to(memory_format=torch.channels_last).train()
    images = torch.randn(args.batch, 3, args.size, args.size).contiguous(memory_format=torch.channels_last)
    labels = torch.zeros(args.batch, args.classes)
    labels[:, : args.labels] = 1
    batch: Batch = {"labels": labels, **({"features": backbone.trunk(images)} if args.frozen else {"images": images})}
    bce, both = Objective(classifier, cam), Objective(classifier, recam)

    def step(objective: torch.nn.Module) -> float:
        start = time.perf_counter()
        classifier.zero_grad(set_to_none=True)
        objective(batch)["loss"].backward()
        return time.perf_counter() - start

    step(bce), step(both)
    pairs = [(step(bce), step(both)) for _ in range(args.pairs)]
    ratios = sorted(two / one for one, two in pairs)
    print(
        f"{args.backbone}, K = {args.classes}, batch {args.batch} at {args.size} px, {args.labels} labels per image,"
        f" frozen: {args.frozen}"
    )
    print(f"BCE   {statistics.median(one for one, _ in pairs):.3f} s per step")
    print(f"ReCAM {statistics.median(two for _, two in pairs):.3f} s per step")
    print(f"ratio {statistics.median(ratios):.3f} (least {ratios[0]:.3f}, most {ratios[-1]:.3f})")


if __name__ == "__main__":
    main()
