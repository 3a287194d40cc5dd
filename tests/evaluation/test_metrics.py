import json
import math
from dataclasses import astuple

import numpy as np
import pytest

from recam.errors import DataError
from recam.evaluation.metrics import ConfusionMatrix, error_split
from recam.labels import ClassSet

CLASSES = ClassSet(("cow", "horse", "sheep"))


def mask(*values):
    return np.array([values], np.uint8)


def matrix_of(prediction, truth):
    matrix = ConfusionMatrix(CLASSES)
    matrix.update(prediction, truth)
    return matrix


def test_counts_by_hand():
    matrix = matrix_of(mask(0, 1, 1, 2, 2, 1), mask(0, 0, 1, 1, 2, 255))
    assert matrix.matrix.tolist() == [[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert matrix.matrix.dtype == np.int64


def test_scores_by_hand():
    scores = matrix_of(mask(0, 1, 1, 2, 2, 1), mask(0, 0, 1, 1, 2, 255)).scores()
    assert scores.names == ("background", "cow", "horse", "sheep")
    assert scores.iou[:3] == pytest.approx((1 / 2, 1 / 3, 1 / 2))
    assert math.isnan(scores.iou[3])
    assert scores.miou == pytest.approx((1 / 2 + 1 / 3 + 1 / 2) / 3)
    assert scores.f1 == pytest.approx((2 / 3 + 2 / 4 + 2 / 3) / 3)
    assert scores.pixel_accuracy == pytest.approx(3 / 5)
    assert (scores.pixels, scores.ignore) == (5, 0)


def test_a_class_that_is_predicted_only_counts_as_zero():
    scores = matrix_of(mask(3, 0, 1), mask(0, 0, 1)).scores()
    assert scores.iou[3] == 0
    assert scores.miou == pytest.approx((1 / 2 + 1 + 0) / 3)


@pytest.mark.parametrize("truth", [mask(0, 0, 0), mask(0, 255, 255), mask(255, 255, 255)])
def test_no_score_where_the_truth_shows_no_class(truth):
    scores = matrix_of(mask(0, 0, 0), truth).scores()
    assert str(scores).startswith(
        "not scored: the true masks hold no pixel of any class (0 is the background, 255 ignore"
    )
    known = {
        name: value
        for name, value in scores.as_dict().items()
        if name in ("miou", "f1", "pixel_accuracy", "boundary_iou")
    }
    assert set(known.values()) == {None}
    assert set(scores.as_dict()["iou"].values()) == {None}
    json.dumps(scores.as_dict(), allow_nan=False)


def test_counting_in_blocks_changes_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    truth, prediction = rng.choice([0, 1, 2, 3, 255], (2, 7, 5)).astype(np.uint8)
    whole = matrix_of(prediction, truth).counts
    monkeypatch.setattr("recam.evaluation.metrics.PIXEL_BLOCK", 4)
    np.testing.assert_array_equal(matrix_of(prediction, truth).counts, whole)


def test_unsure_pixels_count_as_wrong():
    scores = matrix_of(mask(1, 255, 0, 255), mask(1, 1, 0, 255)).scores()
    assert scores.iou[:2] == pytest.approx((1, 1 / 2))
    assert scores.pixel_accuracy == pytest.approx(2 / 3)
    assert scores.ignore == pytest.approx(1 / 3)


def test_matrices_add_up():
    rng = np.random.default_rng(0)
    truths, predictions = rng.integers(0, 4, (2, 5, 8, 8)).astype(np.uint8)
    whole = matrix_of(predictions, truths)
    both = matrix_of(predictions[:2], truths[:2]) + matrix_of(predictions[2:], truths[2:])
    np.testing.assert_array_equal(both.counts, whole.counts)
    assert both.names == whole.names
    with pytest.raises(DataError, match="different classes cannot be added"):
        whole + ConfusionMatrix(ClassSet(("cow", "horse", "goat")))


def test_nothing_counted_is_nan_and_json_safe():
    scores = matrix_of(mask(0, 1), mask(255, 255)).scores()
    assert math.isnan(scores.miou)
    assert math.isnan(scores.pixel_accuracy)
    told = json.loads(json.dumps(scores.as_dict(), allow_nan=False))
    assert told["miou"] is None
    assert told["errors"] == dict.fromkeys(("right", "missed", "confused", "false_alarm", "ignore"))
    assert told["iou"] == {"background": None, "cow": None, "horse": None, "sheep": None}


def test_scores_print_themselves():
    lines = str(matrix_of(mask(0, 1, 1, 255), mask(0, 0, 1, 2)).scores()).splitlines()
    assert [line.split() for line in lines] == [
        ["background", "50.00"],
        ["cow", "50.00"],
        ["horse", "0.00"],
        ["sheep", "–"],
        ["mIoU", "33.33"],
        ["mean", "F1", "44.44"],
        ["pixel", "accuracy", "50.00"],
        ["right", "(TP)", "50.00"],
        ["missed", "(FN)", "0.00"],
        ["another", "class", "(FP,", "object)", "0.00"],
        ["false", "alarm", "(FP,", "background)", "25.00"],
        ["ignore", "25.00"],
    ]
    assert len({len(line) for line in lines}) == 1


def test_masks_that_cannot_be_compared():
    with pytest.raises(DataError, match=r"a prediction of \(1, 2\) and a truth of \(1, 3\)"):
        matrix_of(mask(0, 1), mask(0, 1, 2))
    with pytest.raises(DataError, match=r"the prediction holds \[4, 254\], but with 3 classes a value is 0…3 or 255"):
        matrix_of(mask(4, 254), mask(0, 0))
    with pytest.raises(DataError, match=r"the true mask holds \[9\]"):
        matrix_of(mask(0, 0), mask(9, 255))


def test_errors_are_split_by_what_became_of_each_pixel():
    counts = np.array([[50, 3, 4, 1], [5, 20, 6, 0], [7, 8, 30, 2]])  # background, two classes; last column ignore
    split = error_split(counts)
    assert (split.right, split.missed, split.confused, split.false_alarm, split.ignore) == (100, 12, 14, 7, 3)
    assert sum(astuple(split)) == counts.sum()
    shares = {"right": 100 / 136, "missed": 12 / 136, "confused": 14 / 136, "false_alarm": 7 / 136, "ignore": 3 / 136}
    assert split.shares == pytest.approx(shares)
    matrix = ConfusionMatrix(2)
    matrix.counts += counts
    assert matrix.scores().errors == split
    assert matrix.scores().as_dict()["errors"] == pytest.approx(shares)


def test_without_a_background_no_score_is_one_of_it():
    matrix = ConfusionMatrix(ClassSet(CLASSES.names, background=False))
    matrix.update(mask(1, 1, 2, 0, 3), mask(1, 2, 2, 2, 255))
    scores = matrix.scores()
    assert scores.names == ("cow", "horse", "sheep")
    assert scores.iou[:2] == (0.5, 1 / 3)
    assert math.isnan(scores.iou[2])
    assert scores.miou == pytest.approx((0.5 + 1 / 3) / 2)
    assert scores.errors.missed == 1
