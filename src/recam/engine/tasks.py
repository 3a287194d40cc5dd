"""Work on single images in a form that any process can do: what a stage states, and `recam.engine.work`, or the actors
of `recam.engine.cluster`, carry out.

A task is small and picklable: paths and settings. `start` loads what the work needs, once per process; what it returns
does one image after the other. Files are written whole or not at all, so an image that two processes do is done once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from recam.errors import DataError
from recam.types import Sample

if TYPE_CHECKING:  # prediction with exported networks takes no PyTorch
    from accelerate import Accelerator

MOST_PROBLEMS = 100
"""Images that may turn out bad before a stage gives up: more are no accident."""


class ImageTask(Protocol):
    """Writes a file, or several, of each image."""

    def is_done(self, sample: Sample) -> bool:
        """Whether the files of a sample are there."""

    def start(self, accelerator: Accelerator) -> Callable[[Sample], object]:
        """What writes the files of a sample; a `DataError` that it raises is that image's alone."""


@dataclass(frozen=True)
class Plain:
    """An `ImageTask` that loads nothing: two functions, picklable both."""

    finished: Callable[[Sample], bool]
    do: Callable[[Sample], object]

    def is_done(self, sample: Sample) -> bool:
        return self.finished(sample)

    def start(self, accelerator: Accelerator) -> Callable[[Sample], object]:
        return self.do


class Counter(Protocol):
    """Counts in integers, so that no order changes a sum."""

    @property
    def counts(self) -> Sequence[NDArray[np.integer[Any]]]:
        """Arrays that those of other counters may be added to."""

    def __call__(self, sample: Sample) -> Sequence[float] | None:
        """Count an image. Returns its row, where the task has a `width`."""


class CountTask(Protocol):
    """Counts something over images, without a network, and keeps a row of `width` numbers of each; 0: none."""

    @property
    def width(self) -> int: ...

    def start(self, accelerator: Accelerator) -> Counter:
        """A counter at zero."""


@dataclass(frozen=True)
class Counted:
    """Attributes:
    counts: sums over all images.
    rows: (N, width) float64, in the order of the images.
    """

    counts: tuple[NDArray[np.integer[Any]], ...]
    rows: NDArray[np.float64]


def attempt(do: Callable[[Sample], object], sample: Sample) -> str:
    """Do one image; returns what is wrong with it, empty: nothing."""
    try:
        do(sample)
    except DataError as error:
        return str(error)
    return ""


class Problems:
    """Collects what is wrong with images, so that one bad image holds up none of the others.

    Args:
        stage: the name that the error begins with.
    """

    def __init__(self, stage: str) -> None:
        self._stage, self._found = stage, list[str]()

    def note(self, found: Iterable[str]) -> None:
        """Keep what is not empty. Raises as `close` does when it is too much."""
        self._found += [each for each in found if each]
        if len(self._found) >= MOST_PROBLEMS:
            self.close()

    def close(self) -> None:
        """Raises `DataError` with all problems, where there is any."""
        if len(self._found) == 1:
            raise DataError(self._found[0])
        if self._found:
            lines = "\n  ".join(self._found[:20])
            more = f"\n  … and {len(self._found) - 20} more." if len(self._found) > 20 else ""
            raise DataError(
                f"{self._stage}: {len(self._found)} images cannot be used; the others are done, and stay so. Repair"
                f" these or take them out of the data set, then run the same command.\n  {lines}{more}"
            )


class Pace:
    """How many items to hand out at once: so many that they take about `SECONDS`, and few towards the end.

    Args:
        hands: how many work.
    """

    SECONDS = 5.0
    MOST = 64

    def __init__(self, hands: int) -> None:
        self._hands, self._spent, self._done = hands, 0.0, 0

    def note(self, items: int, seconds: float) -> None:
        """So many items took so long."""
        self._spent, self._done = self._spent + seconds, self._done + items

    def size(self, left: int) -> int:
        """Items to hand out next, of those left."""
        if not self._done:
            return 1
        fits = int(self.SECONDS / max(self._spent / self._done, 1e-6))
        return max(1, min(fits, self.MOST, -(-left // (2 * self._hands))))


def timed(do: Callable[[Sequence[Any]], Any], items: Sequence[Any]) -> tuple[float, Any]:
    """(seconds, result)."""
    begun = time.monotonic()
    result = do(items)
    return time.monotonic() - begun, result
