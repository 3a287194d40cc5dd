"""How a classifier does on images that it has not learned from, beside those that it has: how often it names the class
of images that show one, what it takes them for, and the class maps of the held-out images against the truth.

Nothing of these maps is kept: they are made, compared and dropped.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch

from recam.data.ignored import find_no_data
from recam.data.roles import Role, RunData
from recam.engine.amount import Amount
from recam.engine.stage import Stage
from recam.engine.work import Work, sum_over_processes
from recam.evaluation.label_confusion import LabelConfusion
from recam.evaluation.threshold_sweep import ThresholdSweep
from recam.inference.class_maps import view_pairs
from recam.methods.cam import classify, read_full
from recam.models.classifier import Classifier
from recam.models.folding import fold_batchnorm
from recam.models.saved import load_classifier
from recam.pipeline.stages.maps import MapsGiven, load_maps, map_amount
from recam.pipeline.stages.train import stage_of
from recam.runfolder.kinds import HELD_OUT
from recam.types import Image, Sample


def plan_held_out(maps: Stage) -> Stage:
    """The stage beside the stage of a training's maps."""
    given: MapsGiven = maps.given
    chosen = replace(given, weightings=given.weightings[:1])
    name = maps.name.replace("maps/", "held_out/", 1)
    label = {"title": f"{maps.label['title']}, held-out images", "kind": HELD_OUT, "training": given.training.name}
    roles: tuple[Role, ...] = ("train", "val")
    return Stage(name, "maps", judge_held_out, chosen, maps.needs, roles, label=label, amounts=held_out_amounts)


def judge_held_out(given: MapsGiven, work: Work) -> dict[str, Any]:
    """``named``: by split, `LabelConfusion.as_dict`; ``held_out``: the threshold curve on the held-out split."""
    weights = work.inputs[stage_of(given.training)].weights
    network = fold_batchnorm(load_classifier(weights)).to(work.accelerator.device)
    n_classes = len(work.data.catalog.classes)
    splits = {"train": work.data.train, "val": work.data.val}
    named = {split: LabelConfusion(n_classes) for split in splits}
    for split, samples in splits.items():
        for sample in work.share([each for each in samples if len(each.labels) == 1], lambda sample: False):
            named[split].update(_logits(network, given, sample.image.read()), sample.labels[0])
        sum_over_processes(work, named[split].images, named[split].right, named[split].given)
    return {
        "images": sum(map(len, splits.values())),
        "named": {split: found.as_dict() for split, found in named.items()},
        "held_out": _score_maps(given, work),
    }


def held_out_amounts(given: MapsGiven, data: RunData) -> list[Amount]:
    """Held-out images are read for their maps, and all of one label for their logits, which takes about as long."""
    single = sum(len(sample.labels) == 1 for sample in (*data.train, *data.val))
    return [map_amount(given, len(data.val) + single)]


@torch.inference_mode()
def _logits(network: Classifier, given: MapsGiven, image: Image) -> Any:
    """(K,) means over the views that maps are made of."""
    pairs = view_pairs(network, image, given.scales, given.flip, given.max_side)
    read = [classify(network.backbone(views), network.weight_1, network.bias).mean(0) for views in pairs]
    return torch.stack(read).mean(0).float().cpu().numpy()


def _score_maps(given: MapsGiven, work: Work) -> dict[str, Any]:
    """As a set of maps in the results of a stage that scores them."""
    classes = work.data.catalog.classes
    sweep = ThresholdSweep(len(classes), background=classes.background)
    weights = work.inputs[stage_of(given.training)].weights
    maps_of = load_maps(given, weights, work.accelerator.device, work.data.train, work.inputs)
    for sample in work.share(work.data.val, lambda sample: False):
        image = sample.image.read()
        with nullcontext() if given.maker else work.accelerator.autocast():
            seed = maps_of(image, sample.labels)[given.weightings[0]]
        ignored = find_no_data(image, sample.no_data)
        sweep.update(read_full(seed), seed.class_indices.tolist(), _truth(sample), ignored)
    sum_over_processes(work, sweep.histogram, sweep.ignored)
    oracle = sweep.best()
    best = {"threshold": oracle.threshold, "miou": oracle.miou}
    return {"oracle": best, "otsu": None, "thresholds": list(oracle.thresholds), "curve": list(oracle.curve)}


def _truth(sample: Sample) -> Any:
    assert sample.mask is not None, "held-out images are those with a true mask"
    return sample.mask.read()
