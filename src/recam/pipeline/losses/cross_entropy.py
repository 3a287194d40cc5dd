"""The usual loss of a segmentation model: pixel-wise cross-entropy (eq. 3)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from recam.pipeline.segment_loss import LossContext, SegmentLoss, segment_losses
from recam.training.segmentation_loss import SegmentationObjective


@segment_losses.register("cross_entropy")
@dataclass(frozen=True)
class CrossEntropy(SegmentLoss):
    """`recam.training.segmentation_loss`."""

    title, weighs_classes = "cross-entropy", True

    def objective(self, segmenter: nn.Module, context: LossContext) -> nn.Module:
        return SegmentationObjective(segmenter, context.class_weights, context.background)
