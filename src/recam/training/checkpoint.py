"""A training's whole state in one file: model and optimizer by name, everything else as JSON beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from recam.errors import StoreError
from recam.tensors import load_tensors, save_tensors

Extras = Mapping[str, Mapping[str, Tensor]]
"""Further named tensors in named groups, e.g. ``{"average": …, "best": …}``; names of groups without dots."""
NOTHING: Extras = {}


def save_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, meta: Mapping[str, Any], extras: Extras = NOTHING
) -> None:
    """Model, optimizer and extras after `meta["step"]` steps. What is drawn at random follows from the step, see `recam.training.loop`."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items() if isinstance(value, Tensor)}
    for group, named in extras.items():
        tensors |= {f"extra.{group}.{name}": value for name, value in named.items()}
    save_tensors(path, tensors, meta)


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """Put everything back in place; returns `meta` and the extras. Raises `StoreError` where the file does not fit the model."""
    tensors, meta = load_tensors(path)
    try:
        model.load_state_dict({name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")})
    except RuntimeError as error:
        raise StoreError(f"{path} does not fit the model ({error}). Delete it; the same command starts this stage again.") from error
    state: dict[int, dict[str, Tensor]] = {}
    extras: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = value
        elif name.startswith("extra."):
            _, group, key = name.split(".", 2)
            extras.setdefault(group, {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return meta, extras
