import pytest
import torch

from recam.errors import DataError, RecipeError
from recam.methods import seam
from recam.methods.seam import SeamSettings
from recam.models.backbones import BackboneSettings
from recam.pipeline.training import make_training
from recam.recipe.recipe import load_recipe


def planes(*rows):
    return torch.tensor(rows)[None, :, None]  # (1, C, 1, positions)


def test_stretch_by_hand():
    stretched = seam.stretch(planes([-1.0, 1, 3], [-2.0, -1, 0], [2.0, 4, 6]))
    torch.testing.assert_close(stretched, planes([0, 1 / 3, 1], [0.0, 0, 0], [0.0, 0.5, 1]), atol=1e-4, rtol=0)


def test_the_largest_class_keeps_its_value_and_the_background_is_left_alone():
    kept = seam.keep_largest(planes([0.1, 0.9], [0.5, 0.2], [0.4, 0.2]))
    assert kept.equal(planes([0.1, 0.9], [0.5, 0.2], [0.0, 0.2]))


def test_seeds_by_hand():
    seeds = seam.seed_maps(planes([4.0, 1, -3], [0.0, 2, 1]))
    expected = planes([0.0, 0, 0.5], [1.0, 0, 0], [0.0, 1, 0.5])
    torch.testing.assert_close(seeds, expected, atol=1e-4, rtol=0)
    assert not seam.seed_maps(planes([1.0, 2]).requires_grad_()).requires_grad


def test_weakest_quarter_by_hand():
    maps = planes([0.5, 3, 2, 0.1, 5, 1, 4, 7], [0.0, 0, 2.5, 0.2, 0, 1, 0, 0])
    assert seam.smallest_scores(maps).item() == pytest.approx((0.2 + 0.5) / 2)
    assert seam.smallest_scores(maps[..., :3]).item() == 0


def test_positions_of_like_features_share_a_value():
    features = planes([1.0, 2, 0], [0.0, 0, 1])  # the first two point the same way, the third at a right angle
    refined = seam.correlate(planes([1.0, 0, 0.6]), features)
    torch.testing.assert_close(refined, planes([0.5, 0.5, 0.6]), atol=1e-4, rtol=0)


def test_correlation_wants_one_size():
    with pytest.raises(DataError, match="must be of one size"):
        seam.correlate(torch.zeros(1, 2, 3, 3), torch.zeros(1, 4, 3, 2))


def test_equal_views_leave_classification_alone():
    """Maps that are equivariant already: 0 where the object is not, and its maximum where it is."""
    maps = torch.zeros(1, 2, 8, 8)
    maps[0, 0, :4] = 1
    refined = seam.with_background(maps)
    settings = SeamSettings(lower_weakest=False)
    loss = seam.seam_loss((maps, maps), (refined, refined), torch.tensor([[1, 0]]), settings)
    assert loss.er.item() == 0
    assert max(loss.ecr).item() < 1e-3
    assert loss.total.item() == pytest.approx(loss.logistic[0].item(), abs=1e-3)


def test_weights_multiply_their_losses():
    torch.manual_seed(0)
    maps = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 4, 4)
    refined = torch.rand(2, 4, 8, 8), torch.rand(2, 4, 4, 4)
    labels = torch.eye(2, 3)
    loss = seam.seam_loss(maps, refined, labels, SeamSettings(er_weight=3, ecr_weight=0.5))
    torch.testing.assert_close(loss.total, loss.classification + 3 * loss.er + 0.5 * sum(loss.ecr))


@pytest.mark.parametrize("wrong", [{"scale": 1.0}, {"scale": 0.0}, {"hardest": 0.0}])
def test_settings_that_make_no_second_view_are_refused(wrong):
    with pytest.raises(RecipeError, match="SEAM"):
        SeamSettings(**wrong)


def test_recam_starts_from_it_without_its_correlation_module():
    own = {"recam.starts_from": "seam", "backbone.name": "test_resnet", "backbone.weights": "none"}
    recipe = load_recipe("tiny", own)
    training = make_training(recipe, "recam")
    network = training.network(recipe.section(BackboneSettings).make(), 3)
    assert list(network.heads) == ["fc2"]
    assert list(training.base.network(recipe.section(BackboneSettings).make(), 3).heads) == ["pcm"]
