"""Augmentation of an image and its mask together, as a pure function of a random generator.

Source: spec of the published training (IRN's loader): long side drawn from a range, ImageNet normalisation, flip,
random crop that is padded with zeros after normalising; segmentation draws a factor instead of a long side. One class
does both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import PIL.Image
import torch
from torch import Tensor
from torchvision.transforms.functional import adjust_brightness, adjust_contrast, adjust_hue, adjust_saturation

from recam.labels import IGNORE
from recam.preprocess import PerBand, normalise_pixels, resize_image, scaled_size
from recam.training.transforms import apply_transforms
from recam.types import Grey, Image, Mask

__all__ = ["Augment", "PerBand", "normalise_image", "resize_image", "scaled_size"]


def normalise_image(image: Image, mean: PerBand, std: PerBand) -> Tensor:
    """(H, W, n) uint8 → (n, H, W) float32, scaled to [0, 1], minus `mean`, over `std`."""
    return torch.from_numpy(normalise_pixels(image, mean, std))


def jitter_colours(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """Change brightness, contrast and saturation by factors in 1 ± strength and turn the hue by up to ± strength / 5 of
    its circle.

    Each change is made with probability 0.5, in this order. `strength` 0.5 has about the ranges that UperNet is usually
    trained with. Of other bands than three, which are no colours, brightness and contrast of each change, by the same
    factors. (H, W, n) uint8 → (H, W, n) uint8.
    """
    colours = torch.from_numpy(image.transpose(2, 0, 1).copy())  # (H, W, n) → (n, H, W)
    is_rgb = len(colours) == 3
    changes = (adjust_brightness, adjust_contrast, *([adjust_saturation] if is_rgb else []))
    count = len(changes)
    for change, wanted, amount in zip(
        changes, rng.random(count) < 0.5, rng.uniform(1 - strength, 1 + strength, count), strict=True
    ):
        if wanted:
            parts = torch.split(colours, len(colours) if is_rgb else 1)
            colours = torch.cat([change(part, float(amount)) for part in parts])
    if is_rgb and rng.random() < 0.5:
        colours = adjust_hue(colours, float(rng.uniform(-strength, strength)) / 5)
    return np.ascontiguousarray(colours.numpy().transpose(1, 2, 0))


@dataclass(frozen=True)
class Augment:
    """Resize by chance, flip by chance, crop by chance.

    Attributes:
        crop: side of the square that comes out, pixels.
        mean, std: normalisation of images scaled to [0, 1].
        long_side: (least, most) pixels that the longer side is resized to, drawn evenly; None where `scale` is used.
        scale: (least, most) factor the image is resized by, drawn evenly; None where `long_side` is used.
        max_side: larger images are first reduced to this longer side (pixels); matters with `scale`.
        flip: probability of the horizontal flip.
        frame: (longer, shorter) side in pixels; an image is first made as large as fits into that, whatever `max_side`;
            with `scale`.
        jitter: strength of the colour jitter in [0, 1], see `jitter_colours`.
        transforms: names of transforms of pixels, after the jitter, see `recam.training.transforms`.
    """

    crop: int
    mean: PerBand
    std: PerBand
    long_side: tuple[int, int] | None = None
    scale: tuple[float, float] | None = None
    max_side: int | None = None
    flip: float = 0.5
    frame: tuple[int, int] | None = None
    jitter: float = 0.0
    transforms: tuple[str, ...] = ()

    @property
    def largest_side(self) -> int | None:
        """The longer side that an image is resized to at most, pixels; None: as many as it has."""
        most = self.scale[1] if self.scale else 1.0
        if self.long_side:
            return self.long_side[1]
        if self.frame:
            return math.ceil(max(self.frame) * most)
        return math.ceil(self.max_side * most) if self.max_side else None

    def __call__(
        self, image: Image, rng: np.random.Generator, mask: Mask | None = None, size: tuple[int, int] | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Augment an image (H, W, 3) and its mask (H, W) alike.

        Args:
            size: (H, W) of the photo where `image` is a reduced copy of it; None: the image's own.

        Returns:
            image (3, crop, crop) float32, normalised, zeros where the picture did not reach; mask (crop, crop) int64,
            255 there.
        """
        size, flipped, inside, outside = self._draw_view(size or (image.shape[0], image.shape[1]), rng)
        resized = resize_image(image, size)
        if flipped:
            resized = resized[:, ::-1]
        cropped = np.ascontiguousarray(resized[inside])
        if self.jitter:
            cropped = jitter_colours(cropped, self.jitter, rng)
        cropped = apply_transforms(self.transforms, cropped, rng)
        canvas = torch.zeros(len(self.mean), self.crop, self.crop)
        canvas[:, outside[0], outside[1]] = normalise_image(cropped, self.mean, self.std)
        if mask is None:
            return canvas, None
        return canvas, self._move_mask(mask, size, flipped, inside, outside)

    def move_mask(self, mask: Mask, rng: np.random.Generator) -> Tensor:
        """What becomes of a mask (H, W) of the image's size, or of any numbers of its pixels; as `move_grey`.

        Returns:
            (crop, crop) int64, 255 where the picture did not reach.
        """
        return self._move_mask(mask, *self._draw_view((mask.shape[0], mask.shape[1]), rng))

    def move_grey(self, grey: Grey, rng: np.random.Generator) -> Tensor:
        """What becomes of values (H, W) in [0, 1] that lie on an image, such as its saliency.

        Args:
            rng: in the same state as the generator that the image is augmented with: the same view is drawn.

        Returns:
            (crop, crop) float32 in [0, 1], 0 where the picture did not reach.
        """
        size, flipped, inside, outside = self._draw_view((grey.shape[0], grey.shape[1]), rng)
        resized = np.asarray(PIL.Image.fromarray(grey).resize(size[::-1], PIL.Image.Resampling.BILINEAR)).clip(0, 1)
        if flipped:
            resized = resized[:, ::-1]
        canvas = torch.zeros(self.crop, self.crop)
        canvas[outside[0], outside[1]] = torch.from_numpy(np.ascontiguousarray(resized[inside]))
        return canvas

    def _move_mask(
        self,
        mask: Mask,
        size: tuple[int, int],
        flipped: bool,
        inside: tuple[slice, ...],
        outside: tuple[slice, ...],
    ) -> Tensor:
        resized = np.asarray(PIL.Image.fromarray(mask).resize(size[::-1], PIL.Image.Resampling.NEAREST))
        if flipped:
            resized = resized[:, ::-1]
        target = torch.full((self.crop, self.crop), IGNORE, dtype=torch.int64)
        target[outside[0], outside[1]] = torch.from_numpy(resized[inside].astype(np.int64))
        return target

    def _draw_view(
        self, size: tuple[int, int], rng: np.random.Generator
    ) -> tuple[tuple[int, int], bool, tuple[slice, ...], tuple[slice, ...]]:
        """Size to resize an image of `size` to, whether to flip it, where to cut from it and where to put that."""
        drawn = self._draw_size(size, rng)
        flipped = bool(rng.random() < self.flip)
        inside, outside = zip(*(_crop_span(side, self.crop, rng) for side in drawn), strict=True)
        return drawn, flipped, inside, outside

    def _draw_size(self, size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int]:
        if self.long_side:
            return scaled_size(size, float(rng.integers(self.long_side[0], self.long_side[1] + 1)) / max(size))
        least, most = self.scale or (1.0, 1.0)
        scale = least + (most - least) * rng.random()
        if self.frame:
            return scaled_size(size, scale * min(self.frame[0] / max(size), self.frame[1] / min(size)))
        return scaled_size(size, scale, self.max_side)


def _crop_span(side: int, crop: int, rng: np.random.Generator) -> tuple[slice, slice]:
    """Where to cut from a side of the picture, and where to put it in the crop; by chance both when it is shorter and
    longer."""
    length = min(side, crop)
    cut, put = int(rng.integers(side - length + 1)), int(rng.integers(crop - length + 1))
    return slice(cut, cut + length), slice(put, put + length)
