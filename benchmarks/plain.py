"""What exact shortcuts save: each step the plain way, as research scripts write it, beside the package's.

    python benchmarks/plain.py                       all, some minutes on one core
    python benchmarks/plain.py walk recam --json     some of them
    python benchmarks/plain.py walk --size 375x500   the dense walk of a VOC photo: a quarter of an hour

Each way runs in a process of its own on one core, in turn, so that its peak memory is its own; both get the same
inputs, and equal results are asserted before a number is printed.

    walk     T of all h·w pixels as a dense matrix, squared eight times          its bands, 256 sparse steps
    recam    B×K×D×h×w masked features of all classes                            a matrix product for an image's classes
    irn      a graph through the frozen backbone                                 none
    seeds    each view decoded and read by itself, BatchNorm apart               decoded once, mirrored pair, folded
    advcam   a backward pass for the maps, another for the images                the first by hand
    maps     float32 at the image's size, pickled                                8 bits at a quarter of it, compressed
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import pickle
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from torch import Tensor

from recam.inference.class_maps import make_class_maps
from recam.methods.advcam import AdvCamSettings, climb
from recam.methods.cam import class_maps, normalise, strided_size
from recam.methods.irn_paths import affinities
from recam.methods.irn_walk import random_walk
from recam.methods.recam import reactivation_loss
from recam.models.backbones import Backbone
from recam.models.classifier import Classifier
from recam.models.folding import fold_batchnorm
from recam.models.irnet import IrNet
from recam.runfolder.maps import read_seed, save_seed
from recam.training.augment import normalise_image
from recam.types import SeedMaps

Way = Callable[[], list[Tensor]]
Size = tuple[int, int]


def walk(size: Size, args: argparse.Namespace) -> tuple[Way, Way]:
    """IRN's walk (eq. 11) of three maps."""
    generator, (height, width) = torch.Generator().manual_seed(0), strided_size(size)
    cams = torch.rand(3, height, width, generator=generator)
    edges = torch.rand(1, height, width, generator=generator) ** 4

    def plain() -> list[Tensor]:
        matrix = torch.eye(height * width)
        place = torch.arange(height * width).view(height, width)
        for (y, x), found in affinities(edges, 5).items():
            left = max(-x, 0)
            one = place[: height - y, left : width - max(x, 0)].flatten()
            other = one + y * width + x
            matrix[one, other] = matrix[other, one] = found[0].flatten() ** 10
        matrix /= matrix.sum(0, keepdim=True)
        for _ in range(8):
            matrix = matrix @ matrix
        return [((cams * (1 - edges)).flatten(1) @ matrix).view_as(cams)]

    return plain, lambda: [random_walk(cams, edges)]


def recam(size: Size, args: argparse.Namespace) -> tuple[Way, Way]:
    """A re-activation step (eqs. 5–8) behind the backbone, and its gradient."""
    generator = torch.Generator().manual_seed(0)
    h, w = -(-size[0] // 16), -(-size[1] // 16)
    features = torch.rand(args.batch, 2048, h, w, generator=generator).requires_grad_()
    one, two = (torch.randn(args.classes, 2048, generator=generator) / 45 for _ in range(2))
    labels = torch.zeros(args.batch, args.classes)
    labels[:, :2] = 1

    def plain() -> list[Tensor]:
        maps = class_maps(features, one)  # (B, K, h, w)
        masks = normalise(maps)
        masked = features[:, None] * masks[:, :, None]  # (B, K, D, h, w)
        scores = masked.mean((3, 4)) @ two.T  # (B, K, K)
        logits = features.mean((2, 3)) @ one.T
        own = F.cross_entropy(scores.flatten(0, 1), torch.arange(args.classes).repeat(args.batch), reduction="none")
        sce = (own.view_as(labels) * labels / labels.sum(1, keepdim=True)).sum() / args.batch
        loss = F.multilabel_soft_margin_loss(logits, labels) + sce
        return [loss.detach(), *torch.autograd.grad(loss, features)]

    def ours() -> list[Tensor]:
        loss = reactivation_loss(features, one, two, labels).total
        return [loss.detach(), *torch.autograd.grad(loss, features)]

    return plain, ours


def irn(size: Size, args: argparse.Namespace) -> tuple[Way, Way]:
    """A step of IRN's branches."""
    torch.manual_seed(0)
    network = IrNet(Backbone(args.backbone, "none")).train()
    images = torch.randn(2, 3, *size)
    branches = [weight for weight in network.parameters() if weight.requires_grad]

    def step() -> list[Tensor]:
        found = network.heads(network.features(images))
        loss = found.edge_logits.square().mean() + found.displacement.square().mean()
        return [loss.detach(), torch.cat([each.flatten() for each in torch.autograd.grad(loss, branches)])]

    def plain() -> list[Tensor]:
        network.zero_grad(set_to_none=True)
        network.backbone.requires_grad_(True)
        network.backbone.freeze(0)
        levels = network.backbone.levels(images)
        stem = F.max_pool2d(levels[0], 3, 2, 1) if levels[0].shape[2] != levels[1].shape[2] else levels[0]
        found = network.heads([stem, *levels[1:]])
        loss = found.edge_logits.square().mean() + found.displacement.square().mean()
        loss.backward()
        return [loss.detach(), torch.cat([weight.grad.flatten() for weight in branches])]

    return plain, step


def seeds(size: Size, args: argparse.Namespace) -> tuple[Way, Way]:
    """Class maps of a JPEG at four scales."""
    torch.manual_seed(0)
    network = Classifier(Backbone(args.backbone, "none"), args.classes).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).resize((size[1] // 8, size[0] // 8)).resize((size[1], size[0])).save(file, "JPEG")
    scales, classes = (1.0, 0.5, 1.5, 2.0), [0, 1]

    def read() -> Any:
        return np.asarray(PIL.Image.open(io.BytesIO(file.getvalue()), formats=("JPEG",)).convert("RGB"))

    @torch.inference_mode()
    def plain() -> list[Tensor]:
        total = torch.zeros(2, *strided_size(size))
        for scale in scales:
            for mirrored in (False, True):
                image = PIL.Image.fromarray(read())
                width, height = (round(side * scale) for side in image.size)
                resized = np.asarray(image.resize((width, height), PIL.Image.Resampling.BICUBIC))
                view = normalise_image(resized, network.backbone.mean, network.backbone.std)[None]
                maps = class_maps(network.backbone(view.flip(-1) if mirrored else view), network.weight_1[classes])
                maps = maps.relu().flip(-1) if mirrored else maps.relu()
                total += F.interpolate(maps, total.shape[1:], mode="bilinear", align_corners=False)[0]
        return [normalise(total)]

    folded = fold_batchnorm(Classifier(Backbone(args.backbone, "none"), args.classes).eval())
    torch.manual_seed(0)
    folded = fold_batchnorm(Classifier(Backbone(args.backbone, "none"), args.classes).eval())
    folded = folded.to(memory_format=torch.channels_last)

    def ours() -> list[Tensor]:
        made = make_class_maps(folded, read(), classes, ("w",), scales, True)
        return [torch.from_numpy(made["w"].maps)]

    return plain, ours


def advcam(size: Size, args: argparse.Namespace) -> tuple[Way, Way]:
    """Three steps of anti-adversarial climbing for one class."""
    torch.manual_seed(0)
    backbone = Backbone(args.backbone, "none", freeze_until=0).requires_grad_(False).eval()
    weight = torch.randn(args.classes, backbone.channels) / 45
    image = torch.randn(3, *size)
    pair, settings = torch.stack([image, image.flip(-1)])[None], AdvCamSettings(steps=3)

    def plain() -> list[Tensor]:
        images, maps = pair[0].clone(), list[Tensor]()
        for _ in range(settings.steps):
            images = images.detach().requires_grad_()
            features = backbone(images)
            logits = class_maps(features, weight)  # (2, K, h, w)
            (slopes,) = torch.autograd.grad(logits[:, 0].relu().sum(), features, retain_graph=True)  # the first pass
            weights = slopes.sum((2, 3)) / (slopes > 0).sum().clamp_min(1)  # (2, D)
            both = (features * weights[:, :, None, None]).sum(1).relu()
            cam = both[0] + both[1].flip(-1)
            maps.append(cam.detach())
            mask = cam.detach() > settings.mask_threshold * cam.detach().max()
            changed = ((cam - maps[0]).abs() * mask).sum()
            scores = logits.relu().mean((2, 3))
            objective = 2 * scores[:, 0].sum() - scores.sum() - settings.mu * changed
            (gradient,) = torch.autograd.grad(objective, images)  # the second
            low, high, largest = images.min(), images.max(), gradient.abs().max()
            images = (images.detach() + settings.step_size * gradient / (largest + 1e-12)).clamp(low, high)
        return [torch.stack(maps)]

    return plain, lambda: [climb(backbone, pair, torch.tensor([0]), weight, settings).cam_per_step[:, 0]]


def maps(size: Size, args: argparse.Namespace) -> tuple[Way, Way]:
    """Two smooth class maps, written and read; what lies on disk is the second result."""
    noise = torch.rand(1, 2, 6, 8, generator=torch.Generator().manual_seed(0))
    smooth = F.interpolate(noise, strided_size(size), mode="bicubic").clamp(0, 1)[0]
    folder = Path(tempfile.mkdtemp(prefix="recam-plain-"))

    def plain() -> list[Tensor]:
        full = F.interpolate(smooth[None], size, mode="bilinear")[0].numpy()
        path = folder / "plain.pkl"
        path.write_bytes(pickle.dumps({"keys": np.arange(2), "cam": smooth.numpy(), "high_res": full}))
        return [torch.from_numpy(pickle.loads(path.read_bytes())["cam"]), torch.tensor(path.stat().st_size)]

    def ours() -> list[Tensor]:
        path = folder / "ours.npz"
        save_seed(path, SeedMaps(smooth.numpy(), np.arange(2), size))
        return [torch.from_numpy(read_seed(path).maps), torch.tensor(path.stat().st_size)]

    return plain, ours


CASES: dict[str, tuple[Callable[[Size, argparse.Namespace], tuple[Way, Way]], str, int]] = {
    "walk": (walk, "250x250", 1),
    "recam": (recam, "512x512", 2),
    "irn": (irn, "320x320", 2),
    "seeds": (seeds, "375x500", 1),
    "advcam": (advcam, "256x256", 1),
    "maps": (maps, "375x500", 5),
}
"""What is compared: both ways, the size of the image, and how often each way runs, of which the fastest counts."""
TOLERANCE = {"maps": 1 / 255, "walk": 2e-3, "seeds": 2e-3, "advcam": 2e-3}
"""How far results may be apart, as a share of the largest; 1e-4 where not named. Maps are rounded to 8 bits; the walk
takes 256 steps, or eight squarings of a matrix, in 32 bits."""


def measure(name: str, plain: bool, args: argparse.Namespace) -> dict[str, Any]:
    """Results, CPU seconds and peak MiB above what the process held before."""
    torch.set_num_threads(1)
    make, size, repeats = CASES[name]
    height, width = map(int, (args.size or size).split("x"))
    way = make((height, width), args)[0 if plain else 1]
    before, seconds, results = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, [], list[Tensor]()
    for _ in range(repeats):
        start = time.process_time()
        results = way()
        seconds.append(time.process_time() - start)
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {"seconds": min(seconds), "mib": peak, "results": [each.numpy() for each in results]}


def compare(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Both ways of a case, in turn; raises `AssertionError` where their results differ."""
    context = multiprocessing.get_context("spawn")
    found = {}
    for way in ("plain", "ours"):
        with context.Pool(1) as pool:
            found[way] = pool.apply(measure, (name, way == "plain", args))
    files = [found[way]["results"].pop() for way in found] if name == "maps" else None
    for one, other in zip(found["plain"].pop("results"), found["ours"].pop("results"), strict=True):
        apart = np.abs(one - other).max() / max(np.abs(one).max(), 1e-12)
        assert apart <= TOLERANCE.get(name, 1e-4), f"{name}: results are {apart:.2g} apart"
    made = {"case": name, "size": args.size or CASES[name][1], **found}
    made["times_faster"] = found["plain"]["seconds"] / max(found["ours"]["seconds"], 1e-9)
    if files:
        made["bytes"] = {"plain": int(files[0]), "ours": int(files[1])}
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; default: all")
    parser.add_argument("--size", help="HEIGHTxWIDTH of the image; default: that of each case")
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if unknown := [name for name in args.cases if name not in CASES]:
        parser.error(f"no case {', '.join(unknown)}; there are {', '.join(CASES)}")
    found = []
    for name in args.cases or CASES:
        each = compare(name, args)
        found.append(each)
        if not args.json:
            plain, ours = each["plain"], each["ours"]
            files = f"; {each['bytes']['plain'] / each['bytes']['ours']:.0f} × on disk" if "bytes" in each else ""
            print(
                f"{name:<8}{each['size']:>9}  plain {plain['seconds']:8.3f} s {plain['mib']:7.0f} MiB"
                f"   ours {ours['seconds']:8.3f} s {ours['mib']:7.0f} MiB   {each['times_faster']:8.1f} ×{files}",
                flush=True,
            )
    if args.json:
        print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
