"""DSRG's place in a run: seeds from the class maps at two thresholds, which grow while the model learns."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recam.engine.stage import Stage
from recam.errors import RecamError
from recam.labels import multi_hot
from recam.methods.crf import require_densecrf
from recam.methods.dsrg import DsrgSettings, crf_of, dsrg_loss, one_hot_seeds, pamr_of
from recam.models.deeplab import sample_mask
from recam.pipeline.map_set import MapSet
from recam.pipeline.refiners.irn_labels import LabelsGiven, label_amounts, make_labels
from recam.pipeline.segment_loss import LossContext, SegmentLoss, segment_losses
from recam.pipeline.stages.masks import MaskSettings
from recam.recipe.recipe import Recipe
from recam.settings import section
from recam.training.loader import Batch, Extra
from recam.types import Sample


@section("dsrg")
@dataclass(frozen=True)
class DsrgLossSettings(DsrgSettings):
    """DSRG, `segment.loss = "dsrg"`: seeded region growing; see `recam.methods.dsrg`."""

    confident: tuple[float, float] | Literal["auto"] = (0.05, 0.20)
    """Seeds are background up to the first and a class above the second height of its map. Published: 0.20 for classes,
    a saliency map for the background. ``auto``: around the threshold in force, as `irn.confident`."""

    def method(self) -> DsrgSettings:
        """What growing and losses depend on."""
        return DsrgSettings(**{each.name: getattr(self, each.name) for each in fields(DsrgSettings)})

    def conflicts(self, recipe: Recipe) -> list[str]:
        if self.confident != "auto" and not 0 <= self.confident[0] <= self.confident[1] <= 1:
            return [f"dsrg.confident = {self.confident}: give background first, then classes, both in [0, 1]"]
        return []


@dataclass(frozen=True)
class ImageLabels:
    """Labels (K,) of a sample; picklable."""

    n_classes: int

    def __call__(self, sample: Sample) -> Tensor:
        return torch.from_numpy(multi_hot(sample.labels, self.n_classes))


@segment_losses.register("dsrg")
@dataclass(frozen=True)
class Dsrg(SegmentLoss):
    """`recam.methods.dsrg`, at positions `stride` pixels apart."""

    title, Settings = "seeded region growing", DsrgLossSettings
    needs_background = True
    from_maps = True

    def losses(self, segmenter: nn.Module, batch: Batch, context: LossContext) -> dict[str, Tensor]:
        own: DsrgLossSettings = self.settings
        images = batch["images"]
        size = [(side - 1) // own.stride + 1 for side in images.shape[-2:]]
        logits = _resize(segmenter(images).float(), size)  # (B, C, h, w)
        seeds = one_hot_seeds(sample_mask(batch["masks"], torch.Size(size)), logits.shape[1])
        # Images without labels of their own have the classes of their masks.
        present = torch.maximum(F.pad(batch["labels"], (1, 0), value=1), seeds.amax((2, 3)).to(batch["labels"]))
        pixels = _resize(images, size)
        mean, std = (torch.tensor(each, device=images.device)[:, None, None] for each in (context.mean, context.std))
        colours = (pixels * std + mean)[:, :3] * 255
        refine_of = crf_of(colours, own.log_energies) if own.refined_by == "crf" else pamr_of(colours)
        loss = dsrg_loss(logits, seeds, present, refine_of, own.method(), (pixels != 0).any(1))
        return {"loss": loss.total, "seed": loss.seed, "boundary": loss.boundary}

    def extras(self, n_classes: int) -> dict[str, Extra]:
        return {"labels": Extra(ImageLabels(n_classes))}

    def preparations(self, recipe: Recipe, maps: MapSet, group: str) -> tuple[Stage, ...]:
        own = recipe.section(DsrgLossSettings).confident
        source = maps.source(recipe.section(MaskSettings).oracle) if own == "auto" else None
        given = LabelsGiven(maps.folder, None if own == "auto" else own, source, "none")
        needs = (maps.folder.stage, *(source.needs if source else ()))
        label = {"title": f"DSRG's seeds from {maps.title}"}
        name = f"dsrg/{maps.stem}/seeds"
        return (Stage(name, group, make_labels, given, needs, ("train",), label=label, amounts=label_amounts),)

    def problems(self, recipe: Recipe) -> list[str]:
        if self.settings.refined_by == "crf":
            try:
                require_densecrf()
            except RecamError as error:
                return [f"{error} For DSRG that is dsrg.refined_by = 'pamr'."]
        return []


def _resize(planes: Tensor, size: list[int]) -> Tensor:
    return F.interpolate(planes, size, mode="bilinear", align_corners=True)
