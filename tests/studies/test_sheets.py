"""Which images a sheet shows follows from numbers, by hand; and the sheet itself."""

from types import SimpleNamespace

import numpy as np
import pytest

from recam.errors import DataError
from recam.evaluation.metrics import ErrorSplit
from recam.studies.sheets import Compared, Highest, Shown, sheet, spread_of_gains


def compared(name: str, before: int, after: int, miou=(0.5, 0.5)) -> Compared:
    """Of 100 pixels so many are missed."""
    errors = tuple(ErrorSplit(100 - missed, missed, 0, 0, 0) for missed in (before, after))
    return Compared(SimpleNamespace(id=name), errors, miou)


def test_the_highest_are_kept_and_no_more():
    kept = Highest(2, lambda each: each.fell("missed"), above=0)
    for each in (compared("a", 10, 5), compared("b", 40, 10), compared("c", 10, 10), compared("d", 20, 10)):
        kept.offer(each)
    assert [each.sample.id for each in kept.images] == ["b", "d"]
    assert kept.images[0].fell("missed") == pytest.approx(0.3)
    assert len(kept._kept) == 2
    assert compared("a", 10, 5, (0.4, 0.5)).rose
    assert not compared("a", 10, 5, (0.5, 0.5)).rose


def test_images_without_a_score_or_without_a_change_are_none():
    kept = Highest(2, lambda each: each.miou[0])
    kept.offer(compared("a", 0, 0, (float("nan"), 0.1)))
    assert kept.images == []
    rising = Highest(2, lambda each: each.fell("missed"), above=0)
    rising.offer(compared("a", 5, 10))
    assert rising.images == []


def test_gains_are_shown_from_both_ends_and_the_middle():
    before = dict.fromkeys("abcdefg", 0.5)
    after = dict(zip("abcdefgh", (0.9, 0.8, 0.7, 0.5, 0.4, 0.2, 0.1, 0.9), strict=True))
    found = spread_of_gains(before, after, each=1)
    assert [(what, name) for what, name, _ in found] == [("greatest gain", "a"), ("median", "d"), ("least gain", "g")]
    assert found[0][2] == pytest.approx(0.4)
    assert spread_of_gains({"a": 0.1, "b": 0.2}, {"a": 0.1, "b": 0.2}) == []


def test_a_sheet_holds_pictures_captions_and_numbers():
    grey = np.full((20, 30, 3), 128, np.uint8)
    rows = [Shown([grey, grey], "cow: 1.0 → 0.5", ("a", 1.0, 0.5))]
    made = sheet("flaw", "A flaw", "How it is read.", ("image", "truth"), ("image", "CAM", "ReCAM"), rows)
    assert made.table == (("image", "CAM", "ReCAM"), ("a", 1.0, 0.5))
    assert "<image" in made.svg
    assert sheet("flaw", "", "", (), (), []) is None
    with pytest.raises(DataError, match="has 1 columns"):
        sheet("flaw", "", "", ("image",), (), rows)
