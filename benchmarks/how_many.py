"""How much a classifier of frozen features learns from more images: label scores and class maps of held-out scenes.

python benchmarks/how_many.py
python benchmarks/how_many.py --data surfaces:

The first training of recipe ``auto`` (`recam.methods.probe`), fitted to the first 30, 60, 120 and 240 scenes of a seed.
The same 60 scenes are scored each time: mAP of their labels, and mIoU of their class maps at the best threshold, the
labels given. So rows differ by what was learned alone.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recam.data.catalog import open_catalog
from recam.evaluation.label_scores import score_labels
from recam.evaluation.threshold_sweep import ThresholdSweep
from recam.methods.cam import make_cams
from recam.methods.probe import Probe, fit_probe, probe_loss
from recam.models.backbones import Backbone
from recam.preprocess import normalise_pixels
from recam.types import Mask

PENALTIES = (0.01, 0.1, 1.0)


@dataclass(frozen=True)
class Scenes:
    """What is kept of N scenes: pooled features (N, D), labels (N, K); of those to score also features and masks."""

    pooled: Tensor
    labels: Tensor
    features: tuple[Tensor, ...]
    masks: tuple[Mask, ...]

    def first(self, count: int) -> Scenes:
        return Scenes(self.pooled[:count], self.labels[:count], (), ())


def read_scenes(backbone: Backbone, data: str, seed: int, split: str, count: int, size: int) -> Scenes:
    """Draw scenes and run the network on them, one after the other."""
    numbers = {"train": 1, "val": 0} | {split: count}
    catalog = open_catalog(data, seed=seed, size=size, **numbers)
    pooled, labels, features, masks = [], torch.zeros(count, len(catalog.classes.names)), [], []
    for row, sample in enumerate(catalog.samples(split)):
        image = torch.from_numpy(normalise_pixels(sample.image.read(), backbone.mean, backbone.std))[None]
        with torch.inference_mode():
            found = backbone(image)  # (1, D, h, w)
        pooled.append(found.mean((2, 3))[0])
        labels[row, list(sample.labels)] = 1
        if split == "val" and sample.mask is not None:
            features.append(found)
            masks.append(sample.mask.read())
    return Scenes(torch.stack(pooled).clone(), labels, tuple(features), tuple(masks))


def learn(scenes: Scenes) -> Probe:
    """The probe with the penalty that does best on every fifth image, fitted to all of them."""
    aside = torch.arange(len(scenes.pooled)) % 5 == 0

    def loss(l2: float) -> float:
        probe = fit_probe(scenes.pooled[~aside], scenes.labels[~aside], l2)
        return probe_loss(probe, scenes.pooled[aside], scenes.labels[aside])

    return fit_probe(scenes.pooled, scenes.labels, min(PENALTIES, key=loss))


def score(probe: Probe, held_out: Scenes) -> tuple[float, float]:
    """mAP of the labels and mIoU of the class maps, in percent."""
    sweep = ThresholdSweep(held_out.labels.shape[1])
    for features, labels, mask in zip(held_out.features, held_out.labels, held_out.masks, strict=True):
        present: NDArray[np.int64] = np.flatnonzero(labels.numpy())
        views = [torch.cat([features, features.flip(-1)])]  # the mirror image adds nothing here
        maps = make_cams(views, probe.weight, present.tolist(), mask.shape, "full")
        sweep.update(maps.numpy(), present, mask)
    names = tuple(str(number) for number in range(held_out.labels.shape[1]))
    scores = score_labels(probe.logits(held_out.pooled).numpy(), held_out.labels.numpy(), names)
    return 100 * scores.mean_ap, 100 * sweep.best().miou


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="scenes:", help="scenes: or surfaces:")
    parser.add_argument("--images", default="30,60,120,240")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--held-out", type=int, default=60)
    parser.add_argument("--size", type=int, default=160, help="side of the scenes in pixels")
    args = parser.parse_args()
    counts = [int(number) for number in args.images.split(",")]
    torch.set_num_threads(1)
    backbone = Backbone("tf_efficientnet_lite0", weights="bundled").eval()
    found: dict[int, list[tuple[float, float]]] = {count: [] for count in counts}
    shown: dict[int, float] = {}
    for seed in (int(number) for number in args.seeds.split(",")):
        scenes = read_scenes(backbone, args.data, seed, "train", max(counts), args.size)
        held_out = read_scenes(backbone, args.data, seed, "val", args.held_out, args.size)
        for count in counts:
            found[count].append(score(learn(scenes.first(count)), held_out))
            shown[count] = float(scenes.labels[:count].sum(0).mean())
    print("| images | of each class, about | mAP of labels | mIoU of class maps |\n|---|---|---|---|")
    for count, pairs in found.items():
        columns = " | ".join(spread(values) for values in zip(*pairs, strict=True))
        print(f"| {count} | {shown[count]:.0f} | {columns} |")


def spread(values: tuple[float, ...]) -> str:
    """Mean ± sample standard deviation."""
    deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{deviation}"


if __name__ == "__main__":
    main()
