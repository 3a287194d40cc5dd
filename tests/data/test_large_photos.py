"""Photos that are reduced when they are read: no smaller than needed, upright, in their colours, and only where that
changes nothing."""

import numpy as np
import PIL.Image
import pytest

from recam.data import images, large_photos
from recam.data.images import ImageFile
from recam.data.large_photos import enlarge, read_reduced, working_copy
from recam.training.augment import Augment
from recam.training.loader import MaskedImages
from recam.types import Sample

HALF = (0.5, 0.5, 0.5)


@pytest.fixture
def small_is_large(monkeypatch):
    """Photos of more than 10,000 pixels count as large."""
    monkeypatch.setattr(large_photos, "LARGE", 10_000)
    monkeypatch.setattr(large_photos, "WORKING", 2_500)


def ramp(height=160, width=320):
    """Red grows to the right, green downwards."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[..., 0] = np.linspace(0, 255, width)
    picture[..., 1] = np.linspace(0, 255, height)[:, None]
    return picture


def resized(picture, size):
    return np.asarray(PIL.Image.fromarray(picture).resize(size[::-1], PIL.Image.Resampling.BOX)).astype(int)


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "webp", "tif"])
@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA"])
def test_a_reduced_photo_is_the_photo(tmp_path, small_is_large, ending, mode):
    path = tmp_path / f"a.{ending}"
    picture = PIL.Image.fromarray(ramp())
    if mode == "1":
        picture = PIL.Image.fromarray(np.repeat(np.repeat([[0, 255, 0, 255]], 160, 0), 80, 1).astype(np.uint8))
    if mode in ("P", "RGBA") and ending == "jpg":
        return
    if mode == "P":
        picture = picture.quantize(200)
    elif mode != "RGB":
        picture = picture.convert(mode)
    picture.save(path)
    seen, size = read_reduced(ImageFile(path), 50)
    assert size == (160, 320)
    assert 50 <= max(seen.shape) < 100
    assert np.abs(seen.astype(int) - resized(images.read_image(path), seen.shape[:2])).mean() < 6


def test_a_turned_jpeg_is_decoded_smaller_and_upright(tmp_path, small_is_large, monkeypatch):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # a viewer turns it clockwise
    PIL.Image.fromarray(ramp()).save(tmp_path / "a.jpg", exif=exif)
    drafts = []
    draft = PIL.JpegImagePlugin.JpegImageFile.draft
    monkeypatch.setattr(
        PIL.JpegImagePlugin.JpegImageFile, "draft", lambda self, *words: drafts.append(words) or draft(self, *words)
    )
    seen, size = read_reduced(ImageFile(tmp_path / "a.jpg"), 80)
    assert size == (320, 160)
    assert drafts == [(None, (80, 40))]
    assert seen.shape == (80, 40, 3)
    assert seen[0, :, 0].max() < 40 < 200 < seen[-1, :, 0].min()  # what grew to the right grows downwards
    assert (seen[:, 0, 1] > seen[:, -1, 1]).all()


def test_what_is_not_large_or_has_no_bound_is_read_as_it_is(tmp_path, small_is_large):
    PIL.Image.fromarray(ramp()).save(tmp_path / "a.png")
    PIL.Image.fromarray(ramp(90, 110)).save(tmp_path / "b.png")
    for name, side in (("a", None), ("a", 161), ("a", 1000), ("b", 20)):
        seen, size = read_reduced(ImageFile(tmp_path / f"{name}.png"), side)
        assert np.array_equal(seen, images.read_image(tmp_path / f"{name}.png"))
        assert size == seen.shape[:2]


@pytest.mark.parametrize(
    ("augment", "side"),
    [
        (Augment(32, HALF, HALF, long_side=(40, 70)), 70),
        (Augment(32, HALF, HALF, scale=(0.5, 2.0)), None),
        (Augment(32, HALF, HALF, scale=(0.5, 1.5), max_side=33), 50),
        (Augment(32, HALF, HALF, scale=(0.5, 2.0), max_side=64, frame=(50, 40)), 100),
    ],
)
def test_the_largest_side_of_a_view(augment, side):
    assert augment.largest_side == side
    if side:
        drawn = [max(augment._draw_size((160, 320), np.random.default_rng(seed))) for seed in range(200)]
        assert max(drawn) <= side


def test_a_training_view_of_a_reduced_photo_lies_where_that_of_the_whole_does(tmp_path, monkeypatch):
    PIL.Image.fromarray(ramp()).save(tmp_path / "a.png")
    mask = (ramp()[..., 0] > 127).astype(np.uint8)
    augment = Augment(48, HALF, HALF, scale=(0.75, 1.5), max_side=64)
    data = MaskedImages([Sample("a", (0,), ImageFile(tmp_path / "a.png"))], lambda _: mask, augment, seed=3)
    whole = [data[epoch, 0] for epoch in range(5)]
    monkeypatch.setattr(large_photos, "LARGE", 10_000)
    for epoch, before in enumerate(whole):
        view = data[epoch, 0]
        assert bool((view["masks"] == before["masks"]).all())
        assert float((view["images"] - before["images"]).abs().mean()) < 0.05


def test_working_copy(small_is_large):
    assert working_copy(ramp(), 60).shape == (35, 70, 3)  # 51,200 pixels to some 2,500
    assert working_copy(ramp(), 200).shape == (100, 200, 3)  # never below what the networks read
    for image, side in ((ramp(), None), (ramp(50, 100), 20)):
        assert working_copy(image, side) is image


def test_enlarge():
    assert (
        enlarge(np.array([[1, 2], [3, 4]], np.uint8), (4, 5)).tolist() == [[1, 1, 2, 2, 2]] * 2 + [[3, 3, 4, 4, 4]] * 2
    )
    assert enlarge(np.zeros((3, 2, 2), np.uint8), (7, 3)).shape == (3, 7, 3)
