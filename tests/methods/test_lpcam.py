import pytest
import torch

from recam.errors import DataError, RecipeError
from recam.methods.lpcam import (
    LpcamSettings,
    Prototypes,
    draw_rows,
    find_prototypes,
    make_lpcams,
    mean_similarity,
    prototype_map,
    select_context,
    select_prototypes,
    split_features,
)

NONE = torch.zeros(0, 2)
FEATURES = torch.tensor([[[3.0, 0.0]], [[0.0, 2.0]]])  # (2, 1, 2): (3, 0) and (0, 2)


def test_similarity_is_the_mean_cosine():
    centers = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    half = 0.5**0.5
    torch.testing.assert_close(mean_similarity(FEATURES, centers), torch.tensor([[(1 + half) / 2, half / 2]]))
    torch.testing.assert_close(mean_similarity(torch.zeros(2, 1, 1), centers), torch.zeros(1, 1))


def test_context_is_taken_away_and_only_then_negative_values_are_cut():
    centers = torch.tensor([[1.0, 0.0]])
    torch.testing.assert_close(prototype_map(-FEATURES, Prototypes(centers, NONE)), torch.tensor([[-1.0, 0.0]]))
    context = Prototypes(centers, torch.tensor([[0.0, 1.0]]))
    torch.testing.assert_close(prototype_map(FEATURES, context), torch.tensor([[1.0, 0.0]]))


def test_maps_add_the_mirror_and_have_a_maximum_of_one():
    both = torch.stack([FEATURES, torch.zeros_like(FEATURES)])
    maps = make_lpcams([both], [Prototypes(torch.tensor([[1.0, 0.0]]), NONE)], (4, 8))
    torch.testing.assert_close(maps, torch.tensor([[[1.0, 0.0]]]))
    alone = make_lpcams([FEATURES[None]], [Prototypes(torch.tensor([[1.0, 0.0]]), NONE)], (4, 8))
    torch.testing.assert_close(alone, maps)
    dark = make_lpcams([both], [Prototypes(torch.tensor([[-1.0, 0.0]]), NONE)], (4, 8))
    assert torch.equal(dark, torch.zeros(1, 1, 2)), "a class that nothing is similar to has no map, not a mirrored one"
    assert make_lpcams([both], [], (4, 8)).shape == (0, 1, 2)


def test_features_are_split_by_the_nearest_pixel_of_the_map():
    cam = torch.tensor([[0.5, 0.9, 0.1, 0.9], [0.9, 0.9, 0.9, 0.9]])
    inside, outside = split_features(FEATURES, cam, 0.4)
    assert inside.tolist() == [[3.0, 0.0]]
    assert outside.tolist() == [[0.0, 2.0]]
    inside, outside = split_features(FEATURES, cam, 0.5)
    assert not len(inside), "a feature at the threshold belongs to neither side"
    assert len(outside) == 1


def test_centres_are_chosen_by_the_probability_of_the_class():
    p = torch.tensor([0.95, 0.5, 0.05, 0.9])
    assert select_prototypes(p, 0.9).tolist() == [True, False, False, False]
    assert select_prototypes(p, 0.99).tolist() == [True, False, False, False], "the best where none passes"
    assert select_context(p, (0.05, 0.9)).tolist() == [False, True, False, False]


def test_prototypes_of_a_class_and_what_stands_in_for_them():
    weight = torch.tensor([[4.0, 0.0], [0.0, 4.0]])
    inside = torch.tensor([[2.0, 0.1], [2.0, 0.0], [0.1, 2.0]])
    outside = torch.tensor([[1.0, 0.9], [0.0, 3.0]])
    found = find_prototypes(inside, outside, weight, 0, LpcamSettings(clusters=2))
    torch.testing.assert_close(found.centers, torch.tensor([[2.0, 0.05]]))
    torch.testing.assert_close(found.context, torch.tensor([[1.0, 0.9]]))
    nothing = find_prototypes(NONE, NONE, weight, 1)
    assert nothing.centers.tolist() == [[0.0, 4.0]]
    assert nothing.context.shape == (0, 2)


def test_rows_are_drawn_evenly_and_alike_for_a_seed():
    rows = torch.arange(200.0)[:, None]
    some = draw_rows(rows, 50, seed=1)
    assert torch.equal(some, draw_rows(rows, 50, seed=1))
    assert torch.equal(some, some.sort(0).values)
    assert 60 < float(some.mean()) < 140
    assert draw_rows(rows, None, 0) is rows


def test_what_is_refused():
    with pytest.raises(RecipeError, match=r"clusters must be at least 1.*context is \(low, high\)"):
        LpcamSettings(clusters=0, context=(0.9, 0.1))
    with pytest.raises(DataError, match="no features"):
        make_lpcams([], [], (4, 4))
    with pytest.raises(DataError, match="NaN or inf"):
        make_lpcams([FEATURES[None] / 0], [Prototypes(torch.ones(1, 2), NONE)], (4, 8))
