import math

import numpy as np
import pytest
import torch

from recam.errors import DataError
from recam.methods import oaa


def planes(*rows):
    return torch.tensor(rows)[:, None]  # (n, 1, positions)


def test_a_class_counts_where_it_is_among_as_many_as_the_image_has():
    logits = torch.tensor([[3.0, 1, 2, -1], [0.0, 5, 4, 3]])
    labels = torch.tensor([[1.0, 1, 0, 0], [1, 0, 0, 0]])
    assert oaa.predicted(logits, labels).tolist() == [[True, False, False, False], [False] * 4]
    assert oaa.predicted(logits, labels * 0).sum() == 0


def test_the_maximum_of_what_was_predicted():
    stored, known = torch.zeros(3, 1, 3, dtype=torch.uint8), torch.zeros(3, dtype=torch.bool)
    first = planes([2.0, 1, -4], [1.0, 1, 1], [-1.0, -2, -3])
    stored, known = oaa.accumulate(stored, known, first, torch.tensor([True, False, True]))
    assert known.tolist() == [True, False, True]
    assert stored[:, 0].tolist() == [[255, 128, 0], [0, 0, 0], [0, 0, 0]]  # 127.5 goes to the even number
    second = planes([1.0, 3, 1.5], [0.0, 4, 1], [1.0, 0, 0])
    stored, known = oaa.accumulate(stored, known, second, torch.tensor([True, True, False]))
    assert known.tolist() == [True, True, True]
    assert stored[:, 0].tolist() == [[255, 255, 128], [0, 255, 64], [0, 0, 0]]


def test_the_older_rule_stretches_before_each_maximum():
    stored = torch.tensor([[[100, 50, 150]]], dtype=torch.uint8)  # 0.5, 0, 1 stretched
    merged, _ = oaa.accumulate(stored, torch.tensor([True]), planes([2.0, 3, 2]), torch.tensor([True]), "caffe")
    assert merged.tolist() == [[[127, 255, 254]]]  # 127.5 old, 255 new, just below 255 old


def test_integral_loss_by_hand():
    scores, targets = torch.tensor([0.0, 2, 0, -1])[None, :, None, None], torch.tensor([1.0, 0.5, 0, 1e-4])
    targets = targets[None, :, None, None]
    inside = (math.log(2) + 0.5 * math.log1p(math.exp(-2))) / 2
    outside = (math.log(2) + math.log1p(math.exp(-1))) / 2
    assert oaa.integral_loss(scores, targets).item() == pytest.approx(inside + outside)
    assert oaa.integral_loss(scores, targets * 0).item() == pytest.approx(
        (2 * math.log(2) + math.log1p(math.exp(2)) + math.log1p(math.exp(-1))) / 4
    )


def test_masks_by_saliency_by_hand():
    cams = np.array([[[1.0, 0.6, 0.0, 0.95, 0.5, 0.0]], [[0.0, 0.0, 0.0, 1.0, 0.0, 0.85]]], np.float32)
    pale = np.array([[0.9, 0.5, 0.0, 0.9, 0.2, 0.05]], np.float32)
    # Class 3, class 3 over background 0.5, background, both classes sure, salient background, background with a map.
    assert oaa.saliency_mask(cams, [2, 7], pale).tolist() == [[3, 3, 0, 255, 255, 255]]
    ignored = oaa.OaaMaskSettings(least_objects=0.5)
    assert oaa.saliency_mask(cams, [2, 7], pale, ignored).tolist() == [[255] * 6]
    assert oaa.saliency_mask(cams[:0], [], pale, oaa.OaaMaskSettings(least_objects=0)).tolist() == [
        [255, 255, 0, 255, 255, 0]
    ]


def test_what_does_not_fit_is_refused():
    stored = torch.zeros(1, 2, 2, dtype=torch.uint8)
    with pytest.raises(DataError, match=r"stored maps \(1, 2, 2\) torch.uint8 and new ones \(1, 2, 3\)"):
        oaa.accumulate(stored, torch.ones(1).bool(), torch.zeros(1, 2, 3), torch.ones(1).bool())
    with pytest.raises(DataError, match=r"targets \(1, 1, 2, 3\) are not those of scores"):
        oaa.integral_loss(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 3))
    with pytest.raises(DataError, match="make it for the same images"):
        oaa.saliency_mask(np.zeros((1, 2, 2), np.float32), [0], np.zeros((2, 3), np.float32))
