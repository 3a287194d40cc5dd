"""Augmentation by hand: sizes, padding, mirror, and a mask that stays on its image."""

import numpy as np
import pytest
import torch
from torch.nn.functional import max_pool2d

from recam.labels import IGNORE
from recam.training.augment import Augment, jitter_colours, normalise_image, resize_image

MEAN, STD = (0.5, 0.25, 0.0), (0.5, 0.25, 1.0)


def marked(height=40, width=60):
    """A dark picture with a bright marker, and a mask of it with class 3 on the marker."""
    image, mask = np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.uint8)
    image[10:22, 30:50] = 255
    mask[10:22, 30:50] = 3
    return image, mask


def plain(height, width, value=255):
    return np.full((height, width, 3), value, np.uint8)


def rng(seed=0):
    return np.random.default_rng(seed)


def test_normalisation_by_hand():
    image = np.array([[[255, 0, 51]]], np.uint8)  # (1, 1, 3)
    tensor = normalise_image(image, MEAN, STD)
    assert tensor.shape == (3, 1, 1)
    assert tensor.flatten().tolist() == pytest.approx([(1 - 0.5) / 0.5, (0 - 0.25) / 0.25, 0.2])
    assert tensor.dtype == torch.float32


def test_resize():
    image = plain(4, 6, 77)
    assert resize_image(image, (4, 6)) is image
    resized = resize_image(image, (9, 5))
    assert resized.shape == (9, 5, 3)
    assert (resized == 77).all()
    left = np.zeros((8, 8, 3), np.uint8)
    left[:, :4] = 255
    halved = resize_image(left, (4, 4))
    assert halved[:, 0].min() > 240
    assert halved[:, 3].max() < 15


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("crop", [24, 64, 100])
def test_mask_and_image_stay_together(seed, crop):
    image, mask = marked()
    augment = Augment(crop, (0.0,) * 3, (1.0,) * 3, scale=(0.5, 1.5))
    tensor, target = augment(image, rng(seed), mask)
    assert tensor.shape == (3, crop, crop)
    assert target.shape == (crop, crop)
    assert set(target.unique().tolist()) <= {0, 3, IGNORE}
    inside, bright = target == 3, tensor[0] > 0.5
    assert inside.any() or crop == 24  # a small crop may miss the marker
    # Bicubic and nearest resizing round the border of the marker differently, by at most a pixel.
    near = [max_pool2d(part[None].float(), 3, 1, 1)[0] > 0 for part in (inside, ~inside)]
    away = ~(near[0] & near[1])
    assert torch.equal(inside[away], bright[away])
    assert (tensor[:, target == IGNORE] == 0).all()


def test_padding_is_zero_after_normalising_and_ignored():
    tensor, target = Augment(10, MEAN, STD)(plain(4, 6), rng(), np.ones((4, 6), np.uint8))
    outside = target == IGNORE
    assert int((~outside).sum()) == 24
    assert (tensor[:, outside] == 0).all()
    assert tensor[:, ~outside].unique(dim=1).flatten().tolist() == pytest.approx([1.0, 3.0, 1.0])
    rows, columns = torch.nonzero(~outside, as_tuple=True)
    assert (int(rows.max() - rows.min()), int(columns.max() - columns.min())) == (3, 5)  # in one piece


def test_padding_falls_on_all_sides():
    augment, ones = Augment(10, MEAN, STD), np.ones((4, 6), np.uint8)
    masks = [augment(plain(4, 6), rng(seed), ones)[1] for seed in range(200)]
    corners = {tuple(torch.nonzero(mask == 1)[0].tolist()) for mask in masks}
    assert {row for row, _ in corners} == set(range(7))
    assert {column for _, column in corners} == set(range(5))


@pytest.mark.parametrize(
    ("size", "shape"), [((100, 50), (80, 40)), ((50, 100), (40, 80)), ((80, 80), (80, 80)), ((1, 200), (1, 80))]
)
def test_long_side_by_hand(size, shape):
    tensor, _ = Augment(100, MEAN, STD, long_side=(80, 80))(plain(*size), rng())
    rows, columns = torch.nonzero(tensor[0], as_tuple=True)
    assert (int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1) == shape


def test_long_side_and_scale_reach_their_ends():
    def sides(**range_of):
        augment = Augment(40, MEAN, STD, **range_of)
        return {int((augment(plain(10, 20), rng(seed))[0][0] != 0).any(0).sum()) for seed in range(300)}

    assert sides(long_side=(10, 12)) == {10, 11, 12}
    assert sides(scale=(0.5, 0.75)) == {10, 11, 12, 13, 14, 15}
    assert sides() == {20}


def test_mirror():
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3) * 20
    mask = np.array([[1, 2], [3, 4]], np.uint8)
    straight, labels = Augment(2, (0.0,) * 3, (1.0,) * 3, flip=0.0)(image, rng(), mask)
    mirrored, turned = Augment(2, (0.0,) * 3, (1.0,) * 3, flip=1.0)(image, rng(), mask)
    assert labels.tolist() == mask.tolist()
    assert torch.equal(mirrored, straight.flip(-1))
    assert torch.equal(turned, labels.flip(-1))
    first = [float(Augment(2, (0.0,) * 3, (1.0,) * 3)(image, rng(seed))[0][0, 0, 0]) for seed in range(200)]
    assert 70 < first.count(0.0) < 130


def test_same_generator_same_picture_with_or_without_mask():
    image, mask = marked()
    augment = Augment(32, MEAN, STD, scale=(0.5, 1.5))
    assert torch.equal(augment(image, rng(3), mask)[0], augment(image, rng(3))[0])
    assert augment(image, rng(3))[1] is None


@pytest.mark.parametrize(
    ("size", "factor", "expected"),
    [
        ((375, 500), 1.0, (512, 683)),  # the shorter side decides
        ((100, 1000), 1.0, (205, 2048)),  # the longer side decides
        ((375, 500), 0.5, (256, 341)),
        ((1024, 512), 2.0, (2048, 1024)),
    ],
)
def test_an_image_is_fitted_into_a_frame_before_it_is_scaled(size, factor, expected):
    augment = Augment(64, MEAN, STD, scale=(factor, factor), frame=(2048, 512), max_side=32)
    assert augment._draw_size(size, rng()) == expected


def test_the_frame_reaches_image_and_mask():
    image, mask = marked(40, 60)
    seen, target = Augment(80, (0.0,) * 3, (1.0,) * 3, scale=(1.0, 1.0), flip=0.0, frame=(120, 80))(image, rng(), mask)
    assert (target == 3).sum() == pytest.approx(4 * 12 * 20, rel=0.5)  # twice as large, some of it cropped
    assert seen[:, target == 3].mean() > 0.9
    assert seen[:, target == 0].mean() < 0.1


def test_jitter_keeps_shape_and_mask_and_changes_colours_only_now_and_then():
    image = rng(3).integers(40, 200, (16, 16, 3), dtype=np.uint8)
    image.flags.writeable = True
    before = image.copy()
    found = [jitter_colours(image, 0.5, rng(seed)) for seed in range(40)]
    assert np.array_equal(image, before)
    assert all(one.shape == image.shape and one.dtype == np.uint8 for one in found)
    # Nothing at all is changed with probability 1/16.
    unchanged = sum(np.array_equal(one, image) for one in found)
    assert 0 < unchanged < 12
    assert len({one.tobytes() for one in found}) > 25


def test_jitter_by_hand():
    class Draws:
        """Brightness alone, by 1.5."""

        def random(self, n=None):
            return np.array([0.1, 0.9, 0.9]) if n else 0.9

        def uniform(self, low, high, n=None):
            assert (low, high, n) == (0.5, 1.5, 3)
            return np.array([1.5, 0.5, 0.5])

    found = jitter_colours(np.array([[[10, 20, 200]]], np.uint8), 0.5, Draws())
    assert found[0, 0].tolist() == [15, 30, 255]


def test_grey_stays_grey_where_only_saturation_and_hue_change():
    grey = plain(4, 4, 100)
    for seed in range(20):
        found = jitter_colours(grey, 1.0, rng(seed))
        assert (found.max(2).astype(int) - found.min(2)).max() <= 1


def test_without_jitter_nothing_more_is_drawn():
    image, mask = marked()
    one, other = Augment(32, MEAN, STD, scale=(0.5, 1.5)), Augment(32, MEAN, STD, scale=(0.5, 1.5), jitter=0.5)
    first, second = rng(4), rng(4)
    assert np.array_equal(one(image, first, mask)[1], other(image, second, mask)[1]), (
        "the same crop, with or without jitter"
    )
    assert first.random() != second.random()


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("crop", [24, 100])
def test_greys_move_with_their_image_and_padding_is_zero(seed, crop):
    image, mask = marked()
    augment = Augment(crop, (0.0,) * 3, (1.0,) * 3, scale=(0.5, 1.5))
    tensor, target = augment(image, rng(seed), mask)
    grey = augment.move_grey((mask / 3).astype(np.float32), rng(seed))
    assert grey.shape == (crop, crop)
    assert grey.dtype == torch.float32
    assert 0 <= grey.min() <= grey.max() <= 1
    assert (grey[target == IGNORE] == 0).all()
    # Bilinear and bicubic resizing differ at the border of the marker.
    inside = grey > 0.5
    near = [max_pool2d(part[None].float(), 3, 1, 1)[0] > 0 for part in (inside, ~inside)]
    away = ~(near[0] & near[1])
    assert torch.equal(inside[away], tensor[0][away] > 0.5)


def test_greys_by_hand():
    grey = np.array([[0.0, 0.5], [1.0, 0.25]], np.float32)
    augment = Augment(2, MEAN, STD, flip=1.0)
    assert augment.move_grey(grey, rng()).tolist() == [[0.5, 0.0], [0.25, 1.0]]
    padded = Augment(4, MEAN, STD).move_grey(np.ones((2, 2), np.float32), rng())
    assert float(padded.sum()) == 4
