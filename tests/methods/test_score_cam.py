"""Score-CAM by values computed by hand, and beside the package grad-cam where that is installed."""

import pytest
import torch
from torch import nn

from recam.errors import DataError, RecipeError
from recam.methods.score_cam import (
    ScoreCamSettings,
    channel_masks,
    min_max,
    score_cam,
    strongest,
    weigh_channels,
    weighted_map,
)

FEATURES = torch.tensor([[[0.0, 2.0], [0.0, 2.0]], [[4.0, 0.0], [0.0, 0.0]], [[3.0, 3.0], [3.0, 3.0]]])  # (3, 2, 2)
IMAGE = torch.ones(1, 2, 2)


def sums(images):
    """Two classes: the sum of the left column, and that of the right."""
    return images[:, 0].sum(1)


def test_channels_mask_by_their_range_and_a_constant_one_does_not():
    masks, used = channel_masks(FEATURES, (2, 2))
    torch.testing.assert_close(masks, torch.stack([FEATURES[0] / 2, FEATURES[1] / 4, torch.zeros(2, 2)]))
    assert used.tolist() == [True, True, False]


def test_weights_are_the_softmax_over_classes_of_the_masked_image():
    # Channel 0 leaves the right column (sum 2), channel 1 one pixel of the left.
    weights = weigh_channels(sums, IMAGE, FEATURES, [1, 0])
    e, e2 = torch.e, torch.e**2
    expected = torch.tensor([[e2 / (1 + e2), 1 / (1 + e), 0.0], [1 / (1 + e2), e / (1 + e), 0.0]])
    torch.testing.assert_close(weights, expected)


def test_other_scores_and_softmax_over_channels():
    logit = weigh_channels(sums, IMAGE, FEATURES, [0], ScoreCamSettings("logit"))
    torch.testing.assert_close(logit, torch.tensor([[0.0, 1.0, 0.0]]))
    sigmoid = weigh_channels(sums, IMAGE, FEATURES, [0], ScoreCamSettings("sigmoid"))
    torch.testing.assert_close(sigmoid, torch.tensor([[0.5, 1 / (1 + 1 / torch.e), 0.0]]))
    paper = weigh_channels(sums, IMAGE, FEATURES, [0], ScoreCamSettings("logit", channel_softmax=True))
    torch.testing.assert_close(paper, torch.tensor([[1 / (1 + torch.e), torch.e / (1 + torch.e), 0.0]]))


def test_map_is_the_min_max_of_the_weighted_sum():
    # 1·channel 0 − 1·channel 1 + channel 2: [[−1, 5], [3, 5]] → relu → min-max.
    made = weighted_map(FEATURES, torch.tensor([[1.0, -1.0, 1.0]]), (2, 2))
    torch.testing.assert_close(made, torch.tensor([[[0.0, 1.0], [0.6, 1.0]]]))
    assert torch.equal(weighted_map(FEATURES, torch.zeros(1, 3), (2, 2)), torch.zeros(1, 2, 2)), "a constant sum is 0"
    torch.testing.assert_close(min_max(torch.full((1, 2, 2), 7.0)), torch.zeros(1, 2, 2))


def test_batches_change_nothing_and_the_strongest_are_those_of_highest_mean():
    one, all_at_once = (weigh_channels(sums, IMAGE, FEATURES, [0, 1], batch=batch) for batch in (1, 8))
    torch.testing.assert_close(one, all_at_once)
    assert strongest(FEATURES, 2).tolist() == [0, 2] or strongest(FEATURES, 2).tolist() == [1, 2]
    few = weigh_channels(sums, IMAGE, FEATURES, [1], ScoreCamSettings(top_channels=1))
    assert few.tolist() == [[0.0, 0.0, 0.0]], "the strongest channel is the constant one, which says nothing"


def test_only_constant_channels_give_empty_maps():
    made = score_cam(sums, IMAGE, FEATURES[2:], [0], settings=ScoreCamSettings("logit", channel_softmax=True))
    assert torch.equal(made, torch.zeros(1, 2, 2))


def test_what_is_refused():
    with pytest.raises(RecipeError, match="top_channels must be at least 1"):
        ScoreCamSettings(top_channels=0)
    with pytest.raises(DataError, match="one image at a time"):
        score_cam(sums, IMAGE[None], FEATURES, [0])
    with pytest.raises(DataError, match="NaN or inf"):
        score_cam(lambda images: sums(images) / 0, IMAGE, FEATURES, [0], settings=ScoreCamSettings("logit"))


def test_the_package_grad_cam_finds_the_same_place():
    """Another definition (see the golden cases for its arithmetic), so the maps agree in where they are high."""
    package = pytest.importorskip("pytorch_grad_cam", reason="grad-cam is not installed")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    torch.manual_seed(0)
    layer = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU())
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    network = nn.Sequential(layer, head).eval()
    image = torch.zeros(3, 24, 32)
    image[:, 6:14, 18:28] = 2
    with package.ScoreCAM(network, [layer]) as theirs:
        found = torch.from_numpy(theirs(image[None], [ClassifierOutputTarget(2)])[0])
    features = layer(image[None])[0].detach()
    ours = score_cam(network, image, features, [2], settings=ScoreCamSettings("logit", channel_softmax=True))[0]
    assert torch.corrcoef(torch.stack([found.flatten(), ours.flatten()]))[0, 1] > 0.99
