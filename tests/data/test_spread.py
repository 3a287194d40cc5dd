"""Some of many, evenly spread, by hand."""

import pytest

from recam.data.spread import spread_evenly


@pytest.mark.parametrize(
    ("count", "most", "expected"),
    [(0, 5, []), (1, 5, [0]), (3, 5, [0, 1, 2]), (9, 3, [0, 4, 8]), (10, 4, [0, 3, 6, 9]), (7, 1, [0]), (7, 0, [])],
)
def test_spread_by_hand(count, most, expected):
    assert spread_evenly(count, most) == expected
