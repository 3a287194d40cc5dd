"""What a loss of the segmentation model is, and the registry of them.

A loss of one's own is a file with one class; `segment.loss` names it::

    @segment_losses.register("mine")
    class Mine(SegmentLoss):
        title, Settings = "mine", MySettings

        def losses(self, segmenter, batch, context):
            logits = segmenter(batch["images"])  # (B, C, H, W)
            ...
            return {"loss": …}

One that learns from something else than the pseudo masks names the stage that makes it (`SegmentLoss.preparations`);
one that wants more of an image names that too (`SegmentLoss.extras`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from recam.engine.stage import Stage
from recam.pipeline.map_set import MapSet
from recam.preprocess import PerBand
from recam.recipe.recipe import Recipe
from recam.registry import Registry
from recam.settings import Settings
from recam.training.loader import Batch, Extra
from recam.training.segmentation_loss import as_targets


@dataclass(frozen=True)
class LossContext:
    """What a loss knows beside network and batch.

    Attributes:
        mean, std: normalisation of the images in batches.
        background: whether the first output of the network is one.
        class_weights: (C,) weight of each output's pixels, for losses that weigh them; None: 1.
    """

    mean: PerBand
    std: PerBand
    background: bool = True
    class_weights: Tensor | None = None


@dataclass(frozen=True)
class SegmentLoss:
    """How a segmentation model learns from masks; subclass and register, see the head of this file.

    The object is part of what the key of the model's stage hashes.

    Attributes:
        name: under which it is registered.
        settings: an object of its `Settings`.
        title: its name, for people.
        weighs_classes: it takes `LossContext.class_weights`, `segment.class_balance`.
        needs_background: it works where pixels may belong to no class alone.
        from_maps: it learns from masks of its own, which its last preparation makes of the class maps, in the place of
            the pseudo masks.
        version: raised when the code changes what comes out.
    """

    name: str
    settings: Any

    title: ClassVar[str] = ""
    weighs_classes: ClassVar[bool] = False
    needs_background: ClassVar[bool] = False
    from_maps: ClassVar[bool] = False
    version: ClassVar[int] = 1
    Settings: ClassVar[type[Settings]] = Settings

    @classmethod
    def plan(cls, recipe: Recipe, name: str) -> Self:
        """The loss with the recipe's settings."""
        return cls(name, recipe.section(cls.Settings))

    def losses(self, segmenter: nn.Module, batch: Batch, context: LossContext) -> dict[str, Tensor]:
        """Batch → losses by name; ``loss`` is what is minimised.

        Args:
            segmenter: images (B, 3, H, W) → logits (B, C, H, W).
            batch: ``images``, ``masks`` (B, H, W) int64 of outputs 0…C−1, 255 ignored, and the loss's `extras`.
        """
        raise NotImplementedError

    def objective(self, segmenter: nn.Module, context: LossContext) -> nn.Module:
        """The losses as a module whose part ``segmenter`` is the network, so that several processes share its
        gradients."""
        return LossObjective(segmenter, self, context)

    def extras(self, n_classes: int) -> dict[str, Extra]:
        """What its batches hold of each sample beside image and mask, by name."""
        return {}

    def preparations(self, recipe: Recipe, maps: MapSet, group: str) -> tuple[Stage, ...]:
        """Stages of that group that it wants done before, from the maps that the pseudo masks are made of."""
        return ()

    def problems(self, recipe: Recipe) -> list[str]:
        """What stands in its way, each with a way out; reported before anything is made."""
        return []


class LossObjective(nn.Module):
    """A loss and the network that learns by it."""

    def __init__(self, segmenter: nn.Module, loss: SegmentLoss, context: LossContext) -> None:
        super().__init__()
        self.segmenter, self.loss, self.context = segmenter, loss, context

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        batch = batch | {"masks": as_targets(batch["masks"], self.context.background)}
        if len(batch["images"]) == 1:  # BatchNorm of a pooled branch cannot learn from one image alone
            batch = {name: torch.cat([value, value]) for name, value in batch.items()}
        return self.loss.losses(self.segmenter, batch, self.context)


segment_losses: Registry[type[SegmentLoss]] = Registry(
    "loss of the segmentation model", "recam.segment_losses", ("recam.pipeline.losses",)
)
