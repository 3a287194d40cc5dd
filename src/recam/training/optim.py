"""Optimizers, their parameter groups, and polynomial decay: the one place that sets how fast which weights learn.

The published classifier code passes its weight decay where momentum stands, so that its momentum is 1e-4, in effect 0;
its learning rates (0.1 for the backbone, 1.0 for the head) fit that. Here both are keywords. With momentum 0.9 divide
the rates by ten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from recam.errors import RecipeError

POSITIONS = ("relative_position_bias_table", "pos_embed")
"""Names of tables of positions, which are spared weight decay like biases."""


def make_sgd(param_groups: Iterable[dict[str, Any]], *, momentum: float = 0.0, weight_decay: float = 1e-4) -> SGD:
    """SGD over parameter groups, each ``{"params": …, "lr": …}``; a group may set its own momentum or weight decay."""
    return SGD(_with_rates(param_groups), momentum=momentum, weight_decay=weight_decay)


def make_adamw(param_groups: Iterable[dict[str, Any]], *, weight_decay: float = 0.01) -> AdamW:
    """AdamW (β 0.9 and 0.999) over parameter groups, each ``{"params": …, "lr": …}``; a group may set its own weight
    decay."""
    return AdamW(_with_rates(param_groups), weight_decay=weight_decay)


def split_parameters(
    whole: nn.Module,
    part: nn.Module | Iterable[Tensor],
    part_lr: float,
    rest_lr: float,
    *,
    rest_bias_factor: float = 1.0,
    decay_biases: bool = True,
) -> list[dict[str, Any]]:
    """Parameter groups: those of `part` (an encoder, or some layers) and the others, trainable ones only.

    Args:
        part_lr, rest_lr: learning rates of `part` and of the rest.
        rest_bias_factor: biases of the rest learn at so many times `rest_lr`.
        decay_biases: False gives biases, normalisations and tables of positions groups of their own without weight
            decay.

    Raises:
        RecipeError: nothing is left to train.
    """
    inside = {id(parameter) for parameter in (part.parameters() if isinstance(part, nn.Module) else part)}
    groups: dict[tuple[float, bool], dict[str, Any]] = {}
    trainable = [(name, parameter) for name, parameter in whole.named_parameters() if parameter.requires_grad]
    for name, parameter in sorted(
        trainable, key=lambda pair: id(pair[1]) not in inside
    ):  # stable: those of `part` first
        rate = part_lr if id(parameter) in inside else rest_lr * (rest_bias_factor if name.endswith("bias") else 1.0)
        spared = not decay_biases and (parameter.ndim <= 1 or name.endswith(POSITIONS))
        group = groups.setdefault(
            (rate, spared), {"params": [], "lr": rate} | ({"weight_decay": 0.0} if spared else {})
        )
        group["params"].append(parameter)
    if not groups:
        raise RecipeError("nothing is left to train: lower backbone.freeze_until.")
    return list(groups.values())


def poly_decay(step: int, max_steps: int, power: float = 0.9) -> float:
    """The factor (1 − step / max_steps)^power on the learning rate of a step, counted from 0; from max_steps on that of
    the last step.

    Always > 0: the published code stops to change the rate after `max_steps` rather than reaching 0.
    """
    if max_steps < 1:
        raise RecipeError(f"polynomial decay over {max_steps} steps: at least one step is needed.")
    return float((1 - min(step, max_steps - 1) / max_steps) ** power)


def poly_rates(optimizer: Optimizer, power: float = 0.9, warmup: int = 0) -> Callable[[int, int], None]:
    """A function of (step, all steps), called before each step: every parameter group gets its own rate times
    `poly_decay`, behind a linear rise over `warmup` steps."""
    rates = [group["lr"] for group in optimizer.param_groups]

    def set_step(step: int, max_steps: int) -> None:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * poly_decay(step, max_steps, power) * min(1.0, (step + 1) / max(warmup, 1))

    return set_step


def _with_rates(param_groups: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    groups = list(param_groups)
    without_rate = [index for index, group in enumerate(groups) if "lr" not in group]
    if without_rate:
        raise RecipeError(f"parameter groups {without_rate} name no learning rate: give each group an 'lr'.")
    return groups
