"""What is opened, and what is refused before any pixel is decoded."""

import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.TiffImagePlugin
import pytest

import recam
from recam.data.check import check
from recam.data.folder import Folder
from recam.data.images import IMAGE_ENDINGS, ImageFile, image_size, one_large_at_a_time, read_image, read_mask
from recam.data.opening import LIMIT_VARIABLE, MAX_PIXELS, open_picture
from recam.errors import DataError, DependencyError, RecipeError

COLOURS = np.zeros((32, 48, 3), np.uint8)
COLOURS[:, :24], COLOURS[:, 24:] = (200, 30, 30), (30, 30, 200)


def test_pictures_are_opened_in_one_place():
    """Any other call must at least name the formats that it takes."""
    root = Path(recam.__file__).parent
    opens = [
        f"{path.relative_to(root)}: {line.strip()}"
        for path in sorted(root.rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"\bImage\.open\(", line) and "formats=" not in line
    ]
    assert opens == []


@pytest.mark.parametrize("ending", IMAGE_ENDINGS)
def test_all_endings_are_read(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    if ending in (".heic", ".heif"):
        pytest.importorskip("pillow_heif").register_heif_opener()
    PIL.Image.fromarray(COLOURS).save(path, **({"format": "JPEG"} if ending == ".jfif" else {}))
    image = read_image(path)
    assert image.shape == (32, 48, 3)
    assert image_size(ImageFile(path)) == (32, 48)
    assert np.abs(image[16, 8].astype(int) - [200, 30, 30]).max() <= 12
    assert np.abs(image[16, 40].astype(int) - [30, 30, 200]).max() <= 12


def test_the_content_decides_and_not_the_ending(tmp_path):
    PIL.Image.fromarray(COLOURS).save(tmp_path / "a.jpg", format="PNG")
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), COLOURS)


@pytest.mark.parametrize("format", ["EPS", "PDF", "ICO", "TGA"])
def test_other_formats_are_not_even_started(tmp_path, monkeypatch, format):
    PIL.Image.fromarray(COLOURS).save(tmp_path / "photo.png", format=format)
    monkeypatch.setattr(subprocess, "Popen", None)
    for read in (read_image, read_mask):
        with pytest.raises(DataError, match=r"photo\.png is no image that can be read"):
            read(tmp_path / "photo.png")


def ftyp(brand):
    return b"\x00\x00\x00\x18ftyp" + brand + bytes(16)


def test_heic_without_its_package_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.delitem(PIL.Image.OPEN, "HEIF", raising=False)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.heic").write_bytes(ftyp(b"heic"))
    with pytest.raises(DependencyError, match=r"a\.heic is a HEIC image\. To read it: pip install 'recam\[heif\]'"):
        read_image(tmp_path / "a.heic")
    report = check(Folder(tmp_path_with_table(tmp_path, "a.heic")))
    assert [(problem.kind, "recam[heif]" in problem.message) for problem in report.problems] == [
        ("unreadable-image", True)
    ]


def test_avif_that_this_pillow_cannot_read_names_the_extra(tmp_path, monkeypatch):
    (tmp_path / "a.avif").write_bytes(ftyp(b"avif"))
    with pytest.raises(DataError, match=r"a\.avif is"):  # damaged, to a Pillow that reads AVIF
        read_image(tmp_path / "a.avif")
    monkeypatch.delitem(PIL.Image.OPEN, "AVIF", raising=False)
    with pytest.raises(DependencyError, match=r"a\.avif is an AVIF image\. .*'recam\[heif\]'"):
        read_image(tmp_path / "a.avif")


def tmp_path_with_table(root, name):
    (root / "labels.csv").write_text(f"image,labels\n{name},cat\n")
    return root


@pytest.mark.filterwarnings("error")
def test_pillow_s_own_limit_does_not_count(tmp_path, monkeypatch):
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 100)
    for ending in ("png", "tif", "jpg", "gif", "webp", "bmp"):
        PIL.Image.fromarray(COLOURS).save(tmp_path / f"a.{ending}")
        assert read_image(tmp_path / f"a.{ending}").shape == (32, 48, 3)


def test_a_tile_larger_than_its_tiff_is_bounded_too(tmp_path, monkeypatch):
    PIL.Image.fromarray(COLOURS).save(tmp_path / "a.tif")
    set_up = PIL.TiffImagePlugin.TiffImageFile._setup

    def with_a_large_tile(self):
        set_up(self)
        self._tile_size = (20_000, 20_000)

    monkeypatch.setattr(PIL.TiffImagePlugin.TiffImageFile, "_setup", with_a_large_tile)
    with pytest.raises(DataError, match="20000×20000 pixels, more than the limit"):
        read_image(tmp_path / "a.tif")


@pytest.mark.filterwarnings("error")
def test_too_many_pixels_are_refused_by_the_head(tmp_path, monkeypatch):
    path = tmp_path / "large.png"
    PIL.Image.new("1", (20_000, 12_501)).save(path)
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", None)
    for read in (read_image, read_mask, lambda path: image_size(ImageFile(path))):
        with pytest.raises(
            DataError,
            match=rf"large\.png has 20000×12501 pixels, more than the limit of {MAX_PIXELS:,}\. .*{LIMIT_VARIABLE}=",
        ):
            read(path)


def test_the_limit_can_be_changed(tmp_path, monkeypatch):
    PIL.Image.fromarray(COLOURS).save(tmp_path / "a.png")
    monkeypatch.setenv(LIMIT_VARIABLE, str(32 * 48 - 1))
    with pytest.raises(DataError, match="48×32 pixels, more than the limit of 1,535"):
        read_image(tmp_path / "a.png")
    monkeypatch.setenv(LIMIT_VARIABLE, str(32 * 48))
    assert read_image(tmp_path / "a.png").shape == (32, 48, 3)
    for wrong in ("many", "0", "-1"):
        monkeypatch.setenv(LIMIT_VARIABLE, wrong)
        with pytest.raises(RecipeError, match=f"{LIMIT_VARIABLE} is '{wrong}'. Give a number of pixels"):
            read_image(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a" * 300 + ".png", "a\0b.png"])
def test_names_that_no_file_can_have(tmp_path, name):
    with pytest.raises(DataError, match="cannot be opened"):
        read_image(tmp_path / name)


def test_out_of_memory_is_no_damage(tmp_path):
    PIL.Image.fromarray(COLOURS).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png is too large for the memory"), open_picture(tmp_path / "a.png"):
        raise MemoryError


def test_one_large_picture_at_a_time(tmp_path, monkeypatch):
    PIL.Image.fromarray(COLOURS).save(tmp_path / "a.png")
    source = ImageFile(tmp_path / "a.png")
    lock = threading.Lock()
    monkeypatch.setattr("recam.data.images._LARGE_TURN", lock)
    with one_large_at_a_time(source):
        assert not lock.locked()
    monkeypatch.setattr("recam.data.images.LARGE", 100)
    with one_large_at_a_time(source):
        assert lock.locked()
    assert not lock.locked()
    with one_large_at_a_time(ImageFile(tmp_path / "gone.png")):
        assert not lock.locked()
