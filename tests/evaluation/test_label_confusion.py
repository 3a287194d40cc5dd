"""Which class images of one label are taken for, and which classes are confused most, by hand."""

import math

import numpy as np
import pytest

from recam.errors import DataError
from recam.evaluation.label_confusion import LabelConfusion, most_confused


def test_counts_by_hand():
    found = LabelConfusion(2)
    found.update([math.log(3), 0.0], 0)
    found.update([0.0, 0.0], 0)  # of equals the first counts
    found.update([1000.0, 1000.0 - math.log(4)], 1)  # no overflow
    assert found.accuracy == pytest.approx(2 / 3)
    told = found.as_dict()
    assert told["images"] == 3
    np.testing.assert_allclose(told["taken_for"], [[0.625, 0.375], [0.8, 0.2]])


def test_without_images_there_is_no_accuracy():
    assert LabelConfusion(2).as_dict() == {"images": 0, "accuracy": None, "taken_for": [[0, 0], [0, 0]]}


@pytest.mark.parametrize("logits", [[1.0], [1.0, math.nan], [1.0, math.inf], [[1.0, 2.0]]])
def test_logits_that_are_none_are_refused(logits):
    with pytest.raises(DataError, match="one finite number for each of 2 classes"):
        LabelConfusion(2).update(logits, 0)


TABLE = np.array([[0.9, 0.0, 0.1, 0.0], [0.0, 0.4, 0.2, 0.4], [0.0, 0.1, 0.9, 0.0], [0.2, 0.3, 0.0, 0.5]])


@pytest.mark.parametrize(("count", "chosen"), [(2, [1, 3]), (3, [1, 2, 3]), (4, [0, 1, 2, 3])])
def test_classes_are_chosen_pair_first(count, chosen):
    """1 and 3 take 0.7 of one another; then 2 has 0.15 with both in the mean, 0 has 0.1."""
    assert most_confused(TABLE, count) == chosen


def test_a_class_is_not_confused_with_itself():
    assert most_confused([[1, 0, 0], [0, 1, 0.1], [0, 0, 1]], 2) == [1, 2]


@pytest.mark.parametrize(("table", "count"), [(TABLE, 1), (TABLE, 5), (TABLE[:2], 2), (TABLE[0], 2)])
def test_tables_and_counts_that_do_not_fit(table, count):
    with pytest.raises(DataError, match="cannot be chosen by a table"):
        most_confused(table, count)
