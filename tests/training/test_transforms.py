"""Transforms of pixels: the package's, a user's own, and those of torchvision and albumentations."""

import numpy as np
import pytest
import torch

from recam.errors import RecipeError
from recam.recipe.recipe import load_recipe
from recam.training.augment import Augment
from recam.training.transforms import (
    add_noise,
    apply_transforms,
    bend_brightness,
    call_albumentations,
    call_torchvision,
    check_transforms,
    lose_colours,
    transforms,
)

IMAGE = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3) * 4


class Draws:
    """A generator that draws what it is given."""

    def __init__(self, *values):
        self.values = list(values)

    def random(self, size=None):
        return self.values.pop(0)

    uniform = normal = lambda self, *given: self.values.pop(0)


@pytest.fixture
def own(monkeypatch):
    transforms._load()
    monkeypatch.setattr(transforms, "_entries", dict(transforms._entries))
    return transforms.register


def test_colours_are_lost_in_every_fifth_image():
    grey = lose_colours(np.array([[[255, 0, 0], [0, 255, 0], [10, 10, 10]]], np.uint8), Draws(0.19))
    assert grey[0].tolist() == [[76] * 3, [150] * 3, [10] * 3]  # 0.299 and 0.587 of 255
    assert lose_colours(IMAGE, Draws(0.2)) is IMAGE
    assert lose_colours(IMAGE[..., :1], Draws()) is not None


def test_noise_stays_within_a_byte():
    noise = np.full(IMAGE.shape, 300.0)
    assert (add_noise(IMAGE, Draws(15.0, noise)) == 255).all()
    assert (add_noise(IMAGE, Draws(15.0, -noise)) == 0).all()


def test_brightness_bends_and_ends_stay():
    values = np.array([[[0], [64], [255]]], np.uint8)
    bent = bend_brightness(values, Draws(np.log(1.5)))  # to the power of 1.5
    assert bent.ravel().tolist() == [0, round(255 * (64 / 255) ** 1.5), 255]


def test_they_follow_the_crop_and_leave_masks_alone(own):
    own("dark")(lambda image, rng: image // 2)
    image, mask = np.full((40, 40, 3), 200, np.uint8), np.ones((40, 40), np.uint8)
    drawn = [
        Augment(40, (0.0,) * 3, (1.0,) * 3, scale=(1.0, 1.0), transforms=names)(image, np.random.default_rng(3), mask)
        for names in ((), ("dark",))
    ]
    assert torch.allclose(drawn[0][0], torch.tensor(200 / 255))
    assert torch.allclose(drawn[1][0], torch.tensor(100 / 255))
    assert torch.equal(drawn[0][1], drawn[1][1])


def test_what_draws_the_same_numbers_gives_the_same_image():
    for name in transforms:
        one, other = (apply_transforms([name], IMAGE, np.random.default_rng(5)) for _ in range(2))
        assert one.dtype == np.uint8
        assert one.shape == IMAGE.shape
        assert np.array_equal(one, other)


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (lambda image, rng: image[1:], r"'broken' made uint8 \(3, 5, 3\) of an image of uint8 \(4, 5, 3\)"),
        (lambda image, rng: image / 255, "made float64"),
        (lambda image, rng: None, "made NoneType"),
        (lambda image, rng: image.missing, "failed: AttributeError"),
    ],
)
def test_what_a_transform_may_not_do_is_told_with_its_name(own, broken, told):
    own("broken")(broken)
    with pytest.raises(RecipeError, match=told):
        apply_transforms(["gamma", "broken"], IMAGE, np.random.default_rng(0))


def test_names_are_checked_all_at_once_when_a_recipe_is_read():
    with pytest.raises(RecipeError, match=r"(?s)'gama'.*gamma.*'blurr'"):
        check_transforms(["gama", "noise", "blurr"])
    for section in ("train", "segment"):
        with pytest.raises(RecipeError, match="gama"):
            load_recipe("tiny", {f"{section}.transforms": ["gama"]})
        assert load_recipe("tiny", {f"{section}.transforms": ["gamma"]})


def test_torchvision_draws_from_the_view_alone():
    from torchvision.transforms import v2

    jitter = v2.ColorJitter(brightness=0.5)
    torch.manual_seed(1)
    one = call_torchvision(jitter, IMAGE, np.random.default_rng(2))
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), after)  # nobody else's draws move on
    assert np.array_equal(one, call_torchvision(jitter, IMAGE, np.random.default_rng(2)))
    assert not np.array_equal(one, call_torchvision(jitter, IMAGE, np.random.default_rng(3)))


def test_albumentations_is_told_what_to_draw():
    class Shift:
        def set_random_seed(self, seed):
            self.shift = seed % 7

        def __call__(self, image):
            return {"image": image + self.shift}

    one, other = (call_albumentations(Shift(), IMAGE, np.random.default_rng(4)) for _ in range(2))
    assert np.array_equal(one, other)
    with pytest.raises(RecipeError, match=r"albumentations>=1\.4\.19"):
        call_albumentations(lambda image: {"image": image}, IMAGE, np.random.default_rng(4))
