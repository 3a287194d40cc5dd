"""Several items at a time, told in order."""

import threading
import time

import pytest

from recam.ahead import map_ahead


def test_results_come_in_order_though_the_first_takes_longest():
    def do(item):
        time.sleep(0.02 if item == 0 else 0)
        return item * item

    assert list(map_ahead(do, range(50), workers=4)) == [(item, item * item) for item in range(50)]
    assert list(map_ahead(do, [], workers=4)) == []


def test_no_more_is_begun_than_a_few_for_each_thread():
    taken = []

    def items():
        for item in range(1000):
            taken.append(item)
            yield item

    ahead = map_ahead(str, items(), workers=2)
    assert next(ahead) == (0, "0")
    assert len(taken) == 8
    ahead.close()
    assert len(taken) == 8


def test_several_threads_work_at_a_time():
    together = threading.Barrier(3, timeout=120)
    assert len(list(map_ahead(lambda item: together.wait(), range(6), workers=3))) == 6


def test_an_error_comes_at_its_item_and_ends_the_work():
    done = []

    def do(item):
        if item == 2:
            raise ValueError("no two")
        done.append(item)
        return item

    ahead = map_ahead(do, range(1000), workers=1)
    assert [next(ahead), next(ahead)] == [(0, 0), (1, 1)]
    with pytest.raises(ValueError, match="no two"):
        next(ahead)
    assert len(done) < 20
