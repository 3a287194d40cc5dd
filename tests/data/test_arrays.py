"""Images as people hand them over: each form gives the pixels that are meant, or an error that names what was got."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from recam.data.arrays import as_image, as_images
from recam.data.images import read_image, write_png
from recam.errors import DataError

PIXELS = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
GREY = PIXELS[..., 0]


def saved(picture: PIL.Image.Image, path: Path) -> Path:
    picture.save(path)
    return path


@pytest.mark.parametrize(
    "given",
    [
        PIXELS,
        PIXELS / 255,
        (PIXELS / 255).astype(np.float32),
        np.ascontiguousarray(PIXELS[..., ::-1])[..., ::-1],  # colours turned round by a view
        PIL.Image.fromarray(PIXELS),
        torch.from_numpy(PIXELS),
        torch.from_numpy(PIXELS).permute(2, 0, 1),
        torch.from_numpy(PIXELS).permute(2, 0, 1) / 255,
        (torch.from_numpy(PIXELS).double() / 255).requires_grad_(),
    ],
    ids=["uint8", "float64", "float32", "view", "PIL", "tensor", "tensor CHW", "float tensor CHW", "with graph"],
)
def test_colours(given):
    image = as_image(given)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    np.testing.assert_array_equal(image, PIXELS)


@pytest.mark.parametrize(
    "given", [GREY, GREY[..., None], GREY / 255, torch.from_numpy(GREY), torch.from_numpy(GREY)[None]]
)
def test_grey(given):
    np.testing.assert_array_equal(as_image(given), np.stack([GREY] * 3, 2))


def test_bfloat16():
    assert as_image(torch.ones(3, 2, 2, dtype=torch.bfloat16)).tolist() == np.full((2, 2, 3), 255).tolist()


def test_a_tensor_whose_layout_is_in_doubt_has_its_channels_first():
    tensor = torch.arange(27, dtype=torch.uint8).reshape(3, 3, 3)
    np.testing.assert_array_equal(as_image(tensor), tensor.numpy().transpose(1, 2, 0))
    assert as_image(torch.zeros(4, 6, 3)).shape == (4, 6, 3)  # RGB before RGBA
    assert as_image(torch.zeros(4, 6, 2)).shape == (6, 2, 3)
    assert as_image(torch.zeros(1, 6, 3)).shape == (1, 6, 3)  # RGB before grey


def test_transparency_is_laid_on_white():
    rgba = np.array([[[200, 0, 0, 255], [200, 0, 0, 0]]], np.uint8)
    expected = [[[200, 0, 0], [255, 255, 255]]]
    assert as_image(rgba).tolist() == expected
    assert as_image(rgba / 255).tolist() == expected
    assert as_image(PIL.Image.fromarray(rgba)).tolist() == expected
    assert as_image(torch.from_numpy(rgba).permute(2, 0, 1)).tolist() == expected


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "F"])
def test_pictures_are_read_as_files_of_them(mode, tmp_path):
    """An opened file gives the pixels that its path gives, in every mode."""
    if mode == "I;16":
        picture = PIL.Image.fromarray(GREY.astype(np.uint16) * 257)
    elif mode == "F":
        picture = PIL.Image.fromarray((GREY / 255).astype(np.float32))
    else:
        picture = PIL.Image.fromarray(PIXELS).convert(mode)
    path = saved(picture, tmp_path / ("a.tif" if mode in ("CMYK", "YCbCr", "F") else "a.png"))
    with PIL.Image.open(path) as opened:
        np.testing.assert_array_equal(as_image(opened), read_image(path))


def test_a_picture_is_turned_upright_and_stays_as_it_is(tmp_path):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    PIL.Image.fromarray(PIXELS).save(tmp_path / "a.png", exif=exif)
    with PIL.Image.open(tmp_path / "a.png") as opened:
        np.testing.assert_array_equal(as_image(opened), read_image(tmp_path / "a.png"))
        assert as_image(opened).shape == (5, 4, 3)
        assert opened.size == (5, 4)


def test_a_picture_that_is_cut_off(tmp_path):
    write_png(tmp_path / "a.png", np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:3000])
    with (
        PIL.Image.open(tmp_path / "b.png") as opened,
        pytest.raises(DataError, match=r"the PIL image \(RGB, 64×64\) cannot be decoded"),
    ):
        as_image(opened)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (PIXELS.astype(np.uint16) * 257, r"got uint16 \(4, 5, 3\) with values 0…15163\. Divide 16-bit values by 257"),
        (PIXELS.astype(np.int64), r"got int64 \(4, 5, 3\) with values 0…59\. Pass image\.astype\(np\.uint8\)"),
        (PIXELS.astype(float), r"got float64 \(4, 5, 3\) with values 0…59\. .*divide by 255"),
        (PIXELS / 255 - 0.5, r"with values -0\.5…-0\.268627\. Floats must be finite and in \[0, 1\]\."),
        (np.full((4, 5, 3), np.nan), "with values nan…nan"),
        (np.where(PIXELS == 7, np.inf, 0.5), "with values 0.5…inf"),
        (PIXELS > 30, r"got bool \(4, 5, 3\)\. A mask is no image"),
        (PIXELS.astype(complex), "got complex128"),
        (PIXELS.transpose(2, 0, 1), r"got uint8 \(3, 4, 5\) .*transpose\(1, 2, 0\)"),
        (PIXELS[None], r"got uint8 \(1, 4, 5, 3\) .*as a list"),
        (PIXELS[..., :2], r"got uint8 \(4, 5, 2\)"),
        (PIXELS[0, 0], r"got uint8 \(3,\)"),
        (PIXELS[:0], r"got uint8 \(0, 5, 3\)\. An image"),
        (torch.zeros(2, 3, 8, 8), r"got float32 \(2, 3, 8, 8\).*as a list"),
        (None, "a NoneType is no image"),
        (b"\x89PNG", "a bytes is no image"),
    ],
)
def test_what_is_no_image(given, message):
    with pytest.raises(DataError, match=message) as caught:
        as_image(given)
    assert "An image is a path, a PIL image, an array (H, W, 3)" in str(caught.value)


def test_floats_that_leave_the_range_by_rounding():
    assert as_image(np.array([[1 + 1e-7, -1e-7]])).tolist() == [[[255] * 3, [0] * 3]]


def test_lists(tmp_path):
    write_png(tmp_path / "a.png", PIXELS)
    images = as_images([PIXELS, tmp_path / "a.png", str(tmp_path / "a.png")])
    assert [image.tolist() for image in images] == [PIXELS.tolist()] * 3
    with pytest.raises(
        DataError, match=r"2 problems:\n  \[no-image\] image 1 of 3: got bool.*\n.*image 2 of 3: .*b\.png"
    ):
        as_images([PIXELS, PIXELS > 0, tmp_path / "b.png"])
