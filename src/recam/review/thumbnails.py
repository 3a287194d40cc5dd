"""Thumbnails made on request, and kept in memory up to a bound."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from recam.review.judged import jpeg
from recam.types import Image

SIDE = 256
"""Longer side, pixels."""
BOUND = 96 << 20
"""Bytes kept in memory: some 8,000 thumbnails."""


class Thumbnails:
    """The thumbnails used last.

    Args:
        bound: bytes kept.
    """

    def __init__(self, bound: int = BOUND) -> None:
        self._bound, self._size = bound, 0
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, number: int, read: Callable[[], Image]) -> bytes:
        """JPEG of image `number`, which `read` gives where it is not kept. Raises what `read` raises."""
        with self._lock:
            if number in self._kept:
                self._kept.move_to_end(number)
                return self._kept[number]
        made = jpeg(read(), 82, SIDE)
        with self._lock:
            self._size += len(made) - len(self._kept.pop(number, b""))
            self._kept[number] = made
            while self._size > self._bound and len(self._kept) > 1:
                self._size -= len(self._kept.popitem(last=False)[1])
        return made
