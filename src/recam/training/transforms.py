"""Transforms of pixels while a network learns, the package's and a user's own, by name: ``train.transforms`` for
classifiers, ``segment.transforms`` for segmentation models.

A transform changes what pixels look like and leaves them where they are: size, flip and crop are `Augment`'s, which
moves masks, saliency and whatever else lies on an image along.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from recam.errors import RecamError, RecipeError, first_line
from recam.registry import Registry
from recam.types import Image

Transform = Callable[[Image, np.random.Generator], Image]
"""(H, W, n) uint8 and the generator of this view → (H, W, n) uint8, the same size; a module-level function, or another
picklable object, as worker processes call it."""
transforms: Registry[Transform] = Registry("transform of training images", "recam.transforms")


@transforms.register("grayscale")
def lose_colours(image: Image, rng: np.random.Generator) -> Image:
    """Every fifth image without colours: grey by Rec. 601, as many bands as before. Of other bands than three, which
    are no colours, nothing changes."""
    if image.shape[2] != 3 or rng.random() >= 0.2:
        return image
    grey = image @ np.array([0.299, 0.587, 0.114])  # (H, W)
    return np.repeat(np.rint(grey).astype(np.uint8)[..., None], 3, axis=2)


@transforms.register("noise")
def add_noise(image: Image, rng: np.random.Generator) -> Image:
    """Normal noise on each value, its deviation drawn evenly from 0 to 15 of 255, for sensors noisier than those that
    took the training images."""
    noisy = image + rng.normal(0, rng.uniform(0, 15), image.shape)
    return np.rint(noisy).clip(0, 255).astype(np.uint8)


@transforms.register("gamma")
def bend_brightness(image: Image, rng: np.random.Generator) -> Image:
    """Values to the power of a factor between 2/3 and 3/2, drawn evenly on the logarithm, for changing light."""
    curve = 255 * np.linspace(0, 1, 256) ** np.exp(rng.uniform(-np.log(1.5), np.log(1.5)))
    bent: Image = np.rint(curve).astype(np.uint8)[image]
    return bent


def apply_transforms(names: Sequence[str], image: Image, rng: np.random.Generator) -> Image:
    """Transforms in order. Raises `RecipeError` for one that fails, or gives another size or kind of numbers."""
    for name in names:
        try:
            changed = transforms[name](image, rng)
        except RecamError:
            raise
        except Exception as error:  # a user's own, whatever it raises: told with its name
            raise RecipeError(f"transform {name!r} failed: {type(error).__name__}: {first_line(error)}") from error
        if not isinstance(changed, np.ndarray) or changed.shape != image.shape or changed.dtype != np.uint8:
            found = f"{changed.dtype} {changed.shape}" if isinstance(changed, np.ndarray) else type(changed).__name__
            raise RecipeError(
                f"transform {name!r} made {found} of an image of uint8 {image.shape}: it may change pixels, and neither"
                " size nor kind of numbers. Sizes, flips and crops are train.long_side, train.crop and segment.scale."
            )
        image = np.ascontiguousarray(changed)
    return image


def check_transforms(names: Sequence[str]) -> None:
    """Raises `RecipeError` with near matches for names of no transform, all of them."""
    problems = []
    for name in names:
        try:
            transforms[name]
        except RecipeError as error:
            problems.append(str(error))
    if problems:
        raise RecipeError("; ".join(problems))


def call_torchvision(transform: Callable[[Any], Any], image: Image, rng: np.random.Generator) -> Image:
    """A transform of torchvision (v1 or v2) on an image; what it draws follows from `rng`.

    Args:
        transform: of a uint8 tensor (n, H, W), e.g. ``v2.GaussianBlur(5)``.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**31)))
        moved = transform(torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))))
    made: Image = np.ascontiguousarray(moved.numpy().transpose(1, 2, 0))
    return made


def call_albumentations(transform: Any, image: Image, rng: np.random.Generator) -> Image:
    """A transform of albumentations, or a composition, on an image; what it draws follows from `rng`.

    Args:
        transform: e.g. ``A.RandomFog(p=0.5)``; called as ``transform(image=image)["image"]``.

    Raises:
        RecipeError: a version whose transforms take no seed.
    """
    if not hasattr(transform, "set_random_seed"):
        raise RecipeError(
            "this transform of albumentations cannot be told what to draw: pip install 'albumentations>=1.4.19'"
        )
    transform.set_random_seed(int(rng.integers(2**31)))
    made: Image = transform(image=image)["image"]
    return made
