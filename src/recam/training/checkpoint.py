"""A training's whole state in one file: model and optimizer by name, everything else as JSON beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from recam.errors import StoreError
from recam.tensors import load_tensors, save_tensors

Extras = Mapping[str, Mapping[str, Tensor]]
"""Further named tensors in named groups, e.g. ``{"average": …, "best": …}``; names of groups without dots."""
NOTHING: Extras = {}


def _are_numbers(held: Any) -> bool:
    return isinstance(held, dict) and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in held.values()
    )


_FITS: Mapping[str, Callable[[Any], bool]] = {
    "step": lambda held: isinstance(held, int) and not isinstance(held, bool) and 0 <= held < 2**63,
    "sums": _are_numbers,
    "history": lambda held: isinstance(held, list) and all(map(_are_numbers, held)),
}
"""What the training loop keeps of itself, and whether it can be that."""


def save_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, meta: Mapping[str, Any], extras: Extras = NOTHING
) -> None:
    """Model, optimizer and extras after `meta["step"]` steps. What is drawn at random follows from the step, see
    `recam.training.loop`."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items() if isinstance(value, Tensor)}
    for group, named in extras.items():
        tensors |= {f"extra.{group}.{name}": value for name, value in named.items()}
    save_tensors(path, tensors, meta)


def load_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, needs: Sequence[str] = ()
) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """Put everything back in place; returns `meta` and the extras.

    Args:
        needs: names that `meta` must hold.

    Raises:
        StoreError: the file is damaged, or does not fit the model or the optimizer.
    """
    tensors, meta = load_tensors(path)
    wrong = [name for name in needs if name not in meta] + [
        name for name, fits in _FITS.items() if name in meta and not fits(meta[name])
    ]
    if wrong:
        names = ", ".join(wrong)
        raise StoreError(
            f"{path} is damaged: {names} missing or of another kind. Delete it; the same command starts this stage"
            " again."
        )
    try:
        model.load_state_dict(
            {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
        )
    except RuntimeError as error:
        raise StoreError(
            f"{path} does not fit the model ({error}). Delete it; the same command starts this stage again."
        ) from error
    state: dict[int, dict[str, Tensor]] = {}
    extras: dict[str, dict[str, Tensor]] = {}
    shapes = [parameter.shape for group in optimizer.param_groups for parameter in group["params"]]
    for name, value in tensors.items():
        kind, _, rest = name.partition(".")
        first, _, key = rest.partition(".")
        if kind == "optimizer":
            # PyTorch takes any shape here, and fails of it in the first step.
            if not (first.isdecimal() and int(first) < len(shapes) and key and value.shape in ((), shapes[int(first)])):
                raise StoreError(
                    f"{path} does not fit the optimizer ({name!r}). Delete it; the same command starts this stage"
                    " again."
                )
            state.setdefault(int(first), {})[key] = value
        elif kind == "extra":
            extras.setdefault(first, {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return meta, extras
