"""A saliency network of the user's in ONNX format, run by onnxruntime: an image in, its saliency map out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import PIL.Image
import torch
from pydantic import Field

from recam.errors import DataError, RecipeError, WeightsError, first_line
from recam.inference.onnx_session import open_session
from recam.settings import Settings, section
from recam.training.augment import normalise_image, resize_image
from recam.types import Grey, Image

Values = Literal["stretch", "probability", "logit"]
DEFAULT_SIZE = 320
"""Pixels; what U²-Net was trained on."""


@section("saliency")
@dataclass(frozen=True)
class SaliencySettings(Settings):
    """Saliency maps: supervision beyond image labels, so all results made with them say so. Refiners and trainings take
    them that say so."""

    source: str = ""
    """A folder with a grey PNG of 8 or 16 bits an image, ``ID.png`` at the image's size; or a saliency network as
    ``.onnx`` file, which
    needs the extra onnx."""
    input_size: Annotated[int, Field(ge=16)] | None = None
    """Side (pixels) of the square that the network reads an image as; None: the network's own where it is fixed, else
    320 (U²-Net's)."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Mean of the network's images, scaled to [0, 1]; those of ImageNet by default."""
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """Their standard deviation."""
    output: str = ""
    """Name of the network's output that is the map; empty: the first, which is the fused one of U²-Net."""
    values: Values = "stretch"
    """What it gives: ``stretch`` maps least to 0 and most to 1, image by image, as U²-Net's own code does;
    ``probability`` is in [0, 1]
    already; ``logit`` goes through a sigmoid."""

    def __post_init__(self) -> None:
        if min(self.std) <= 0:
            raise RecipeError(f"saliency.std = {self.std}: images are divided by it, give values above 0.")

    @property
    def is_network(self) -> bool:
        """Whether maps are made by a network, not found in a folder."""
        return self.source.lower().endswith(".onnx")


class SaliencyModel:
    """A network with one input (1, 3, h, w) float and an output of (1, 1, h', w'), or without either of the ones.

    Args:
        section: the file, how it sees images and what it gives.
        device: ``cpu``, or ``cuda`` where onnxruntime can.

    Raises:
        DependencyError: onnxruntime is not installed.
        WeightsError: no ONNX file, or a network of other inputs and outputs; all that is wrong is told.
    """

    def __init__(self, section: SaliencySettings, device: str = "cpu") -> None:
        self.section, self._path = section, Path(section.source)
        if not self._path.is_file():
            raise WeightsError(
                f"there is no saliency network {self._path}. Name an .onnx file, or a folder of maps, in"
                " saliency.source."
            )
        self._session = open_session(self._path, "auto" if device == "cuda" else "cpu", torch.get_num_threads())
        problems = [*self._input_problems(), *self._output_problems()]
        if not problems:
            problems = self._answer_problems()
        if problems:
            raise WeightsError(f"{self._path} cannot be used as a saliency network: {'; '.join(problems)}.")

    def __call__(self, image: Image) -> Grey:
        """Saliency (H, W) in [0, 1] of an image (H, W, 3). Raises `DataError` where the network answers with what is no
        number."""
        raw = self._ask(image)
        if not np.isfinite(raw).all():
            raise DataError(
                "the saliency network gives values that are no numbers: check saliency.mean and std, or the network."
            )
        match self.section.values:
            case "stretch":
                raw = (raw - raw.min()) / max(float(raw.max() - raw.min()), 1e-12)
            case "logit":
                raw = 1 / (1 + np.exp(-raw.clip(-50, 50)))
            case "probability":
                if raw.min() < -1e-3 or raw.max() > 1 + 1e-3:
                    told = f"{raw.min():g}…{raw.max():g}"
                    raise DataError(
                        f"the saliency network gives {told}, not probabilities. Set saliency.values to 'logit' or"
                        " 'stretch'."
                    )
        size = (image.shape[1], image.shape[0])
        resized = PIL.Image.fromarray(raw.astype(np.float32)).resize(size, PIL.Image.Resampling.BILINEAR)
        values: Grey = np.asarray(resized).clip(0, 1)
        return values

    @cached_property
    def size(self) -> tuple[int, int]:
        """(h, w) at which images are seen: the setting, else the network's own, else 320."""
        if self.section.input_size:
            return self.section.input_size, self.section.input_size
        height, width = (
            side if isinstance(side, int) else DEFAULT_SIZE for side in self._session.get_inputs()[0].shape[2:]
        )
        return height, width

    def _ask(self, image: Image) -> np.ndarray:
        """Raw answer (h', w') for an image (H, W, 3)."""
        view = normalise_image(resize_image(image, self.size), self.section.mean, self.section.std)[
            None
        ].numpy()  # (1, 3, h, w)
        names = [self.section.output or self._session.get_outputs()[0].name]
        answer = np.asarray(self._session.run(names, {self._session.get_inputs()[0].name: view})[0])
        lead, sides = answer.shape[:-2], answer.shape[-2:]
        # A row of numbers is what a classifier gives.
        if answer.ndim < 2 or any(side != 1 for side in lead) or min(sides) == 1:
            raise ValueError(f"its output {names[0]!r} is {answer.shape} for one image, not (1, 1, h, w)")
        return answer.reshape(sides)

    def _input_problems(self) -> list[str]:
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            return [
                f"it has {len(inputs)} inputs ({', '.join(repr(each.name) for each in inputs)}), one is wanted, for"
                " the image"
            ]
        name, shape, kind = inputs[0].name, inputs[0].shape, inputs[0].type
        problems = [] if kind == "tensor(float)" else [f"its input {name!r} is {kind}, not tensor(float)"]
        free = [None if not isinstance(side, int) else side for side in shape]
        if len(shape) != 4 or free[0] not in (None, 1) or free[1] not in (None, 3):
            return [*problems, f"its input {name!r} is {_told(shape)}, not (1, 3, height, width)"]
        if any(side is not None and side != wanted for side, wanted in zip(free[2:], self.size, strict=True)):
            told = (
                f"saliency.input_size is {self.section.input_size}, its input {name!r} is fixed to {_told(shape)}:"
                " leave input_size out"
            )
            problems.append(told)
        return problems

    def _output_problems(self) -> list[str]:
        outputs = {each.name: each for each in self._session.get_outputs()}
        if self.section.output and self.section.output not in outputs:
            return [
                f"it has no output {self.section.output!r}: set saliency.output to one of"
                f" {', '.join(map(repr, outputs))}"
            ]
        chosen = outputs[self.section.output] if self.section.output else next(iter(outputs.values()))
        return (
            []
            if chosen.type == "tensor(float)"
            else [f"its output {chosen.name!r} is {chosen.type}, not tensor(float)"]
        )

    def _answer_problems(self) -> list[str]:
        # Shapes that the file leaves open are known when the network has answered once.
        try:
            self._ask(np.full((*self.size, 3), 128, np.uint8))
        except ValueError as error:
            return [str(error)]
        except Exception as error:  # onnxruntime raises kinds of its own, all meaning that it does not run
            return [f"it does not run on an image of {self.size[1]}×{self.size[0]} pixels ({first_line(error)})"]
        return []


def _told(shape: list[Any]) -> str:
    return f"({', '.join(str(side) for side in shape)})"
