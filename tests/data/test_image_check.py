"""What `check` reports of image files: their kinds, one range of values for all, and mixtures."""

import numpy as np
import PIL.Image
import pytest

from image_files import write_deep_png
from recam.data.check import check
from recam.data.image_check import FEWEST, VALUES, count_draws
from recam.data.images import ImageFile
from recam.data.reading import Reading
from recam.types import Sample

tifffile = pytest.importorskip("tifffile", reason="an extra is not installed: recam[tiff]")


def make(root, **images):
    """A folder of images by name: an array, written as PNG or, of more than four bands or as floats, as TIFF."""
    (root / "images").mkdir(parents=True, exist_ok=True)
    rows = ["image,labels,split"]
    for name, values in images.items():
        place = root / "images" / name
        if values.dtype == np.uint8 and values.ndim == 3 and values.shape[2] <= 4:
            PIL.Image.fromarray(values).save(place.with_suffix(".png"))
        elif values.dtype == np.uint16 and values.ndim == 3 and values.shape[2] == 3:
            write_deep_png(place.with_suffix(".png"), values)
        else:
            tifffile.imwrite(place.with_suffix(".tif"), values, photometric="minisblack", planarconfig="contig")
        rows.append(f"{name},{'' if name == 'b' else 'cat'},{'val' if name.startswith('v') else 'train'}")
    (root / "labels.csv").write_text("\n".join(rows))
    return f"folder:{root}"


def notes(report):
    return {note.kind: note.message for note in report.notes}


def test_the_range_is_that_of_the_percentiles_of_the_training_images(tmp_path):
    ramp = np.arange(1001, dtype=np.uint16)[None].repeat(2, 0)  # 0.5 % lies at 5, 99.5 % at 995
    report = check(make(tmp_path, a=ramp[:, :501], b=ramp[:, 501:], v=ramp + np.uint16(5000)))
    assert report.value_range == ((5.0, 995.0),)
    assert report.kinds == {"grey, 16 bits": 3}
    assert "image files: grey, 16 bits (3)" in str(report)
    assert "black to white in more than 8 bits: 5 to 995" in str(report)
    assert report.as_dict()["value_range"] == [[5.0, 995.0]]
    assert report.as_dict()["kinds"] == {"grey, 16 bits": 3}


def test_the_range_is_counted_where_a_folder_names_no_split(tmp_path):
    location = make(tmp_path, a=np.arange(1001, dtype=np.uint16)[None].repeat(2, 0))
    (tmp_path / "labels.csv").write_text("image,labels\na,cat\n")
    assert check(location).value_range == ((5.0, 995.0),)


def test_an_image_alone_and_among_others_has_the_same_pixels(tmp_path):
    dark, bright = (np.full((4, 4), value, np.uint16) for value in (100, 4000))
    dark[0, 0], bright[0, 0] = 0, 4095
    found = [
        check(make(tmp_path / "alone", a=dark), value_range=[[0, 4095]]),
        check(make(tmp_path / "both", a=dark, b=bright), value_range=[[0, 4095]]),
    ]
    assert all(report.ok for report in found)
    reading = Reading(value_range=((0.0, 4095.0),))
    alone, among = (ImageFile(tmp_path / name / "images" / "a.tif", reading) for name in ("alone", "both"))
    np.testing.assert_array_equal(alone.read(), among.read())
    assert alone.read()[1, 1, 0] == round(100 * 255 / 4095)


def test_each_band_has_its_own_range_and_no_data_counts_for_none(tmp_path):
    values = np.stack([np.full((20, 20), 5.0), np.linspace(-2, 2, 400).reshape(20, 20)], 2).astype(np.float32)
    values[0, :, 1] = np.nan
    report = check(make(tmp_path, a=values), bands=[2, 1])
    (low, high), (one, other) = report.value_range
    known = np.linspace(-2, 2, 400)[20:]
    assert (low, high) == tuple(float(f"{end:.6g}") for end in np.percentile(known.astype(np.float32), (0.5, 99.5)))
    assert (one, other) == (5.0, 6.0)  # one value alone is black


def test_grey_and_colours_share_one_range(tmp_path):
    grey = np.full((10, 10), 1000, np.uint16)
    colours = np.full((10, 10, 3), 3000, np.uint16)
    report = check(make(tmp_path, a=grey, b=colours))
    assert report.value_range == ((1000.0, 3000.0),)
    assert not report.notes


def test_eight_bits_have_no_range(tmp_path):
    report = check(make(tmp_path, a=np.zeros((3, 3, 3), np.uint8), b=np.zeros((3, 3, 4), np.uint8)))
    assert report.value_range is None
    assert report.kinds == {"RGB, 8 bits": 1, "RGB with transparency, 8 bits": 1}
    assert not report.notes


def test_mixtures_are_noted(tmp_path):
    eight, sixteen = np.zeros((3, 3, 3), np.uint8), np.zeros((3, 3), np.uint16)
    message = notes(check(make(tmp_path / "a", a=eight, b=sixteen, c=sixteen)))["mixed-depth"]
    assert "(2 × grey, 16 bits, 1 × RGB, 8 bits)" in message
    three, four = np.zeros((3, 3, 3), np.uint16), np.zeros((3, 3, 4), np.uint16)
    found = notes(check(make(tmp_path / "b", a=three, b=four), bands=[1, 2, 3]))
    assert list(found) == ["mixed-bands"]
    assert "(1 × RGB, 16 bits, 1 × 4 bands, 16 bits)" in found["mixed-bands"]
    floats = np.zeros((3, 3), np.float32)
    assert "mixed-depth" in notes(check(make(tmp_path / "c", a=sixteen, b=floats)))


def test_transparency_that_is_chosen_as_a_band_is_noted(tmp_path):
    data = make(tmp_path, a=np.zeros((3, 3, 3), np.uint16))
    values = np.zeros((3, 3, 4), np.uint16)
    (tmp_path / "images" / "a.png").unlink()
    tifffile.imwrite(tmp_path / "images" / "a.tif", values, photometric="rgb", extrasamples=["unassalpha"])
    assert "mark as transparency (first: a)" in notes(check(data, bands=[4, 3, 2]))["alpha-chosen"]
    assert not check(data, bands=[3, 2, 1]).notes


@pytest.mark.parametrize(("options", "noted"), [({}, True), ({"max_side": 512}, False)])
def test_large_photos_without_a_bound_are_noted(tmp_path, monkeypatch, options, noted):
    monkeypatch.setattr("recam.data.image_check.LARGE_PHOTO", 100)
    report = check(make(tmp_path, a=np.zeros((10, 10, 3), np.uint8), b=np.zeros((9, 10, 3), np.uint8)), **options)
    assert report.large == 1
    assert ("large-photos" in notes(report)) == noted


def test_pixels_that_are_drawn_are_bounded_however_many_images_there_are(tmp_path):
    samples = [Sample(str(number), (), ImageFile(tmp_path)) for number in range(3 * VALUES // FEWEST)]
    for count in (0, 1, 1000, len(samples)):
        draws = count_draws(samples[:count])
        assert sum(draws.values()) <= VALUES
        assert len(draws) == min(count, VALUES // FEWEST)


def test_pages_and_bands_nobody_has_chosen_are_problems(tmp_path):
    data = make(tmp_path, a=np.zeros((3, 3, 5), np.uint16))
    stack = np.zeros((2, 3, 3), np.uint8)
    tifffile.imwrite(tmp_path / "images" / "a.tif", stack, photometric="minisblack")
    (problem,) = check(data).problems
    assert (problem.kind, problem.message.partition(",")[0]) == ("unreadable-image", "has 2 pages or frames")
    assert check(data, page=2).ok
