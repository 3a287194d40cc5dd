"""NSROM by hand: potential objects by their medians, the second round's masks, and the graph's arithmetic."""

import numpy as np
import pytest
import torch

from recam.errors import DataError
from recam.methods import nsrom
from recam.methods.nsrom import NsromMaskSettings, NsromRoundSettings
from recam.types import SeedMaps


def plane(*rows):
    return np.array(rows, np.float32)


def test_the_threshold_of_a_class_that_is_shown_is_its_median():
    attention = plane([0.2, 0.4, 0.8, 0.6])
    shown = np.array([[True, True, False, True]])
    assert nsrom.potential_threshold(attention, shown, NsromMaskSettings()) == pytest.approx(0.4)
    even = np.array([[True, False, False, True]])
    assert nsrom.potential_threshold(attention, even, NsromMaskSettings()) == pytest.approx(0.4)


def test_the_threshold_of_a_class_without_a_label_is_a_median_of_the_highest():
    nothing = np.zeros((1, 5), bool)
    # Above 0.3: 0.4, 0.6, 0.8, of median 0.6; above that: 0.8 alone. Of four, above 0.65: 0.7 and 0.9.
    assert nsrom.potential_threshold(plane([0.1, 0.4, 0.6, 0.8, 0.2]), nothing, NsromMaskSettings()) == pytest.approx(
        0.8
    )
    assert nsrom.potential_threshold(plane([0.4, 0.6, 0.7, 0.9, 0.1]), nothing, NsromMaskSettings()) == pytest.approx(
        0.8
    )
    assert nsrom.potential_threshold(plane([0.5, 0.5, 0.5, 0, 0]), nothing, NsromMaskSettings()) == 1
    assert nsrom.potential_threshold(plane([0.1, 0.2, 0.3, 0, 0]), nothing, NsromMaskSettings()) == 1
    low = NsromMaskSettings(potential=0.0)
    assert nsrom.potential_threshold(plane([0.1, 0.2, 0.3, 0, 0]), nothing, low) == pytest.approx(0.3)


def test_background_with_high_attention_is_ignored():
    cams, first = plane([1, 0.8, 0, 0])[None], plane([0.5, 0.3, 0.6, 0.1])[None]
    saliency = plane([1, 1, 0, 0])
    # Stretched the first one's are 0.8, 0.4, 1, 0: the median of the two that the mask shows is 0.6.
    mask = nsrom.potential_mask(cams, first, [4], saliency)
    assert mask.tolist() == [[5, 5, 255, 0]]
    assert nsrom.potential_mask(cams, np.zeros_like(first), [4], saliency).tolist() == [[5, 5, 0, 0]]
    with pytest.raises(DataError, match="must be alike"):
        nsrom.potential_mask(cams, first[:, :, :2], [4], saliency)


def test_a_square_reaches_further_before_than_behind():
    point = np.zeros((1, 9), bool)
    point[0, 4] = True
    assert np.flatnonzero(nsrom.widen(point, 4)).tolist() == [3, 4, 5, 6]
    assert np.flatnonzero(nsrom.widen(point, 3)).tolist() == [3, 4, 5]
    assert nsrom.widen(point, 1).tolist() == point.tolist()


def test_the_second_round_by_hand():
    prediction = np.array([[0, 1, 0, 0, 0, 0, 0, 0]], np.uint8)
    pseudo = np.array([[0, 2, 2, 255, 0, 0, 0, 0]], np.uint8)
    saliency = plane([0, 0, 0, 0, 0, 0, 0, 0.2])
    near = NsromRoundSettings(reach=3)
    # Class 2 is taken where nothing was predicted; what is not beside an object or a salient pixel is ignored.
    mask = nsrom.second_round_mask(prediction, pseudo, saliency, 2, near)
    assert mask.tolist() == [[0, 1, 2, 0, 255, 255, 0, 0]]
    assert nsrom.second_round_mask(prediction, pseudo, saliency, 1, near).tolist() == prediction.tolist()
    dull = NsromRoundSettings(reach=3, salient=0.5)
    assert nsrom.second_round_mask(prediction, pseudo, saliency, 2, dull).tolist() == [[0, 1, 2, 0, 255, 255, 255, 255]]
    few = NsromRoundSettings(reach=3, least_objects=0.3)
    assert (nsrom.second_round_mask(prediction, pseudo, saliency, 2, few) == 255).all()
    assert prediction.tolist() == [[0, 1, 0, 0, 0, 0, 0, 0]], "what it was given has changed"
    with pytest.raises(DataError, match="must be of one size"):
        nsrom.second_round_mask(prediction, pseudo[:, :3], saliency, 2)


def test_a_round_decides_on_what_was_ignored_but_not_where_there_are_no_data():
    maps = np.zeros((2, 2, 4), np.float32)
    maps[0, :, :2] = 1
    ignore = np.zeros((2, 4), bool)
    ignore[:, 2:] = True
    seed = SeedMaps(maps, np.array([3, 7]), (2, 4), ignore)
    predicted = np.zeros((2, 2, 4), np.float32)
    predicted[1, :, 2:] = 1
    empty = np.zeros((2, 4), bool)
    empty[0, 3] = True
    refiner = nsrom.NsromRoundRefiner(
        lambda image, seed: SeedMaps(predicted, seed.class_indices, seed.size),
        lambda image: np.ones((2, 4), np.float32),
        without_data=lambda image: empty,
    )
    made = refiner(np.zeros((2, 4, 3), np.uint8), seed)
    assert made.maps[:, 1].tolist() == [[1, 1, 0, 0], [0, 0, 1, 1]]
    assert made.ignore.tolist() == empty.tolist()


def test_graph_reasoning_by_hand():
    """One node: state 2 × hw, projection 1 × hw, each of a feature of one channel."""
    graph = nsrom.GraphReasoning(type("Features", (), {"channels": 1}), 3, nodes=1).eval()
    values = {
        "state.weight": [[2.0], [-1.0]], "state.bias": [0.0, 1.0], "project.weight": [[1.0]], "project.bias": [0.0],
        "between.weight": [[0.5]], "between.bias": [1.0], "within.weight": [[1.0, 0.0], [1.0, 1.0]],
        "extend.weight": [[1.0, 2.0]],
    }  # fmt: skip
    for name, value in values.items():
        parameter = graph.get_parameter(name)
        parameter.data = torch.tensor(value).view(parameter.shape)
    features = torch.tensor([1.0, 3.0]).view(1, 1, 1, 2)
    # S = (2, 6), (0, −2); P = (1, 3); V = 20, −6; V + W V + b = 31, −8 → 31, 0; R = 31, 31; each position 93 P.
    wanted = [1 + 93 / (1 + 1e-4) ** 0.5, 3 + 279 / (1 + 1e-4) ** 0.5]
    assert graph(features).flatten().tolist() == pytest.approx(wanted)
