"""Trying a network on a small image before it is used, and BatchNorm that keeps its stored statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from recam.errors import RecamError, RecipeError

Features = TypeVar("Features")

REFUSALS = (TypeError, ValueError, AssertionError, RuntimeError)
"""How networks refuse a size, a stride or an option: each family in its own way."""


@contextmanager
def refusing(problem: str, advice: str) -> Iterator[None]:
    """Errors of a network as a `RecipeError`: the problem, the network's own words, what to do instead."""
    try:
        yield
    except RecamError:
        raise
    except REFUSALS as error:
        raise RecipeError(f"{problem} ({type(error).__name__}: {error}). {advice}") from error


def probe_features(run: Callable[[Tensor], Features], images: Tensor, problem: str, advice: str) -> Features:
    """Output of `run` on probe images (B, 3, H, W), without a graph.

    Raises:
        RecipeError: `problem`, the network's error and `advice`, where the network does not take them.
    """
    with torch.no_grad(), refusing(problem, advice):
        return run(images)


def freeze_statistics(module: nn.Module, affine: bool = False) -> None:
    """BatchNorm inside keeps its stored statistics, until the next ``train()``; with `affine`, weight and bias too."""
    for part in module.modules():
        if isinstance(part, _BatchNorm):
            part.eval()
            if affine:
                part.requires_grad_(False)
