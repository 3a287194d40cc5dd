import math

import numpy as np
import pytest
import torch

from recam.errors import DataError, WeightsError
from recam.methods import cam
from recam.types import SeedMaps


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_class_maps_by_hand():
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, -1.0]]]])  # (1, 2, 1, 2)
    weight = torch.tensor([[1.0, 0.0], [2.0, 1.0], [0.0, -1.0]])  # (3, 2)
    expected = torch.tensor([[[[1.0, 2.0]], [[5.0, 3.0]], [[-3.0, 1.0]]]])
    torch.testing.assert_close(cam.class_maps(features, weight), expected)
    torch.testing.assert_close(cam.class_maps(features, weight[:, :, None, None]), expected)


def test_logits_are_the_mean_of_the_class_maps():
    features, weight = random(3, 5, 4, 6), random(7, 5, seed=1)
    torch.testing.assert_close(cam.classify(features, weight), cam.class_maps(features, weight).mean((2, 3)))


def test_bce_by_hand():
    logits, labels = torch.tensor([[0.0, 2.0]]), torch.tensor([[1.0, 0.0]])
    expected = -(math.log(0.5) + math.log(1 - 1 / (1 + math.exp(-2)))) / 2
    assert cam.bce_loss(logits, labels).item() == pytest.approx(expected)


def test_normalise_by_hand():
    maps = torch.tensor([[[-1.0, 2.0], [4.0, 0.0]], [[-1.0, -2.0], [-3.0, 0.0]]])
    expected = torch.tensor([[[0.0, 0.5], [1.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    torch.testing.assert_close(cam.normalise(maps), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (torch.zeros(3, 4, 3, 3), r"must be \(K, D\) or \(K, D, 1, 1\), got \(3, 4, 3, 3\)"),
        (torch.zeros(3, 5), r"do not fit features \(2, 4, 6, 6\)"),
    ],
)
def test_weights_that_do_not_fit(weight, message):
    with pytest.raises(WeightsError, match=message):
        cam.class_maps(torch.zeros(2, 4, 6, 6), weight)


def test_sizes():
    assert cam.strided_size((375, 500)) == (94, 125)
    assert cam.full_size((375, 500)) == (384, 512)
    assert cam.full_size((32, 16)) == (32, 16)


def test_fused_views_by_hand():
    # One scale, already of the wanted size: relu of the image plus relu of the mirror image turned back.
    view = torch.tensor([[[[1.0, -2.0]]], [[[5.0, -7.0]]]])  # (2, 1, 1, 2)
    torch.testing.assert_close(cam.fuse_views([view], (1, 2)), torch.tensor([[[1.0, 5.0]]]))
    torch.testing.assert_close(cam.fuse_views([view[:1]], (1, 2)), torch.tensor([[[1.0, 0.0]]]))
    # A constant survives upsampling, and scales add up.
    torch.testing.assert_close(cam.fuse_views([view, torch.ones(1, 1, 3, 5)], (1, 2)), torch.tensor([[[2.0, 6.0]]]))


def test_upsampling_does_not_align_corners():
    fused = cam.fuse_views([torch.tensor([[[[0.0, 4.0]]]])], (1, 4))
    torch.testing.assert_close(fused, torch.tensor([[[0.0, 1.0, 3.0, 4.0]]]))


@pytest.mark.parametrize("views", [[], [torch.zeros(3, 1, 2, 2)], [torch.zeros(1, 2, 2)]])
def test_views_that_are_none(views):
    with pytest.raises(DataError, match="view"):
        cam.fuse_views(views, (4, 4))


@pytest.mark.parametrize("class_indices", [[4, 1], np.array([4, 1]), torch.tensor([4, 1])])
def test_cams_of_the_wanted_classes_in_their_order(class_indices):
    features, weight = [random(2, 5, 4, 6).abs(), random(2, 5, 2, 3, seed=3).abs()], random(6, 5, seed=1)
    every = cam.make_cams(features, weight, range(6), (50, 81))
    assert every.shape == (6, 13, 21)
    torch.testing.assert_close(cam.make_cams(features, weight, class_indices, (50, 81)), every[[4, 1]])
    full = cam.make_cams(features, weight, class_indices, (50, 81), "full")
    assert full.shape == (2, 50, 81)
    assert full.min() >= 0
    assert 0.999 < full.max() <= 1


def test_a_mirrored_image_gives_mirrored_cams():
    features, weight = random(2, 5, 4, 6), random(3, 5, seed=1)
    mirrored = features.flip(0)  # of the mirror image, the image is the mirror image
    cams = cam.make_cams([features], weight, range(3), (64, 96))
    torch.testing.assert_close(cam.make_cams([mirrored], weight, range(3), (64, 96)), cams.flip(-1))


def test_no_class_gives_no_map():
    for resolution, shape in (("strided", (0, 3, 4)), ("full", (0, 10, 13))):
        assert cam.make_cams([torch.ones(2, 5, 2, 2)], torch.ones(3, 5), [], (10, 13), resolution).shape == shape


def seed_maps(maps, size):
    return SeedMaps(maps, np.arange(len(maps)), size)


def test_read_full_restores_the_size_of_the_image():
    ramp = np.tile(np.linspace(0, 1, 25, dtype=np.float32), (1, 19, 1))  # (1, 19, 25)
    full = cam.read_full(seed_maps(ramp, (74, 99)))
    assert full.shape == (1, 74, 99)
    assert full.dtype == np.float32
    # Pixel x lies at (x + 0.5) / 4 − 0.5 between the strided values.
    np.testing.assert_allclose(full[0, 10, 40], ((40 + 0.5) / 4 - 0.5) / 24, rtol=1e-5)


def test_read_full_leaves_maps_of_the_images_size_alone():
    maps = np.random.default_rng(0).random((2, 7, 9), np.float32)
    assert cam.read_full(seed_maps(maps, (7, 9))) is maps
    assert cam.read_full(seed_maps(np.zeros((0, 2, 3), np.float32), (7, 9))).shape == (0, 7, 9)


def test_read_full_refuses_maps_of_another_image():
    with pytest.raises(DataError, match=r"maps of \(5, 5\) belong to no \(74, 99\) image: expected \(19, 25\)"):
        cam.read_full(seed_maps(np.zeros((1, 5, 5), np.float32), (74, 99)))


def test_full_maps_at_a_quarter_are_means_over_what_the_image_has():
    full = np.arange(30, dtype=np.float32).reshape(1, 5, 6) / 30
    strided = cam.read_strided(SeedMaps(full, np.array([2]), (5, 6)))
    assert strided.shape == (1, 2, 2)
    np.testing.assert_allclose(strided[0, 0, 0], full[0, :4, :4].mean(), rtol=1e-6)
    np.testing.assert_allclose(strided[0, 1, 1], full[0, 4:, 4:].mean(), rtol=1e-6)
    stored = SeedMaps(np.ones((1, 2, 2), np.float32), np.array([2]), (5, 6))
    assert cam.read_strided(stored) is stored.maps
    assert cam.read_strided(SeedMaps(np.zeros((0, 5, 6), np.float32), np.array([], np.int64), (5, 6))).shape == (
        0,
        2,
        2,
    )
