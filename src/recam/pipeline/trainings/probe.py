"""The linear probe's place in a run: a classifier in seconds, its penalty chosen by labels of images that it has not
learned from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from recam.data.held_out import hold_out
from recam.data.roles import RunData
from recam.engine.amount import Amount, Turn
from recam.engine.bench import Bench
from recam.engine.work import Work, sum_over_processes
from recam.errors import DataError
from recam.evaluation.label_scores import LabelScores, score_labels
from recam.files import atomic_write
from recam.inference.class_maps import view_pairs
from recam.labels import multi_hot
from recam.methods.probe import Probe, fit_probe, probe_loss
from recam.models.classifier import Classifier
from recam.models.saved import save_classifier
from recam.pipeline.stages.train import TrainGiven
from recam.pipeline.train_amounts import untrained_classifier
from recam.pipeline.training import Training, trainings
from recam.progress import log_line
from recam.runfolder.store import WEIGHTS
from recam.settings import Positive, Scales, Settings, Share, section
from recam.types import Sample

KEPT_HEAD = "held_out.safetensors"
"""The head that has not learned from held-out images, for trainings that these are to judge."""
LITTLE = 0.1
"""Part of the way from chance to perfect; a class whose average precision stays below it is named."""
TRIED = 300
"""Images of which a plan tries a probe."""
ENOUGH = 30
"""Held-out images from which a classifier no better than chance is refused; of fewer, chance is too likely to win."""


@section("probe")
@dataclass(frozen=True)
class ProbeSettings(Settings):
    """The linear probe of the backbone's own features, `training = "probe"`."""

    l2: tuple[Positive, ...] = (0.01, 0.03, 0.1, 0.3, 1.0)
    """Penalties to choose from, by the loss on held-out labels; without these, the one in the middle."""
    scales: Scales = (1.0, 2.0)
    """Scales at which images are read; their pooled features are averaged."""
    held_out: Share = 0.2
    """Part of each class that is not learned from while the penalty is chosen and the classifier judged; after that all
    images are learned from."""
    unlearned: Literal["stop", "report"] = "stop"
    """What to do where the classifier is no better than chance on held-out labels."""


@trainings.register("probe")
@dataclass(frozen=True)
class LinearProbe(Training):
    """`recam.methods.probe`: FC1 and its bias on frozen features."""

    title, colour, Settings = "probe CAM", "teal", ProbeSettings

    @staticmethod
    def amounts(given: TrainGiven, data: RunData) -> list[Amount]:
        """One pass over the training images, and a probe for each penalty, twice for the one that is taken."""
        own: ProbeSettings = given.training.settings
        images = len(data.train)

        def pools(bench: Bench) -> Turn:
            network = bench.once(("pooled", given.backbone), lambda: untrained_classifier(bench, given.training))

            @torch.inference_mode()
            def turn(sample: Sample) -> None:
                for view in view_pairs(network, sample.image.read(), own.scales, False, given.max_side):
                    with bench.accelerator.autocast():
                        network.backbone(view).mean((2, 3))[0].double().cpu()

            return turn

        def fits(bench: Bench) -> Turn:
            network = bench.once(("pooled", given.backbone), lambda: untrained_classifier(bench, given.training))
            rows, generator = min(images, TRIED), torch.Generator().manual_seed(0)
            features = torch.randn(rows, network.backbone.channels, dtype=torch.float64, generator=generator)
            labels = (torch.rand(rows, bench.n_classes, generator=generator) < 1 / bench.n_classes).float()

            def turn(sample: Sample) -> float:
                fit_probe(features, labels, own.l2[len(own.l2) // 2])
                return rows / images

            return turn

        return [
            Amount("image pooled", images, pools, (given.backbone, own.scales, given.max_side)),
            Amount("probe of all images", len(own.l2) * bool(own.held_out) + 1, fits, (given.backbone, images)),
        ]

    @staticmethod
    def train(given: TrainGiven, work: Work) -> dict[str, Any]:
        """Pooled features of all training images in one pass, then the probe of them."""
        own: ProbeSettings = given.training.settings
        samples, classes = work.data.train, work.data.catalog.classes.names
        torch.manual_seed(given.views.seed)
        network = given.training.network(given.backbone.make(work.data.channels), len(classes)).eval()
        network = network.to(memory_format=torch.channels_last).to(work.accelerator.device)
        pooled = pool_features(network, samples, own.scales, given.max_side, work)
        labels = torch.from_numpy(np.stack([multi_hot(sample.labels, len(classes)) for sample in samples]))
        kept, held = hold_out(samples, own.held_out, given.views.seed)
        chosen, scores = own.l2[len(own.l2) // 2], None
        if held:
            rows = {sample.id: row for row, sample in enumerate(samples)}
            learn, judge = ([rows[sample.id] for sample in part] for part in (kept, held))
            probes = {l2: fit_probe(pooled[learn], labels[learn], l2) for l2 in own.l2}
            losses = {l2: probe_loss(probe, pooled[judge], labels[judge]) for l2, probe in probes.items()}
            chosen = min(losses, key=losses.__getitem__)
            logits = probes[chosen].logits(pooled[judge])
            scores = score_labels(logits.numpy(), labels[judge].numpy(), classes)
            report_labels(scores, own.unlearned, work)
            if work.accelerator.is_main_process:
                head = {"weight": probes[chosen].weight.float(), "bias": probes[chosen].bias.float()}
                with atomic_write(work.folder.path / KEPT_HEAD) as temporary:
                    save_file({name: value.contiguous() for name, value in head.items()}, temporary)
        elif work.accelerator.is_main_process:
            log_line(
                f"{work.folder.name}: the classifier is not judged: probe.held_out is 0, or no class has three"
                " images, of which one could be held out."
            )
        probe = fit_probe(pooled, labels, chosen)
        if work.accelerator.is_main_process:
            filled, reading = _filled(network, probe), work.data.settings.reading
            save_classifier(work.folder.path / WEIGHTS, filled, given.backbone, classes, reading)
        found = {"images": len(samples), "l2": chosen}
        return {**found, "labels": {"of": "held-out images", **scores.as_dict()}} if scores else found


@torch.inference_mode()
def pool_features(
    network: Classifier, samples: list[Sample], scales: tuple[float, ...], max_side: int | None, work: Work
) -> Tensor:
    """(N, D) float64 features of whole images, averaged over positions and scales."""
    pooled = np.zeros((len(samples), network.backbone.channels))
    index = {sample.id: row for row, sample in enumerate(samples)}
    for sample in work.share(samples, lambda sample: False):
        views = view_pairs(network, sample.image.read(), scales, False, max_side)
        with work.accelerator.autocast():
            means = [network.backbone(view).mean((2, 3))[0].double() for view in views]  # (D,) each
        pooled[index[sample.id]] = torch.stack(means).mean(0).cpu().numpy()
    sum_over_processes(work, pooled)
    return torch.from_numpy(pooled)


def report_labels(scores: LabelScores, unlearned: str, work: Work) -> None:
    """Report how well held-out labels are predicted.

    Raises:
        DataError: no better than chance on `ENOUGH` images or more, and `unlearned` is ``stop``.
    """
    reached, chance = 100 * scores.mean_ap, 100 * scores.chance
    found = f"held-out labels: mAP {reached:.1f} (chance {chance:.1f}, {scores.images} images)"
    pairs = zip(scores.names, scores.ap, scores.share, strict=True)
    weak = [name for name, ap, share in pairs if ap < share + LITTLE * (1 - share)]
    if scores.is_learned:
        text = f"{found}; hardly learned: {', '.join(weak[:5])}." if weak else f"{found}."
    else:
        text = (
            f"the classifier has learned nothing: {found}, p = {scores.p_value:.2f}. "
            "Are the labels right, and what they name visible at the size that the network reads? Try larger images"
            " (data.max_side, probe.scales), another backbone, or a trained classifier (training = 'cam');"
            " probe.unlearned = 'report' makes masks all the same."
        )
        if scores.images >= ENOUGH and unlearned == "stop":
            raise DataError(f"{work.folder.name}: {text}")
    if work.accelerator.is_main_process:
        log_line(f"{work.folder.name}: {text}")


def _filled(network: Classifier, probe: Probe) -> Classifier:
    with torch.no_grad():
        network.fc1.weight.copy_(probe.weight[..., None, None])
        network.bias.copy_(probe.bias)
    return network
