import struct
import zlib

import numpy as np
import PIL.Image
import pytest

from recam.data.image_sizes import DRAWN, FILES, read_sizes
from recam.data.images import ImageFile, image_size, read_image, write_png
from recam.types import Sample


class Drawn:
    """An image that is made when it is read."""

    where = "drawn"

    def __init__(self, height, width):
        self.shape = height, width, 3
        self.read_count = 0

    def read(self):
        self.read_count += 1
        return np.zeros(self.shape, np.uint8)


def test_heads_of_files_are_read_and_what_is_no_image_is_passed_over(tmp_path):
    write_png(tmp_path / "a.png", np.zeros((30, 50, 3), np.uint8))
    (tmp_path / "b.png").write_bytes(b"nothing")
    samples = [Sample(name, (), ImageFile(tmp_path / f"{name}.png")) for name in ("a", "b", "c")]
    found = read_sizes(samples)
    assert found.sizes == ((30, 50),)
    assert [sample.id for sample in found.samples] == ["a"]
    assert (found.long_side, found.longest, found.pixels) == (50, 50, 1500)


def test_the_pixels_of_a_png_are_not_decoded_for_its_size(tmp_path):
    write_png(tmp_path / "a.png", np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8))
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:500])  # it could not be
    assert image_size(ImageFile(tmp_path / "a.png")) == (30, 50)


@pytest.mark.parametrize("place", [b"IDAT", b"IEND"])
def test_a_png_is_upright_wherever_its_exif_stands(tmp_path, place):
    write_png(tmp_path / "a.png", np.zeros((30, 50, 3), np.uint8))
    exif = PIL.Image.Exif()
    exif[274] = 6
    content = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
    plain = (tmp_path / "a.png").read_bytes()
    at = plain.index(place) - 4
    (tmp_path / "a.png").write_bytes(plain[:at] + chunk + plain[at:])
    assert image_size(ImageFile(tmp_path / "a.png")) == read_image(tmp_path / "a.png").shape[:2] == (50, 30)


def test_sizes_of_tiffs_of_more_bits_and_bands_are_those_of_their_heads(tmp_path):
    tifffile = pytest.importorskip("tifffile", reason="an extra is not installed: recam[tiff]")
    values = np.zeros((20, 44, 5), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", planarconfig="contig")
    tifffile.imwrite(tmp_path / "b.tif", values[..., 0].astype(np.float32), compression="zlib")
    samples = [Sample(name, (), ImageFile(tmp_path / f"{name}.tif")) for name in ("a", "b")]
    assert read_sizes(samples).sizes == ((20, 44), (20, 44))  # of the first no band is chosen: it cannot be read


def test_few_of_many_are_looked_at_from_the_first_to_the_last():
    samples = [Sample(str(index), (), Drawn(8, 8 + index)) for index in range(100)]
    found = read_sizes(samples)
    assert len(found.sizes) == DRAWN < FILES
    assert sum(sample.image.read_count for sample in samples) == DRAWN
    assert (found.samples[0].id, found.samples[-1].id) == ("0", "99")
    assert found.longest == 107


def test_typical_images_have_the_mean_size_and_number_of_labels():
    sizes, labels = [10, 20, 30, 60], [(0,), (0, 1), (0, 1), ()]
    samples = [Sample(str(n), own, Drawn(10, n)) for n, own in zip(sizes, labels, strict=True)]
    found = read_sizes(samples)  # mean 300 pixels, 5/3 labels of those that have any
    assert [sample.id for sample in found.typical(4)] == ["30", "20", "10", "60"]
    assert [sample.id for sample in found.typical(1)] == ["30"]


def test_nothing_of_no_images():
    found = read_sizes([])
    assert (found.sizes, found.long_side, found.longest, found.pixels, found.typical(3)) == ((), 0, 0, 0.0, [])
