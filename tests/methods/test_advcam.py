import re

import pytest
import torch
from torch import nn

from recam.errors import DataError, RecipeError
from recam.methods import advcam, cam
from recam.methods.advcam import AdvCamSettings, climb, make_advcams, scale_plan

K, D = 4, 6


def backbone(seed=0, channels=D):
    """Two strided convolutions in double precision, so that batches of different sizes agree to the last digits."""
    torch.manual_seed(seed)
    layers = nn.Sequential(nn.Conv2d(3, 5, 3, 2, 1), nn.ReLU(), nn.Conv2d(5, channels, 3, 2, 1), nn.ReLU())
    return layers.double().requires_grad_(False)


def weights(seed=1):
    return torch.randn(K, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def image_pair(size=(17, 22), seed=2):
    image = torch.randn(3, *size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.stack([image, image.flip(-1)])  # (2, 3, H, W)


def test_closed_form_equals_the_map_made_with_autograd():
    weight, k = weights(), 2
    features = (
        torch.randn(2, D, 5, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    ).requires_grad_()
    logits = cam.class_maps(features, weight)  # (2, K, 5, 6)
    assert (logits[:, k] > 0).any(), "a case without positive logits proves nothing"
    assert (logits[:, k] < 0).any()
    (gradient,) = torch.autograd.grad(logits[:, k].relu().sum(), features)  # (2, D, 5, 6)
    of_features = gradient.sum((2, 3), keepdim=True) / (gradient > 0).sum()
    printed = (features * of_features).sum(1).relu()  # (2, 5, 6)

    target = logits[None, :, k]  # (1, 2, 5, 6)
    ours = target.relu() * advcam.map_scale(target, weight[[k]])[:, :, None, None]
    torch.testing.assert_close(ours[0], printed)


def test_map_scale_by_hand():
    target = torch.tensor([[[[1.0, -1.0, 2.0]], [[0.0, 3.0, -1.0]]]])  # (1, 2, 1, 3): 2 and 1 positive positions
    rows = torch.tensor([[1.0, -1.0, 2.0, 3.0]])  # 3 positive weights, so 3 · (2 + 1) = 9 positive entries
    torch.testing.assert_close(advcam.map_scale(target, rows), torch.tensor([[2 / 9, 1 / 9]]))
    assert torch.equal(advcam.map_scale(-target.abs(), rows), torch.zeros(1, 2))


def test_one_step_by_hand():
    """Pixels are features (identity backbone), so the gradient can be written down."""
    weight = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])
    image = torch.tensor([[[0.5, -1.0]], [[1.0, 0.0]], [[0.0, 2.0]]])  # (3, 1, 2)
    pair = torch.stack([image, image.flip(-1)])[None]
    result = climb(lambda images: images * 1.0, pair, [0], weight, AdvCamSettings(steps=1, step_size=0.1))

    # y_0 = 0.5 / 2 and y_1 = 1 / 2, for image and mirror image; nothing has changed yet.
    torch.testing.assert_close(result.objective, torch.tensor([[2 * (0.25 - 0.5)]]))
    # One positive weight, one positive position in each of two images: 0.5 · 1/2, from both.
    torch.testing.assert_close(result.cam_per_step, torch.tensor([[[[0.5, 0.0]]]]))
    # The class's channel rises where its logit is positive, the other's falls, the third has no weight.
    moved = torch.tensor([[[0.6, -1.0]], [[0.9, 0.0]], [[0.0, 2.0]]])
    torch.testing.assert_close(result.final_images[0], torch.stack([moved, moved.flip(-1)]))


def test_restriction_holds_regions_found_already():
    free, held = (
        climb(backbone(), image_pair()[None], [1], weights(), AdvCamSettings(steps=6, mu=mu)).cam_per_step[:, 0]
        for mu in (0.0, 100.0)
    )
    assert torch.equal(free[0], held[0])
    found = held[0] > 0.5 * held[0].max()
    assert found.any()
    assert (held[-1] - held[0])[found].abs().sum() < 0.5 * (free[-1] - free[0])[found].abs().sum()


def test_gradient_of_objective_treats_map_weights_and_mask_as_constants():
    weight, pairs = weights(), image_pair()[None].clone()
    features_of, settings = backbone(), AdvCamSettings(steps=2)
    result = climb(features_of, pairs, [3], weight, settings)

    images = climb(features_of, pairs, [3], weight, AdvCamSettings(steps=1)).final_images[0].requires_grad_()
    logits = cam.class_maps(features_of(images), weight)
    target = logits[:, 3].relu()
    scale = advcam.map_scale(logits[None, :, 3], weight[[3]])[0]
    maps = scale[0] * target[0] + scale[1] * target[1].flip(-1)
    mask = (maps / maps.max()).detach() > 0.5
    y = logits.relu().mean((2, 3)).sum(0)
    objective = 2 * y[3] - y.sum() - 7 * ((maps - result.cam_per_step[0, 0]).abs() * mask).sum()
    (gradient,) = torch.autograd.grad(objective, images)
    moved = images.detach() + 0.08 * gradient / gradient.abs().max()

    torch.testing.assert_close(result.objective[1, 0], objective.detach())
    torch.testing.assert_close(result.final_images[0], moved.clamp(images.min(), images.max()))


def test_classes_as_a_batch_equal_one_at_a_time():
    pair, targets = image_pair(), [0, 2, 3]
    # Pairs of different ranges: a range or a gradient maximum shared over the batch would show.
    pairs = torch.stack([pair, 0.5 * pair, 2 * pair + 1])
    batch = climb(backbone(), pairs, targets, weights(), AdvCamSettings(steps=5))
    for index, target in enumerate(targets):
        alone = climb(backbone(), pairs[[index]], [target], weights(), AdvCamSettings(steps=5))
        torch.testing.assert_close(batch.cam_per_step[:, [index]], alone.cam_per_step, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(batch.objective[:, [index]], alone.objective, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(batch.final_images[[index]], alone.final_images, rtol=1e-10, atol=1e-12)


def test_one_forward_and_one_backward_a_step_and_no_gradient_of_parameters():
    features_of, calls = backbone().requires_grad_(), {"forward": 0, "backward": 0}
    features_of.register_forward_hook(lambda *_: calls.update(forward=calls["forward"] + 1))
    features_of[2].register_full_backward_hook(lambda *_: calls.update(backward=calls["backward"] + 1))
    pairs = image_pair().expand(2, -1, -1, -1, -1)
    with torch.no_grad():  # as a pipeline stage may run
        result = climb(features_of, pairs, [0, 1], weights(), AdvCamSettings(steps=4))
    assert calls == {"forward": 4, "backward": 4}
    assert all(parameter.grad is None for parameter in features_of.parameters())
    assert not any(
        t.requires_grad for t in (result.cam_sum, result.objective, result.final_images, result.cam_per_step)
    )
    assert torch.equal(pairs[0], image_pair())


def test_climbing_raises_the_score_of_its_class():
    result = climb(backbone(), image_pair()[None], [1], weights(), AdvCamSettings(steps=8, mu=0.0))
    assert result.objective[-1] > result.objective[0]
    low, high = image_pair().min(), image_pair().max()
    assert result.final_images.min() >= low
    assert result.final_images.max() <= high


def test_class_that_is_nowhere_gives_zeros():
    weight = -weights().abs()  # features are ≥ 0, so no logit is positive
    result = climb(backbone(), image_pair()[None], [1], weight, AdvCamSettings(steps=2))
    assert torch.equal(result.cam_sum, torch.zeros_like(result.cam_sum))
    assert torch.equal(result.final_images[0], image_pair())


@pytest.mark.parametrize("classes_at_once", [None, 1, 2])
def test_scales_are_weighted_alike(classes_at_once):
    scales, pairs, settings = (1, 0.5), [image_pair(), image_pair((9, 11), seed=5)], AdvCamSettings(steps=3)
    maps = make_advcams(backbone(), pairs, scales, weights(), [0, 3], (17, 22), "strided", settings, classes_at_once)
    sums = [climb(backbone(), pair.expand(2, -1, -1, -1, -1), [0, 3], weights(), settings).cam_sum for pair in pairs]
    printed = cam.normalise(sum(cam.upsample(each, (5, 6)) for each in sums))
    torch.testing.assert_close(maps, printed)
    full = make_advcams(backbone(), pairs, scales, weights(), [0, 3], (17, 22), "full", settings)
    assert full.shape == (2, 17, 22)
    torch.testing.assert_close(full, cam.normalise(sum(cam.upsample(each, (32, 32)) for each in sums)[:, :17, :22]))


def test_published_scale_rule():
    published = AdvCamSettings(published_scale_rule=True)
    assert scale_plan((1, 0.5, 1.5, 2), published) == [(27, 2), (13, 2), (27, 2), (27, 2)]
    assert scale_plan((1, 0.5, 1.5, 2), AdvCamSettings()) == [(27, 1)] * 4
    assert scale_plan((1, 2), published) == [(27, 1)] * 2
    assert scale_plan((0.5, 1), AdvCamSettings(steps=8, published_scale_rule=True)) == [(5, 1), (8, 1)]
    assert scale_plan((0.5, 1), AdvCamSettings(steps=3, published_scale_rule=True)) == [(3, 1), (3, 1)]

    pairs, few = [image_pair(), image_pair((9, 11), seed=5)], AdvCamSettings(steps=12, published_scale_rule=True)
    maps = make_advcams(backbone(), pairs, (1, 0.5), weights(), [1], (17, 22), settings=few)
    sums = [
        climb(backbone(), pair[None], [1], weights(), AdvCamSettings(steps=n)).cam_sum
        for pair, n in zip(pairs, (12, 6), strict=True)
    ]
    torch.testing.assert_close(maps, cam.normalise(sum(2 * cam.upsample(each, (5, 6)) for each in sums)))


def test_fewer_classes_climb_at_once_where_memory_is_short(monkeypatch):
    monkeypatch.setattr(advcam, "_first_try", lambda device, n: n)  # as on a GPU
    asked, network = [], backbone()

    def features_of(images):
        asked.append(len(images) // 2)
        if len(images) > 4:  # room for two pairs
            raise torch.cuda.OutOfMemoryError
        return network(images)

    settings, pairs, weight = AdvCamSettings(steps=2), [image_pair()], torch.cat([weights(), weights()])
    maps = make_advcams(features_of, pairs, [1], weight, [0, 1, 2, 3, 4], (17, 22), settings=settings)
    assert asked == [5, 2, 2, 2, 2, 1, 1]  # two steps each
    torch.testing.assert_close(
        maps, make_advcams(network, pairs, [1], weight, [0, 1, 2, 3, 4], (17, 22), settings=settings)
    )
    with pytest.raises(torch.cuda.OutOfMemoryError):
        make_advcams(features_of, pairs, [1], weights(), [0, 1, 2], (17, 22), settings=settings, classes_at_once=3)


def test_a_cpu_takes_one_class_at_a_time():
    asked, network = [], backbone()

    def features_of(images):
        asked.append(len(images))
        return network(images)

    make_advcams(features_of, [image_pair()], [1], weights(), [0, 1, 2], (17, 22), settings=AdvCamSettings(steps=1))
    assert asked == [2, 2, 2]
    assert advcam._first_try(torch.device("cuda"), 3) == 3


def test_image_without_labels():
    maps = make_advcams(backbone(), [image_pair()], [1], weights(), [], (17, 22))
    assert maps.shape == (0, 5, 6)
    assert make_advcams(backbone(), [image_pair()], [1], weights(), [], (17, 22), "full").shape == (0, 17, 22)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pairs": image_pair()}, "pairs are (n, 2, 3, H, W)"),
        ({"targets": [0, 1]}, "give one class for each pair"),
        ({"targets": [K]}, f"{K} are no classes: an index is 0…{K - 1}"),
        ({"targets": [0.0]}, "class indices are float64 (1,)"),
        ({"features_of": lambda images: backbone()(images).detach()}, "must not detach"),
    ],
)
def test_errors(change, message):
    arguments = {"features_of": backbone(), "pairs": image_pair()[None], "targets": [0], "weight": weights()} | change
    with pytest.raises(DataError, match=re.escape(message)):
        climb(**arguments)


def test_scales_and_settings_that_make_no_sense():
    with pytest.raises(DataError, match="1 pairs for 2 scales"):
        make_advcams(backbone(), [image_pair()], [1, 0.5], weights(), [0], (17, 22))
    with pytest.raises(
        RecipeError, match=r"steps must be at least 1, got 0; step_size .* got -1; mask_threshold .* got 2"
    ):
        AdvCamSettings(steps=0, step_size=-1, mask_threshold=2)
    with pytest.raises(RecipeError, match="mu must be a finite number ≥ 0, got nan"):
        AdvCamSettings(mu=float("nan"))
