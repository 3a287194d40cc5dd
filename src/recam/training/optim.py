"""Stochastic gradient descent with polynomial decay, as CAM and ReCAM are trained.

The published code passes its weight decay where momentum stands, so that its momentum is 1e-4, in effect 0; its learning rates (0.1 for the
backbone, 1.0 for the head) fit that. Here both are keywords. With momentum 0.9 divide the rates by ten.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from recam.errors import RecipeError


def make_sgd(param_groups: Iterable[dict[str, Any]], *, momentum: float = 0.0, weight_decay: float = 1e-4) -> SGD:
    """SGD over parameter groups, each ``{"params": …, "lr": …}``; a group may set its own momentum or weight decay."""
    groups = list(param_groups)
    without_rate = [index for index, group in enumerate(groups) if "lr" not in group]
    if without_rate:
        raise RecipeError(f"parameter groups {without_rate} name no learning rate: give each group an 'lr'.")
    return SGD(groups, momentum=momentum, weight_decay=weight_decay)


def poly_decay(step: int, max_steps: int, power: float = 0.9) -> float:
    """The factor (1 − step / max_steps)^power on the learning rate of a step, counted from 0; from max_steps on that of the last step.

    Always > 0: the published code stops to change the rate after `max_steps` rather than reaching 0.
    """
    if max_steps < 1:
        raise RecipeError(f"polynomial decay over {max_steps} steps: at least one step is needed.")
    return float((1 - min(step, max_steps - 1) / max_steps) ** power)


def make_poly_schedule(optimizer: Optimizer, max_steps: int, power: float = 0.9) -> LambdaLR:
    """Schedule that gives every parameter group its own rate times `poly_decay`; call its ``step`` after each optimizer step."""
    return LambdaLR(optimizer, lambda step: poly_decay(step, max_steps, power))
