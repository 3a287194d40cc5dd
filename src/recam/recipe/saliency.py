"""Sections of a recipe for saliency maps and what uses them (ReCAM paper, Table 4)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from recam.methods.saliency import EdamSettings, EpsSettings
from recam.recipe.sections import Section

Values = Literal["stretch", "probability", "logit"]


class SaliencySection(Section):
    """Saliency maps: supervision beyond image labels, so all results made with them say so. Used by `refine = ["edam"]` and
    `classify.saliency_loss = "eps"`."""

    source: str = ""
    """A folder with a grey PNG of 8 or 16 bits an image, ``ID.png`` at the image's size; or a saliency network as ``.onnx`` file, which
    needs the extra onnx."""
    input_size: int | None = Field(None, ge=16)
    """Side (pixels) of the square that the network sees an image as; None: the network's own where it is fixed, else 320 (U²-Net's)."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Mean of the network's images, scaled to [0, 1]; those of ImageNet by default."""
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """Their standard deviation."""
    output: str = ""
    """Name of the network's output that is the map; empty: the first, which is the fused one of U²-Net."""
    values: Values = "stretch"
    """What it gives: ``stretch`` maps least to 0 and most to 1, image by image, as U²-Net's own code does; ``probability`` is in [0, 1]
    already; ``logit`` goes through a sigmoid."""


class EpsSection(Section):
    """EPS's loss, `classify.saliency_loss = "eps"`: see `recam.methods.saliency`."""

    weight: float = Field(1.0, ge=0)
    """Weight of the loss beside that on image labels, in classification, reactivation and control."""
    overlap_threshold: float = Field(0.4, ge=0, le=1)
    """τ: a class counts as foreground where more than this share of its area is salient."""
    foreground_weight: float = Field(0.5, ge=0, le=1)
    """λ: weight of the foreground's channels beside that of 1 − background."""

    def method(self) -> EpsSettings:
        """What the loss itself depends on."""
        return EpsSettings(self.overlap_threshold, self.foreground_weight)


class EdamSection(Section):
    """EDAM's post-processing, `refine = ["edam"]`: see `recam.methods.saliency`."""

    saliency_threshold: float = Field(20 / 255, ge=0, le=1)
    """θ: a pixel is background up to this saliency; published 20 of 255."""
    ignore_below: float = Field(1e-6, ge=0, le=1)
    """α: a salient pixel where no map reaches it is ignored."""
    sure_above: float = Field(0.99999, ge=0, le=1)
    """β: a pixel with a map above it has that class, whatever its saliency."""

    def method(self) -> EdamSettings:
        """The method's own settings."""
        return EdamSettings(**self.model_dump())
