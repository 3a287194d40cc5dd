"""Work that waits for the disk, done for several items at a time with results in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_ahead(
    do: Callable[[Item], Result], items: Iterable[Item], workers: int | None = None
) -> Iterator[tuple[Item, Result]]:
    """Each item with what `do` makes of it, in order; threads are a few items ahead, so memory does not grow with their
    number.

    Args:
        workers: threads; None: one per core.

    Raises:
        what `do` raises, at its item; what had not begun is not done any more.
    """
    workers = workers or os.cpu_count() or 1
    pool = ThreadPoolExecutor(workers)
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    ahead = iter(items)
    try:
        while True:
            waiting.extend((item, pool.submit(do, item)) for item in islice(ahead, 4 * workers - len(waiting)))
            if not waiting:
                return
            item, result = waiting.popleft()
            yield item, result.result()
    finally:
        pool.shutdown(cancel_futures=True)
