"""What a viewer shows, from every kind of file; class values, from every kind of mask."""

import errno
from multiprocessing.reduction import ForkingPickler

import numpy as np
import PIL.Image
import pytest

from recam.data.images import (
    MASK_ENDINGS,
    ImageFile,
    MaskFile,
    image_size,
    read_grey,
    read_image,
    read_mask,
    write_grey,
    write_mask,
    write_png,
)
from recam.digests import digest_file
from recam.errors import DataError, StoreError
from recam.files import atomic_write, write_bytes
from recam.labels import VOC_CLASSES, ClassSet, voc_palette

# A 2×3 picture without symmetry.
PICTURE = np.array(
    [[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[255, 255, 0], [0, 0, 0], [255, 255, 255]]],
    np.uint8,
)
GREY = np.array([[0, 100, 200], [50, 150, 255]], np.uint8)


def as_rgb(grey):
    return np.repeat(np.asarray(grey)[:, :, None], 3, axis=2)


def test_rgb_and_grey_and_palette(tmp_path):
    PIL.Image.fromarray(PICTURE).save(tmp_path / "rgb.png")
    PIL.Image.fromarray(GREY).save(tmp_path / "grey.png")
    PIL.Image.fromarray(PICTURE).quantize(8).save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read_image(tmp_path / "rgb.png"), PICTURE)
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png"), as_rgb(GREY))
    np.testing.assert_array_equal(read_image(str(tmp_path / "palette.png")), PICTURE)
    assert read_image(tmp_path / "rgb.png").flags.writeable


@pytest.mark.parametrize(
    ("orientation", "shown"),
    [
        (1, PICTURE),
        (2, PICTURE[:, ::-1]),
        (3, PICTURE[::-1, ::-1]),
        (4, PICTURE[::-1]),
        (5, PICTURE.transpose(1, 0, 2)),
        (6, np.rot90(PICTURE, -1)),
        (7, np.rot90(PICTURE, 2).transpose(1, 0, 2)),
        (8, np.rot90(PICTURE)),
    ],
)
@pytest.mark.parametrize("ending", ["png", "tiff"])
def test_exif_orientation_is_applied_once(tmp_path, orientation, shown, ending):
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    PIL.Image.fromarray(PICTURE).save(tmp_path / f"a.{ending}", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / f"a.{ending}"), shown)


def test_damaged_exif_is_ignored(tmp_path):
    PIL.Image.fromarray(PICTURE).save(tmp_path / "a.png", exif=b"Exif\x00\x00not a directory")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), PICTURE)


@pytest.mark.parametrize("ending", ["jpg", "tif"])  # a JPEG holds CMYK inverted (Adobe), a TIFF as it is
def test_cmyk(tmp_path, ending):
    red = PIL.Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    red.save(tmp_path / f"a.{ending}")
    assert np.abs(read_image(tmp_path / f"a.{ending}").astype(int) - [255, 0, 0]).max() <= 3


def test_sixteen_bit_is_scaled_by_range(tmp_path):
    values = np.array([[0, 257, 65535], [128 * 257, 300 * 100, 65400]], np.uint16)
    expected = as_rgb([[0, 1, 255], [128, 117, 254]])
    PIL.Image.fromarray(values).save(tmp_path / "a.png")
    PIL.Image.fromarray(values).save(tmp_path / "a.tif")
    big_endian = PIL.Image.frombytes("I;16B", (3, 2), values.astype(">u2").tobytes())
    big_endian.save(tmp_path / "b.tif")
    for name in ("a.png", "a.tif", "b.tif"):
        np.testing.assert_array_equal(read_image(tmp_path / name), expected, err_msg=name)


def test_integers_and_floats_are_stretched(tmp_path):
    PIL.Image.fromarray(np.array([[-1000, 1_000_000], [499_500, -1000]], np.int32)).save(tmp_path / "i.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "i.tif"), as_rgb([[0, 255], [128, 0]]))
    PIL.Image.fromarray(np.array([[0.0, 0.5], [1.0, np.nan]], np.float32)).save(tmp_path / "unit.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "unit.tif"), as_rgb([[0, 128], [255, 0]]))
    PIL.Image.fromarray(np.array([[10.0, 20.0], [30.0, 10.0]], np.float32)).save(tmp_path / "wide.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "wide.tif"), as_rgb([[0, 128], [255, 0]]))


def test_alpha_is_laid_on_white(tmp_path):
    alpha = np.array([[0, 255, 51], [255, 255, 255]], np.uint8)
    PIL.Image.fromarray(np.dstack([PICTURE, alpha])).save(tmp_path / "rgba.png")
    expected = PICTURE.copy()
    expected[0, 0] = 255  # transparent red
    expected[0, 2] = [204, 204, 255]  # blue at 20 %
    np.testing.assert_array_equal(read_image(tmp_path / "rgba.png"), expected)
    PIL.Image.fromarray(GREY).save(tmp_path / "key.png", transparency=100)  # one grey value is transparent
    assert read_image(tmp_path / "key.png")[0].tolist() == [[0] * 3, [255] * 3, [200] * 3]
    PIL.Image.merge("LA", [PIL.Image.fromarray(GREY), PIL.Image.fromarray(alpha)]).save(tmp_path / "la.png")
    assert read_image(tmp_path / "la.png")[0].tolist() == [[255] * 3, [100] * 3, [244] * 3]


@pytest.mark.filterwarnings("error")
def test_a_large_photo_is_no_bomb(tmp_path):
    PIL.Image.new("L", (4000, 3000)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").shape == (3000, 4000, 3)


def test_bad_files_say_which_and_what_to_do(tmp_path):
    with pytest.raises(DataError, match=r"none\.png does not exist\. Put the file there"):
        read_image(tmp_path / "none.png")
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(DataError, match=r"empty\.jpg is an empty file\. Replace it"):
        read_image(tmp_path / "empty.jpg")
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(DataError, match=r"text\.jpg is no image"):
        read_image(tmp_path / "text.jpg")
    noise = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    for ending in ("jpg", "png", "webp", "bmp", "tif"):
        whole = tmp_path / f"whole.{ending}"
        noise.save(whole)
        cut = tmp_path / f"cut.{ending}"
        cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
        with pytest.raises(DataError, match=rf"cut\.{ending} is .*Replace it by an intact copy"):
            read_image(cut)
    with pytest.raises(DataError, match="Replace it"):
        read_image(tmp_path)


@pytest.mark.parametrize("block", [1, 4, 1 << 20])
def test_conversion_in_blocks_of_rows_changes_nothing(tmp_path, monkeypatch, block):
    monkeypatch.setattr("recam.data.rendering._BLOCK", block)
    alpha = np.array([[0, 255, 51], [255, 255, 255]], np.uint8)
    PIL.Image.fromarray(np.dstack([PICTURE, alpha])).save(tmp_path / "rgba.png")
    assert read_image(tmp_path / "rgba.png").tolist()[0] == [[255] * 3, [0, 255, 0], [204, 204, 255]]
    PIL.Image.frombytes("I;16B", (3, 2), (GREY.astype(">u2") * 257).tobytes()).save(tmp_path / "b.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "b.tif"), as_rgb(GREY))
    PIL.Image.fromarray(np.array([[10.0, 20.0], [30.0, 10.0]], np.float32)).save(tmp_path / "f.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "f.tif"), as_rgb([[0, 128], [255, 0]]))
    values = np.array([[0, 1, 2], [20, 255, 0]], np.uint8)
    PIL.Image.fromarray(voc_palette()[values]).save(tmp_path / "painted.png")
    PIL.Image.fromarray(values.astype(np.uint16)).save(tmp_path / "sixteen.png")
    for name in ("painted.png", "sixteen.png"):
        np.testing.assert_array_equal(read_mask(tmp_path / name), values, err_msg=name)


def test_foreign_colours_of_all_blocks_are_listed_once(tmp_path, monkeypatch):
    monkeypatch.setattr("recam.data.rendering._BLOCK", 1)
    PIL.Image.fromarray(
        np.array([[[1, 2, 3], [0, 0, 0]], [[1, 2, 3], [128, 0, 0]], [[9, 9, 9], [0, 0, 0]]], np.uint8)
    ).save(tmp_path / "m.png")
    with pytest.raises(DataError, match=r"2 colours .*: \(1, 2, 3\), \(9, 9, 9\)\. Save"):
        read_mask(tmp_path / "m.png")


@pytest.mark.parametrize("values", [[0, 1, 1], [0, 255, 0], [0, 2, 5], [3, 3, 3]])
def test_a_gif_of_greys_gives_them_although_its_palette_is_renumbered(tmp_path, values):
    PIL.Image.fromarray(np.array([values], np.uint8)).save(tmp_path / "m.gif")
    assert read_mask(tmp_path / "m.gif").tolist() == [values]


def test_a_gif_of_colours_gives_their_indices(tmp_path):
    write_mask(tmp_path / "m.png", np.array([[0, 1, 2, 255]], np.uint8))
    with PIL.Image.open(tmp_path / "m.png") as picture:
        picture.save(tmp_path / "m.gif")
    assert read_mask(tmp_path / "m.gif").tolist() == [[0, 1, 2, 255]]
    PIL.Image.fromarray(np.array([[[1, 2, 3], [0, 0, 0]]], np.uint8)).save(tmp_path / "f.gif")
    with pytest.raises(DataError, match=r"1 colour that the VOC palette does not hold: \(1, 2, 3\)"):
        read_mask(tmp_path / "f.gif")


@pytest.mark.parametrize("ending", MASK_ENDINGS)
def test_masks_of_all_endings(tmp_path, ending):
    values = np.array([[0, 1, 2], [20, 255, 0]], np.uint8)
    PIL.Image.fromarray(values).save(tmp_path / f"m{ending}")
    np.testing.assert_array_equal(read_mask(tmp_path / f"m{ending}"), values)


def test_mask_round_trip_with_palette(tmp_path):
    mask = np.arange(256, dtype=np.uint8).reshape(16, 16)
    write_mask(tmp_path / "deep" / "m.png", mask)
    np.testing.assert_array_equal(read_mask(tmp_path / "deep" / "m.png"), mask)
    np.testing.assert_array_equal(read_image(tmp_path / "deep" / "m.png"), voc_palette()[mask])
    with pytest.raises(ValueError, match="uint8"):
        write_mask(tmp_path / "m.png", mask.astype(np.int64))


def test_image_round_trip(tmp_path):
    write_png(tmp_path / "a.png", PICTURE)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), PICTURE)
    with pytest.raises(ValueError, match="uint8"):
        write_png(tmp_path / "b.png", GREY)


def test_mask_kinds(tmp_path):
    values = np.array([[0, 1, 2], [20, 255, 0]], np.uint8)
    PIL.Image.fromarray(values).save(tmp_path / "grey.png")
    PIL.Image.fromarray(values.astype(np.uint16)).save(tmp_path / "sixteen.png")
    PIL.Image.fromarray(values.astype(np.int32)).save(tmp_path / "thirty-two.tif")
    PIL.Image.fromarray(voc_palette()[values]).save(tmp_path / "painted.png")
    for name in ("grey.png", "sixteen.png", "thirty-two.tif", "painted.png"):
        mask = read_mask(tmp_path / name)
        assert mask.dtype == np.uint8
        np.testing.assert_array_equal(mask, values, err_msg=name)
    PIL.Image.fromarray(values > 1).save(tmp_path / "bit.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "bit.png"), values > 1)


def test_masks_that_hold_no_classes(tmp_path):
    PIL.Image.fromarray(np.array([[0, 300]], np.uint16)).save(tmp_path / "high.png")
    with pytest.raises(DataError, match=r"high\.png holds mask values from 0 to 300"):
        read_mask(tmp_path / "high.png")
    PIL.Image.fromarray(np.array([[[0, 0, 0], [1, 2, 3]]], np.uint8)).save(tmp_path / "paint.png")
    with pytest.raises(DataError, match=r"paint\.png is painted in 1 colour .*\(1, 2, 3\)"):
        read_mask(tmp_path / "paint.png")
    PIL.Image.fromarray(GREY).save(tmp_path / "m.jpg")
    with pytest.raises(DataError, match=r"m\.jpg is a JPEG"):
        read_mask(tmp_path / "m.jpg")


def test_sources(tmp_path):
    write_png(tmp_path / "a.png", PICTURE)
    write_mask(tmp_path / "m.png", np.array([[0, 8, 12, 15, 255]], np.uint8))  # background, cat, dog, person, ignore
    image = ImageFile(tmp_path / "a.png")
    assert image.where == str(tmp_path / "a.png")
    np.testing.assert_array_equal(image.read(), PICTURE)

    _, table = ClassSet(VOC_CLASSES).select(["dog", "cat"])
    plain, mask = MaskFile(tmp_path / "m.png"), MaskFile(tmp_path / "m.png", table)
    assert mask.read().tolist() == [[0, 1, 2, 255, 255]]
    assert plain.fingerprint(digest_file) != mask.fingerprint(digest_file)
    assert ForkingPickler.loads(ForkingPickler.dumps(mask)) == mask
    assert len({mask, MaskFile(tmp_path / "m.png", table), plain, image}) == 3
    with pytest.raises(ValueError, match="256"):
        MaskFile(tmp_path / "m.png", np.zeros(3, np.uint8))

    before = image.fingerprint(digest_file)
    assert before == ImageFile(tmp_path / "a.png").fingerprint(digest_file)
    write_png(tmp_path / "a.png", np.zeros((5, 5, 3), np.uint8))
    assert image.fingerprint(digest_file) != before
    (tmp_path / "a.png").unlink()
    with pytest.raises(DataError, match=r"a\.png cannot be read .*Put it back"):
        image.fingerprint(digest_file)


@pytest.mark.parametrize(
    ("failure", "error", "message"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device"),
            StoreError,
            "disk full while writing .*m.png; nothing was damaged; free space",
        ),
        (RuntimeError("IoError: No space left on device (os error 28)"), StoreError, "disk full"),
        (OSError(errno.EACCES, "Permission denied"), StoreError, "may not write .*m.png"),
        (KeyError("x"), KeyError, "x"),
        (KeyboardInterrupt("stop"), KeyboardInterrupt, "stop"),
    ],
)
def test_a_failed_write_leaves_what_was_there(tmp_path, failure, error, message):
    path = tmp_path / "m.png"
    path.write_bytes(b"before")

    def write():
        with atomic_write(path) as temporary:
            temporary.write_bytes(b"half")
            raise failure

    with pytest.raises(error, match=message):
        write()
    assert path.read_bytes() == b"before"
    assert [p.name for p in tmp_path.iterdir()] == ["m.png"]


def test_a_write_is_seen_only_when_whole(tmp_path):
    path = tmp_path / "new" / "a.bin"
    with atomic_write(path) as temporary:
        temporary.write_bytes(b"first")
        assert not path.exists()
        assert temporary.parent == path.parent
        assert temporary.suffix == ".tmp"
    assert path.read_bytes() == b"first"
    write_bytes(path, b"second")
    assert path.read_bytes() == b"second"
    assert [p.name for p in path.parent.iterdir()] == ["a.bin"]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "tiff", "jpg"])
def test_size_is_that_of_the_image_as_it_is_read(tmp_path, orientation, ending):
    picture = PIL.Image.fromarray(PICTURE)
    exif = picture.getexif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned.{ending}"
    picture.save(path, exif=exif)
    assert image_size(ImageFile(path)) == read_image(path).shape[:2]


def test_size_of_a_damaged_file_is_no_size(tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(DataError, match="is no image that can be read"):
        image_size(ImageFile(tmp_path / "text.png"))


def test_grey_of_8_16_and_1_bits(tmp_path):
    write_grey(tmp_path / "8.png", GREY / np.float32(255))
    np.testing.assert_array_equal(read_grey(tmp_path / "8.png"), GREY / np.float32(255))
    PIL.Image.fromarray(GREY.astype(np.uint16) * 257).save(tmp_path / "16.png")
    np.testing.assert_array_equal(read_grey(tmp_path / "16.png"), read_grey(tmp_path / "8.png"))
    PIL.Image.fromarray(GREY > 127).save(tmp_path / "1.png")
    assert read_grey(tmp_path / "1.png").tolist() == [[0, 0, 1], [0, 1, 1]]
    assert read_grey(tmp_path / "1.png").dtype == np.float32


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "CMYK"])
def test_what_is_not_grey_is_refused(tmp_path, mode):
    path = tmp_path / ("colours.tiff" if mode == "CMYK" else "colours.png")
    PIL.Image.fromarray(PICTURE).convert(mode).save(path)
    with pytest.raises(DataError, match=f"has the colour mode {mode}, not grey. Save it as a grey PNG of 8 or 16 bits"):
        read_grey(path)
