"""CLIP-ES on plain tensors, by hand."""

import pytest
import torch

from recam.errors import DataError, RecipeError
from recam.methods.clip_es import (
    ClipEsSettings,
    draw_boxes,
    grad_cam,
    score_texts,
    spread_within_boxes,
    stretch_each,
    write_texts,
)


def test_texts_name_classes_by_other_words_and_never_as_background():
    found = write_texts(["person", "Road"], {"person": "people,human"}, ["road", "sky"], "a photo of {}.")
    assert found == ["a photo of people,human.", "a photo of Road.", "a photo of sky."]
    with pytest.raises(RecipeError, match=r"template must hold \{\} once, and no other brace, got 'a cat'"):
        ClipEsSettings(template="a cat")
    with pytest.raises(RecipeError, match="no other brace"):
        ClipEsSettings(template="{} {0}")


def test_scores_are_the_softmax_of_cosines():
    texts = torch.tensor([[3.0, 0.0], [0.0, 0.5]])
    scores = score_texts(torch.tensor([0.0, 2.0]), texts, torch.log(torch.tensor(3.0)))
    torch.testing.assert_close(scores, torch.tensor([0.25, 0.75]))  # e^0 : e^(log 3)


def test_grad_cam_by_hand():
    tokens = torch.tensor([[[9.0, 9.0], [1.0, 0.0], [0.0, 2.0], [3.0, 3.0]]], requires_grad=True)
    mean = tokens[0, 1:].mean(0)
    scores = torch.stack([mean[0], mean[1] - mean[0], mean[0] * 0])
    # Weights (1, 0) / 3 and (−1, 1) / 3 on patches (1, 0), (0, 2), (3, 3); then from 0 to 1.
    torch.testing.assert_close(grad_cam(tokens, scores, 2, (1, 3)), torch.tensor([[[1 / 3, 0, 1]], [[0, 1, 0.0]]]))
    assert grad_cam(tokens, scores, 0, (1, 3)).shape == (0, 1, 3)
    with pytest.raises(DataError, match=r"tokens \(1, 4, 2\) are not 1 \+ 2×2"):
        grad_cam(tokens, scores, 1, (2, 2))


def test_what_competes_in_the_softmax_changes_the_map():
    """A patch that looks like the background text as well counts for less."""
    tokens = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]], requires_grad=True)
    mean = tokens[0, 1:].mean(0)  # (1, 0.5): as a logit of each text
    alone, beside = mean[0], mean.softmax(0)[0]
    torch.testing.assert_close(grad_cam(tokens, alone[None], 1, (1, 2)), torch.zeros(1, 1, 2))  # no difference
    torch.testing.assert_close(grad_cam(tokens, beside[None], 1, (1, 2)), torch.tensor([[[1.0, 0.0]]]))


def test_maps_without_differences_stay_finite():
    torch.testing.assert_close(stretch_each(torch.full((1, 2, 2), 0.7)), torch.zeros(1, 2, 2))


def test_boxes_lie_around_connected_parts():
    high = torch.zeros(2, 4, 6, dtype=torch.bool)
    high[0, 0, 0] = high[0, 1, 1] = high[0, 2, 0] = True  # joined by corners
    high[0, 3, 5] = True
    expected = torch.zeros(2, 4, 6, dtype=torch.bool)
    expected[0, :3, :2] = expected[0, 3, 5] = True
    assert torch.equal(draw_boxes(high), expected)


def test_maps_spread_from_within_boxes_alone():
    """Three patches; the last one's value, low in the map, is left behind."""
    attention = torch.full((4, 4), 0.25)
    attention[1:, 1:] = torch.tensor([[0.5, 0.25, 0.0], [0.25, 0.25, 0.25], [0.0, 0.25, 0.5]])
    maps = torch.tensor([[[1.0, 0.0, 0.3]]])
    own = ClipEsSettings(steps=1, box=0.4)
    spreaded = spread_within_boxes(maps, attention, own)
    assert spreaded[0, 0, 0] == pytest.approx(1, abs=1e-5)
    assert 0 < spreaded[0, 0, 1] < 1
    assert spreaded[0, 0, 2] == 0  # nothing of the first reaches it in one step
    alone = torch.eye(4)  # each patch attends to itself: nothing moves, and what a box holds stays
    torch.testing.assert_close(spread_within_boxes(maps, alone, own), torch.tensor([[[1.0, 0.0, 0.0]]]))
    torch.testing.assert_close(spread_within_boxes(maps, alone, ClipEsSettings(box=0.2)), maps)
    assert torch.equal(spread_within_boxes(maps, attention, ClipEsSettings(steps=0)), maps)
    assert spread_within_boxes(maps[:0], attention, own).shape == (0, 1, 3)
