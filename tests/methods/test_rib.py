import pytest
import torch

from recam.errors import DataError, RecipeError
from recam.methods.rib import RibSettings, gndrp, has_spread, learn, make_rib_maps, rib_loss, weights_kept

MAPS = torch.tensor(
    [[[[4.0, 1.0], [-2.0, 2.0]], [[4.0, 1.0], [-2.0, 2.0]], [[-1.0, -2.0], [-3.0, -4.0]]]]
)  # (1, 3, 2, 2)
LABELS = torch.tensor([[1.0, 0.0, 1.0]])


def test_pooling_leaves_discriminative_positions_out_and_divides_by_all():
    # Present: 1 − 2 of four positions, as 2 = 0.5 · max. Absent: the mean. Without a positive value: nothing.
    assert gndrp(MAPS, LABELS, 0.5).tolist() == [[-0.25, 1.25, 0.0]]
    assert gndrp(MAPS, LABELS, 0.51).tolist() == [[0.25, 1.25, 0.0]]


def test_gradient_flows_into_pooled_positions_alone():
    maps = MAPS.clone().requires_grad_()
    loss, target = rib_loss(gndrp(maps, LABELS, 0.5), LABELS, 1)
    loss.backward()
    assert (loss.item(), target.item()) == (0.25, -0.25)
    assert maps.grad[0, 0].tolist() == [[0.0, -0.25], [-0.25, 0.0]]
    assert not maps.grad[0, 1:].any()


def test_spread_counts_positions_where_any_map_is_high():
    maps = torch.tensor([[[1.0, 0.0], [0.0, 0.0]], [[0.0, 5.0], [4.0, 0.0]]])
    assert has_spread(maps, 0.3, 0.7)
    assert not has_spread(maps, 0.3, 0.75)
    assert not has_spread(torch.zeros(2, 2, 2), 0.3, 0.0)


class Linear:
    """Signed maps w · x of images with one channel, one class."""

    def __init__(self):
        self.weight = torch.ones(1, 1, 1, 1, requires_grad=True)

    def __call__(self, images):
        return images * self.weight


def run(others=lambda step: None, **changed):
    network = Linear()
    pair = torch.tensor([[4.0, 1.0]]).expand(2, 1, 1, 2).clone()
    pair[1] = pair[1].flip(-1)
    settings = RibSettings(**{"steps": 2, "lr": 0.1, "weight_decay": 0.0, "momentum": 0.0, "stop_score": 9.0} | changed)
    group = {"params": [network.weight], "lr": settings.lr}
    with weights_kept([network.weight]):
        result = learn(network, [group], [pair, pair], (1.0, 0.5), [0], 1, others, settings)
        learned = network.weight.item()
    assert network.weight.item() == 1.0
    assert network.weight.grad is None
    return result, learned


def test_steps_climb_the_pooled_logits_and_maps_are_those_before_the_update():
    result, learned = run()
    # Pooled: (0 + w) / 2 for image and mirror each; the gradient of their sum is 1; rates 0.1 and 0.1 · 0.5^0.9.
    assert result.target_scores == pytest.approx([1.0, 1.1])
    assert learned == pytest.approx(1 + 0.1 + 0.1 * 0.5**0.9)
    assert result.maps[0][0].tolist() == [[[8.0, 2.0]]]
    torch.testing.assert_close(result.maps[1][0], torch.tensor([[[8.8, 2.2]]]))
    torch.testing.assert_close(result.sums[1], torch.tensor([[[16.8, 4.2]]]))
    assert [len(rows) for rows in result.logits] == [2, 2], "scale 0.5 is added but not learned from"
    assert result.stopped == ""


def test_others_learn_with_their_own_labels():
    images = torch.tensor([[[[6.0, 2.0]]], [[[6.0, 2.0]]]])
    result, learned = run(lambda step: (images, torch.tensor([[1.0], [0.0]])), steps=1)
    # The first pools 2 / 2; the second does not have the class and takes no part in the loss.
    assert result.losses == pytest.approx([-2.0])
    assert learned == pytest.approx(1.2)
    assert result.logits[0].flatten().tolist() == pytest.approx([0.5, 0.5, 1.0, 4.0])


def test_it_ends_by_score_after_the_update_and_by_spread_before():
    result, learned = run(stop_score=0.9)
    assert (result.stopped, len(result.maps), learned) == ("score", 1, pytest.approx(1.1))
    result, learned = run(spread_threshold=0.2, spread_share=0.9)
    assert (result.stopped, len(result.losses), learned) == ("spread", 1, pytest.approx(1.1))
    assert [len(step) for step in result.maps] == [2, 1], "the map that has spread is added already"


def test_maps_of_all_scales_are_added_and_normalised():
    made = make_rib_maps([torch.tensor([[[2.0, 0.0]]]), torch.tensor([[[0.0, 1.0]]])], (4, 8))
    torch.testing.assert_close(made, torch.tensor([[[1.0, 0.5]]]), rtol=0, atol=1e-4)
    with pytest.raises(DataError, match="learning rate is too high"):
        make_rib_maps([torch.full((1, 1, 1), float("nan"))], (4, 4))


def test_what_is_refused():
    with pytest.raises(RecipeError, match=r"steps must be at least 1.*threshold must be in \[0, 1\].*lr must be ≥ 0"):
        RibSettings(steps=0, threshold=2, lr=-1)
    with pytest.raises(DataError, match="1 pairs for 2 scales"):
        learn(
            Linear(), [{"params": [torch.ones(1)], "lr": 1}], [torch.ones(2, 1, 1, 1)], (1, 2), [0], 1, lambda s: None
        )
