"""Images shared by processes that know nothing of each other but a folder, such as those of a SLURM array."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from recam.errors import RecipeError

T = TypeVar("T")
TURN, WHOLE = "shares.lock", "whole.lock"
"""Files in a run's folder that are held: while a stage is begun or joined, for moments; while one process makes a stage
that cannot be shared."""


class OthersMissing(Exception):
    """What a share can do is done; the rest needs the other shares. The text is for people."""


@dataclass(frozen=True)
class Share:
    """A part of the images: `index` of `count`, from 1."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Share:
        """Of ``I/N``. Raises `RecipeError` for anything else."""
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        index, count = (int(match[1]), int(match[2])) if match else (0, 0)
        if not 1 <= index <= count:
            raise RecipeError(
                f"shard {text!r} is none: give I/N with I from 1 to N, e.g. 3/8. A SLURM array counts so with"
                " --array=1-8 and --shard $SLURM_ARRAY_TASK_ID/8."
            )
        return cls(index, count)

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def of(self, items: Sequence[T]) -> Sequence[T]:
        """Every `count`-th of them: shares differ by one at most, and easy and hard images are spread."""
        return items[self.index - 1 :: self.count]


def refuse_torchrun(share: Share | None, processes: int) -> None:
    """Raises `RecipeError` where a share would itself be shared by processes of torchrun."""
    if share and processes > 1:
        raise RecipeError(
            f"--shard {share} under torchrun: give each process a share of its own, and train before, without --shard."
        )
