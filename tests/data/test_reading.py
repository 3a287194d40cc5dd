"""More than 8 bits on one scale, chosen bands, pages: by hand-computed value, and what is refused."""

import json
import sys
import zlib

import numpy as np
import PIL.Image
import pytest

from image_files import change_tags, write_deep_png
from recam.data.arrays import as_image
from recam.data.catalog import fingerprint
from recam.data.decoding import decode
from recam.data.images import ImageFile, image_size, read_image
from recam.data.large_photos import read_reduced
from recam.data.reading import PLAIN, Reading
from recam.data.roles import DataSettings
from recam.digests import digest_file
from recam.errors import DataError, DependencyError, RecipeError
from recam.preprocess import rgb_of
from recam.settings import as_json, read_settings
from recam.types import Sample

tifffile = pytest.importorskip("tifffile", reason="an extra is not installed: recam[tiff]")

# Four bands of a picture without symmetry; the first is 1000 at the left, 3000 at the right.
BANDS = np.array([[[1000, 10, 7, 0], [3000, 20, 7, 65535]], [[2000, 30, 9, 1], [2500, 40, 8, 2]]], np.uint16)
RANGE = ((1000.0, 3000.0),)


def grey(values):
    return np.repeat(np.asarray(values)[:, :, None], 3, 2)


def write_bands(path, values=BANDS, **options):
    tifffile.imwrite(path, values, photometric="minisblack", planarconfig="contig", **options)
    return path


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_twelve_bits_in_sixteen_come_out_over_the_whole_range(tmp_path, ending):
    ramp = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    PIL.Image.fromarray(ramp).save(tmp_path / f"a.{ending}")
    assert read_image(tmp_path / f"a.{ending}").max() == 16  # nearly black, as nobody knows its range
    image = read_image(tmp_path / f"a.{ending}", Reading(value_range=((0, 4095),)))
    np.testing.assert_array_equal(image, grey(np.rint(ramp * (255 / 4095))))
    assert (image.min(), image.max()) == (0, 255)


def test_values_beyond_the_range_are_cut_off(tmp_path):
    PIL.Image.fromarray(np.array([[0, 1000, 2000, 3000, 65535]], np.uint16)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", Reading(value_range=RANGE))[0, :, 0].tolist() == [0, 0, 128, 255, 255]


def test_eight_bits_stay_whatever_the_range(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    PIL.Image.fromarray(picture).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", Reading(value_range=((0, 10),))), picture)


@pytest.mark.parametrize("bands", [2, 3, 4])
def test_colours_of_sixteen_bits_in_a_png_keep_all_of_them(tmp_path, bands):
    values = np.random.default_rng(bands).integers(0, 65536, (5, 7, bands)).astype(np.uint16)
    decoded = decode(write_deep_png(tmp_path / "a.png", values))
    np.testing.assert_array_equal(decoded.values, values)
    names = {2: "grey with transparency, 16 bits", 3: "RGB, 16 bits", 4: "RGB with transparency, 16 bits"}
    assert str(decoded.kind) == names[bands]


def test_alpha_of_sixteen_bits_is_laid_on_white_after_the_range(tmp_path):
    values = np.array([[[1000, 2000, 3000, 65535], [1000, 1000, 1000, 0], [1000, 3000, 2000, 13107]]], np.uint16)
    path = write_deep_png(tmp_path / "a.png", values)  # alpha 1, 0 and a fifth
    assert read_image(path, Reading(value_range=RANGE))[0].tolist() == [[0, 128, 255], [255] * 3, [204, 255, 230]]


def test_chosen_bands_in_their_order(tmp_path):
    path = write_bands(tmp_path / "a.tif")
    first = read_image(path, Reading(bands=(1,), value_range=RANGE))
    assert first.shape == (2, 2, 1)
    assert first[..., 0].tolist() == [[0, 255], [128, 191]]
    three = read_image(path, Reading(bands=(3, 2, 1), value_range=((7, 9), (10, 40), (1000, 3000))))
    assert three.tolist() == [[[0, 0, 0], [0, 85, 255]], [[255, 170, 128], [128, 255, 191]]]
    assert read_image(path, Reading(bands=(1, 2, 3, 4, 1))).shape == (2, 2, 5)


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "zstd"])
@pytest.mark.parametrize("planes", ["contig", "separate"])
def test_layouts_of_tiffs(tmp_path, compression, planes):
    values = np.random.default_rng(1).integers(0, 65536, (40, 50, 5)).astype(np.uint16)
    stored = values if planes == "contig" else values.transpose(2, 0, 1)
    options = {"compression": compression, "predictor": compression is not None, "tile": (16, 16)}
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="minisblack", planarconfig=planes, **options)
    np.testing.assert_array_equal(decode(tmp_path / "a.tif").values, values)
    assert image_size(ImageFile(tmp_path / "a.tif")) == (40, 50)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_of_bands_is_turned_as_pillow_turns_one(tmp_path, orientation):
    values = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    extra = [(274, "H", 1, orientation, True)]
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", extratags=extra)
    write_bands(tmp_path / "b.tif", np.concatenate([values, values[..., :1]], 2).astype(np.uint16), extratags=extra)
    turned = read_image(tmp_path / "b.tif", Reading(bands=(1, 2, 3), value_range=((0, 255),)))
    np.testing.assert_array_equal(turned, read_image(tmp_path / "a.tif"))
    assert image_size(ImageFile(tmp_path / "b.tif")) == turned.shape[:2]


def test_floats_are_on_one_scale_and_nan_is_black(tmp_path):
    values = np.array([[-1.0, 0.0, 1.0], [np.nan, np.inf, -np.inf]], np.float32)
    PIL.Image.fromarray(values).save(tmp_path / "grey.tif")
    write_bands(tmp_path / "bands.tif", np.repeat(values[:, :, None], 5, 2))
    expected = [[0, 128, 255], [0, 0, 0]]
    reading = Reading(value_range=((-1, 1),))
    assert read_image(tmp_path / "grey.tif", reading)[..., 0].tolist() == expected
    bands = Reading(bands=(2, 5), value_range=((-1, 1),))
    np.testing.assert_array_equal(
        read_image(tmp_path / "bands.tif", bands), np.repeat(np.array(expected)[:, :, None], 2, 2)
    )


def test_gdal_s_value_of_no_data_is_black(tmp_path):
    for name, empty, values in (("i.tif", "-9999", np.int16), ("f.tif", "-3.4028234663852886e+38", np.float32)):
        found = np.full((2, 3), 10, values)
        found[0, 0] = values(float(empty))
        write_bands(tmp_path / name, np.repeat(found[:, :, None], 2, 2), extratags=[(42113, "s", 0, empty, True)])
        image = read_image(tmp_path / name, Reading(bands=(1,), value_range=((0, 10),)))
        assert image[..., 0].tolist() == [[0, 255, 255], [255, 255, 255]], name


def test_several_bands_of_which_none_is_chosen_are_refused(tmp_path):
    path = write_bands(tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"a\.tif has 4 bands\. Choose those .* data\.bands = \[1, 2, 3\]"):
        read_image(path)
    with pytest.raises(DataError, match=r"a\.tif has 4 bands, and data\.bands = \[4, 5, 7\] names 5, 7\."):
        read_image(path, Reading(bands=(4, 5, 7)))
    PIL.Image.new("RGB", (3, 2)).save(tmp_path / "b.png")
    with pytest.raises(DataError, match=r"b\.png has 3 bands, and .* names 4"):
        read_image(tmp_path / "b.png", Reading(bands=(4,)))


def test_bands_of_eight_bit_files(tmp_path):
    PIL.Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", Reading(bands=(3, 1))).tolist() == [[[3, 1], [6, 4]]]
    PIL.Image.fromarray(np.array([[9, 7]], np.uint8)).save(tmp_path / "grey.jpg", quality=100, subsampling=0)
    assert read_image(tmp_path / "grey.jpg", Reading(bands=(1,))).shape == (1, 2, 1)
    # What Pillow would drop beside RGB is a band all the same.
    values = np.arange(8, dtype=np.uint8).reshape(1, 2, 4)
    tifffile.imwrite(tmp_path / "b.tif", values, photometric="rgb", extrasamples=["unspecified"])
    assert read_image(tmp_path / "b.tif").tolist() == [[[0, 1, 2], [4, 5, 6]]]
    assert read_image(tmp_path / "b.tif", Reading(bands=(4, 1))).tolist() == [[[3, 0], [7, 4]]]


def test_pages_are_counted_and_one_is_chosen(tmp_path):
    stack = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack")
    with pytest.raises(DataError, match=r"a\.tif has 3 pages or frames, .*Set data\.page"):
        read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", Reading(page=2)), grey(stack[1]))
    with pytest.raises(DataError, match=r"a\.tif has 3 pages, and data\.page is 4"):
        read_image(tmp_path / "a.tif", Reading(page=4))
    with tifffile.TiffWriter(tmp_path / "b.tif") as file:
        for number in range(3):
            file.write(BANDS + np.uint16(number), photometric="minisblack", planarconfig="contig")
    assert read_image(tmp_path / "b.tif", Reading(bands=(3,), page=3, value_range=((7, 11),)))[0, 0, 0] == 128
    assert image_size(ImageFile(tmp_path / "b.tif")) == (2, 2)


def test_smaller_copies_and_masks_of_a_page_are_no_pages(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(BANDS, photometric="minisblack", planarconfig="contig")
        file.write(BANDS[::2, ::2], photometric="minisblack", planarconfig="contig", subfiletype=1)
        file.write(np.zeros((2, 2), bool), photometric="minisblack", subfiletype=4)
    assert read_image(tmp_path / "a.tif", Reading(bands=(1,))).shape == (2, 2, 1)


@pytest.mark.parametrize("ending", ["gif", "png"])
def test_animations_are_refused_or_a_frame_is_chosen(tmp_path, ending):
    frames = [PIL.Image.new("RGB", (4, 3), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(tmp_path / f"a.{ending}", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match=rf"a\.{ending} has 3 pages or frames"):
        read_image(tmp_path / f"a.{ending}")
    assert read_image(tmp_path / f"a.{ending}", Reading(page=3))[0, 0].tolist() == [0, 0, 255]


def test_previews_beside_a_camera_s_photo_are_no_frames(tmp_path):
    first, second = (PIL.Image.new("RGB", (16, 16), colour) for colour in ("red", "blue"))
    first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[second])
    assert read_image(tmp_path / "a.jpg")[0, 0, 0] > 250


def test_a_head_that_asks_for_terabytes_is_refused_before_it_is_decoded(tmp_path):
    path = write_bands(tmp_path / "a.tif")
    change_tags(path, width=1_000_000, height=1_000_000)
    for read in (read_image, lambda path, reading: image_size(ImageFile(path, reading))):
        with pytest.raises(
            DataError, match=r"a\.tif has 1000000×1000000 pixels.*more than the limit.*RECAM_MAX_PIXELS"
        ):
            read(path, Reading(bands=(1,)))


def test_bytes_are_bounded_as_pixels_are(tmp_path, monkeypatch):
    path = write_bands(tmp_path / "a.tif", np.zeros((10, 10, 6), np.uint16))  # 12 bytes a pixel
    monkeypatch.setenv("RECAM_MAX_PIXELS", "299")
    with pytest.raises(DataError, match=r"10×10 pixels of 6 × 2 bytes.*RECAM_MAX_PIXELS=300"):
        read_image(path, Reading(bands=(1,)))
    monkeypatch.setenv("RECAM_MAX_PIXELS", "300")
    assert read_image(path, Reading(bands=(1,))).shape == (10, 10, 1)


def test_a_strip_that_unpacks_to_more_than_its_page_is_refused(tmp_path):
    path = write_bands(tmp_path / "a.tif", np.zeros((10, 10, 4), np.uint16), compression="zlib")
    bomb = zlib.compress(bytes(50_000_000), 9)
    start = path.stat().st_size
    path.write_bytes(path.read_bytes() + bomb)
    change_tags(path, offsets=start, counts=len(bomb))
    with pytest.raises(DataError, match=r"a\.tif is truncated or damaged .*Replace it"):
        read_image(path, Reading(bands=(1,)))


def test_damaged_tiffs_say_so(tmp_path):
    path = write_bands(tmp_path / "a.tif", np.random.default_rng(0).integers(0, 9, (20, 20, 4)).astype(np.uint16))
    whole = path.read_bytes()
    for length in (4, 7, 8, 9, 20, 120, len(whole) // 2):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"a\.tif is .*Replace it"):
            read_image(path, Reading(bands=(1,)))
    path.write_bytes(whole[:8] + b"\xff" * (len(whole) - 8))
    with pytest.raises(DataError, match=r"a\.tif is .*Replace it"):
        read_image(path)
    write_bands(tmp_path / "c.tif", np.zeros((4, 4, 2), np.complex64))
    with pytest.raises(DataError, match="holds complex64, which is no image"):
        read_image(tmp_path / "c.tif", Reading(bands=(1,)))


def test_without_the_extra_it_is_named(tmp_path, monkeypatch):
    path = write_bands(tmp_path / "a.tif")
    PIL.Image.fromarray(BANDS[..., 0]).save(tmp_path / "grey.tif")
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(DependencyError, match=r"a\.tif is a TIFF of 4 bands of 16 bits\. .*install 'recam\[tiff\]'"):
        read_image(path, Reading(bands=(1,)))
    assert read_image(tmp_path / "grey.tif", Reading(value_range=RANGE))[0, :, 0].tolist() == [0, 255]


def test_arrays_are_read_as_files_that_hold_them(tmp_path):
    reading = Reading(bands=(3, 1), value_range=((7, 9), (1000, 3000)))
    expected = read_image(write_bands(tmp_path / "a.tif"), reading)
    np.testing.assert_array_equal(as_image(BANDS, reading), expected)
    np.testing.assert_array_equal(as_image(BANDS.astype(np.float64), reading), expected)
    torch = pytest.importorskip("torch")
    many = np.repeat(np.repeat(BANDS, 4, 0), 4, 1).astype(np.float32)
    np.testing.assert_array_equal(as_image(torch.from_numpy(many.transpose(2, 0, 1)), reading), as_image(many, reading))
    with pytest.raises(DataError, match=r"the array \(2, 2, 2\) has 2 bands, and data\.bands = \[3, 1\] names 3"):
        as_image(BANDS[..., :2], reading)
    grey_range = Reading(value_range=RANGE)
    assert as_image(BANDS[..., 0], grey_range)[..., 0].tolist() == [[0, 255], [128, 191]]
    assert as_image(PIL.Image.fromarray(BANDS[..., 0]), grey_range)[..., 1].tolist() == [[0, 255], [128, 191]]
    np.testing.assert_array_equal(as_image(np.full((4, 4), 9, np.uint8), grey_range), np.full((4, 4, 3), 9))


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(RecipeError, match=r"value_range: \(5, 1\) is none: give \(low, high\) with low below high"):
        Reading(value_range=((5, 1),))
    with pytest.raises(RecipeError, match="value_range has 2 pairs for 3 bands"):
        DataSettings(value_range=((0, 1), (0, 2)))
    for name, value in (("bands", [0]), ("bands", []), ("page", 0), ("value_range", [[1]])):
        with pytest.raises(RecipeError, match=rf"DataSettings does not hold: {name}"):
            read_settings(DataSettings, {"location": "folder:x", name: value})
    with pytest.raises(RecipeError, match=r"data\.bands, .* are for image files"):
        DataSettings("scenes:", bands=(1,)).open().samples("train")


def test_what_is_chosen_is_a_part_of_an_image_s_hash_and_nothing_else_is(tmp_path):
    path = write_bands(tmp_path / "a.tif")

    def hash_of(reading):
        return fingerprint([Sample("a", (), ImageFile(path, reading))])

    plain = ImageFile(path)
    assert plain.fingerprint(digest_file) == ImageFile(path, Reading()).fingerprint(digest_file) == digest_file(path)
    chosen = [PLAIN, Reading(bands=(1,)), Reading(bands=(2,)), Reading(page=1), Reading(value_range=RANGE)]
    assert len({hash_of(reading) for reading in chosen}) == len(chosen)
    described = json.loads(json.dumps(as_json(chosen[-1])))
    assert hash_of(read_settings(Reading, described)) == hash_of(chosen[-1])


def test_large_images_of_bands_are_reduced(tmp_path, monkeypatch):
    monkeypatch.setattr("recam.data.large_photos.LARGE", 100)
    values = np.zeros((40, 20, 5), np.uint16)
    values[:20, :, 1] = 1000
    source = ImageFile(write_bands(tmp_path / "a.tif", values), Reading(bands=(2, 1), value_range=((0, 1000),)))
    image, size = read_reduced(source, 10)
    assert (image.shape, size) == ((10, 5, 2), (40, 20))
    assert image[..., 0].tolist() == [[255] * 5] * 5 + [[0] * 5] * 5
    assert not image[..., 1].any()


def test_people_see_the_first_three_bands():
    image = np.arange(2 * 2 * 5, dtype=np.uint8).reshape(2, 2, 5)
    np.testing.assert_array_equal(rgb_of(image), image[..., :3])
    np.testing.assert_array_equal(rgb_of(image[..., :2]), image[..., [0, 1, 1]])
    np.testing.assert_array_equal(rgb_of(image[..., :1]), image[..., [0, 0, 0]])
