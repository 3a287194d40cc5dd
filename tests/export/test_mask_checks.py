"""Masks, photos and names that do not go together are reported before anything is written, all of them at once."""

import json
import shutil
import struct
import unicodedata
import zlib

import numpy as np
import PIL.Image
import pytest

import recam
from recam.data.images import write_mask
from recam.errors import DataError, RecipeError, StoreError
from recam.export.formats import formats
from recam.export.label_studio import address
from recam.export.staging import staged

ALL = ["coco", "cvat", "label-studio", "voc"]
ORIENTATION = 0x112


def mask_file(place, values=(1,), size=(4, 6)):
    """A mask whose first pixels hold the values."""
    mask = np.zeros(size, np.uint8)
    mask.flat[: len(values)] = values
    write_mask(place, mask)


def photo_file(place, size=(4, 6), orientation=None):
    place.parent.mkdir(parents=True, exist_ok=True)
    exif = PIL.Image.Exif()
    if orientation:
        exif[ORIENTATION] = orientation
    PIL.Image.new("RGB", size[::-1]).save(place, exif=exif)


def export(root, to="coco", classes=("cat", "dog"), **words):
    return recam.export_masks(root / "masks", root / "out", to, images=root / "photos", classes=list(classes), **words)


def reported(root, *words, **named):
    """What an export that fails reports; nothing of it is there."""
    before = sorted(root.rglob("*"))
    with pytest.raises(DataError) as caught:
        export(root, *words, **named)
    assert sorted(root.rglob("*")) == before
    return str(caught.value)


@pytest.mark.parametrize("to", ALL)
def test_sizes_are_compared_with_photos_as_viewers_show_them(tmp_path, to):
    masks, photos = tmp_path / "masks", tmp_path / "photos"
    mask_file(masks / "fits.png")
    photo_file(photos / "fits.jpg")
    mask_file(masks / "stored.png")  # as the file holds it; a viewer shows 4 wide and 6 high
    photo_file(photos / "stored.jpg", orientation=6)
    mask_file(masks / "upright.png", size=(6, 4))
    photo_file(photos / "upright.jpg", orientation=8)
    mask_file(masks / "small.png", size=(2, 3))
    photo_file(photos / "small.jpg")
    text = reported(tmp_path, to)
    assert text.startswith("2 problems:")
    assert (
        "small.png: is 3×2, and its photo small.jpg 6×4 as a viewer shows it. Name the masks and photos that belong"
        " together." in text
    )
    assert (
        "stored.png: is 6×4, and its photo stored.jpg 4×6 as a viewer shows it. If the mask is that of the photo as"
        " stored" in text
    )


def test_a_turned_photo_has_the_size_that_viewers_show(tmp_path):
    mask_file(tmp_path / "masks" / "a.png", size=(6, 4))
    photo_file(tmp_path / "photos" / "a.jpg", orientation=6)
    export(tmp_path)
    (image,) = json.loads((tmp_path / "out" / "annotations.json").read_text())["images"]
    assert (image["width"], image["height"]) == (4, 6)


@pytest.mark.parametrize("to", ALL)
def test_masks_and_photos_that_cannot_be_read_are_listed_with_all_others(tmp_path, to):
    masks, photos = tmp_path / "masks", tmp_path / "photos"
    for name in ("cut", "empty", "huge", "seven", "nine", "photo"):
        mask_file(masks / f"{name}.png", (1, 2, 255, *({"seven": [7], "nine": [3, 9]}.get(name, []))))
        photo_file(photos / f"{name}.jpg")
    (masks / "empty.png").write_bytes(b"")
    (masks / "cut.png").write_bytes((masks / "cut.png").read_bytes()[:60])
    head = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    (masks / "huge.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    )
    (photos / "photo.jpg").write_bytes(b"no photo")
    text = reported(tmp_path, to)
    assert text.startswith("6 problems:")
    for name in ("cut", "empty", "huge"):
        assert f"[unreadable-mask] {masks / name}.png: " in text
    assert f"[unreadable-photo] {photos / 'photo.jpg'}: " in text
    assert "seven.png: holds the mask values 7, but there are 2 classes" in text
    assert "nine.png: holds the mask values 3, 9, but there are 2 classes" in text


def test_several_photos_of_one_name(tmp_path):
    mask_file(tmp_path / "masks" / "a.png")
    mask_file(tmp_path / "masks" / "b.png")
    for name in ("a.jpg", "a.png", "b.jpg", "unused.jpg", "unused.png"):
        photo_file(tmp_path / "photos" / name)
    text = reported(tmp_path)
    assert text.startswith("1 problem:")
    assert f"a.png: is the mask of several photos in {tmp_path / 'photos'} (a.jpg and a.png). Keep one" in text


def test_photos_may_lie_beside_their_masks(tmp_path):
    mask_file(tmp_path / "a.png")
    photo_file(tmp_path / "a.jpg")
    recam.export_masks(tmp_path, tmp_path.parent / f"{tmp_path.name}-out", "coco", images=tmp_path, classes=["cat"])
    (image,) = json.loads((tmp_path.parent / f"{tmp_path.name}-out" / "annotations.json").read_text())["images"]
    assert image["file_name"] == "a.jpg"


def test_accents_are_the_same_however_they_are_written(tmp_path):
    composed, apart = (unicodedata.normalize(form, "Grüße") for form in ("NFC", "NFD"))
    mask_file(tmp_path / "masks" / f"{composed}.png")
    photo_file(tmp_path / "photos" / f"{apart}.jpg")
    export(tmp_path, "voc", copy_images=True)
    written = {path.name for path in (tmp_path / "out").rglob("*") if path.suffix in (".png", ".jpg")}
    assert written == {f"{apart}.png", f"{apart}.jpg"}  # the photo's own name, for both
    assert (tmp_path / "out" / "ImageSets" / "Segmentation" / "train.txt").read_text() == f"{apart}\n"
    mask_file(tmp_path / "masks" / f"{apart}.png")
    (tmp_path / "out").rename(tmp_path / "before")
    assert "but for how accents are written. Keep one" in reported(tmp_path)


def test_names_that_are_one_file_elsewhere(tmp_path):
    for name in ("Day/a", "day/A"):
        mask_file(tmp_path / "masks" / f"{name}.png")
        photo_file(tmp_path / "photos" / f"{name}.jpg")
    for to, file in (("voc", "day__A"), ("coco", "day/A.jpg")):
        text = reported(tmp_path, to, copy_images=True)
        assert text.startswith("1 problem:")
        assert (
            f"day/A.jpg: would be written as '{file}', which is the same file as that of 'Day/a.jpg' where case does"
            " not count." in text
        )
    assert export(tmp_path, "coco").masks == 2  # no file is written after them


def test_names_that_formats_cannot_hold(tmp_path):
    for name in ("a\nb", "#1", "fine", "end ", "c", "c__d", "c/d"):
        mask_file(tmp_path / "masks" / f"{name}.png")
        photo_file(tmp_path / "photos" / f"{name}.jpg")
    for to in ("coco", "cvat", "label-studio"):
        text = reported(tmp_path, to, classes=["cat", "do\x1bg"])
        assert text.startswith("2 problems:")
        assert "[image-name] 'a\\nb.jpg': holds a line break" in text
        assert "[class-name] 'do\\x1bg': holds" in text
    (tmp_path / "masks" / "a\nb.png").unlink()
    text = reported(tmp_path, "voc", classes=["a:b", "#c", " d", "ground", "e,f, 'g'"], ignore_as="background")
    assert text.startswith("8 problems:")
    for part in (
        "#1.jpg: begins with '#'",
        "end .jpg: begins with '#' or has a space at an end",
        "c/d.jpg: VOC has no sub-folders, and without them several photos have the name c__d",
        "c__d.jpg: VOC has no sub-folders",
        "'a:b': holds a colon",
        "'#c': begins with '#'",
        "' d': has a space at an end",
        "'background': is the name of value 0",
    ):
        assert part in text
    with pytest.raises(RecipeError, match="ignore_as is empty"):
        export(tmp_path, ignore_as=" ")


def test_names_in_bytes_that_are_no_text(tmp_path):
    name = b"gr\xfcn".decode("utf-8", "surrogateescape")  # Latin-1, as an old disk holds it
    try:
        mask_file(tmp_path / "masks" / f"{name}.png")
        photo_file(tmp_path / "photos" / f"{name}.jpg")
    except (OSError, StoreError, UnicodeError):
        pytest.skip("this disk has names of text alone")
    for to in ALL:
        text = reported(tmp_path, to)
        assert "holds a line break, another control character or bytes that are no UTF-8" in text
        text.encode("utf-8")  # can be printed


def test_outputs_among_what_is_read(tmp_path):
    masks, photos = tmp_path / "SegmentationClass", tmp_path / "JPEGImages"
    mask_file(masks / "a.png")
    photo_file(photos / "a.jpg")
    known = {"images": photos, "classes": ["cat"]}
    for output, to, words in (
        (masks, "coco", {}),
        (masks / "x", "coco", {}),
        (tmp_path, "voc", {}),
        (tmp_path, "voc", {"copy_images": True}),
        (photos, "voc", {}),
        (photos / "x", "cvat", {"copy_images": True}),
    ):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(DataError, match=r"holds the masks themselves|would be mixed with what is written"):
            recam.export_masks(masks, output, to, **known, **words)
        assert sorted(tmp_path.rglob("*")) == before
    recam.export_masks(masks, photos, "coco", **known)  # a list beside its photos
    assert (photos / "annotations.json").is_file()


def test_a_label_map_lists_255_where_masks_hold_it(tmp_path):
    mask_file(tmp_path / "masks" / "a.png", (1, 2))
    for values, ignore_as, last in (
        ((1,), None, "dog:0,128,0::"),
        ((1, 255), None, "ignored:224,224,192::"),
        ((255,), "hm", "hm:224,224,192::"),
    ):
        mask_file(tmp_path / "masks" / "b.png", values)
        recam.export_masks(tmp_path / "masks", tmp_path / "out", "voc", classes=["cat", "dog"], ignore_as=ignore_as)
        assert (tmp_path / "out" / "labelmap.txt").read_text().splitlines()[-1] == last


def test_addresses():
    assert (
        address("/data/local-files/?d=", "a b/50%&x#1+2?.jpg") == "/data/local-files/?d=a%20b/50%25%26x%231%2B2%3F.jpg"
    )
    assert address("http://host/p/", "ü.jpg") == "http://host/p/%C3%BC.jpg"
    assert address("s3://bucket/p/", "a b#1.jpg") == "s3://bucket/p/a b#1.jpg"


def test_an_export_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    mask_file(tmp_path / "masks" / "a.png")
    photo_file(tmp_path / "photos" / "a.jpg")
    real = formats["voc"]

    class Failing(real):
        def write(self, masks, folder):
            super().write(masks, folder)
            raise StoreError("disk full")

    monkeypatch.setitem(formats._entries, "voc", Failing)
    for _ in range(2):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(StoreError, match="disk full"):
            export(tmp_path, "voc", copy_images=True)
        assert sorted(tmp_path.rglob("*")) == before
        (tmp_path / "out").mkdir(exist_ok=True)  # the second time there is something
        (tmp_path / "out" / "mine.txt").write_text("mine")
    monkeypatch.setitem(formats._entries, "voc", real)
    export(tmp_path, "voc")
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"
    assert (tmp_path / "out" / "SegmentationClass" / "a.png").is_file()
    assert not list(tmp_path.rglob(".*"))


def test_a_staged_folder_needs_a_folder(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreError, match="cannot be written to"), staged(place):
            pass


def test_a_mask_that_changes_in_between(tmp_path, monkeypatch):
    mask_file(tmp_path / "masks" / "a.png")
    photo_file(tmp_path / "photos" / "a.jpg")
    real = formats["coco"]

    class AfterAChange(real):
        def write(self, masks, folder):
            mask_file(tmp_path / "masks" / "a.png", (2,))
            return super().write(masks, folder)

    monkeypatch.setitem(formats._entries, "coco", AfterAChange)
    with pytest.raises(DataError, match=r"a\.png changed while it was exported"):
        export(tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_run_whose_photos_are_gone(tiny_run, tmp_path):
    root = tmp_path / "run"
    shutil.copytree(tiny_run, root)
    record = json.loads((root / "run.json").read_text())
    record["recipe"]["data"]["location"] = f"folder:{tmp_path / 'nowhere'}"
    record["recipe"]["data"]["options"] = {}
    (root / "run.json").write_text(json.dumps(record))
    with pytest.raises(
        DataError,
        match=r"12 of 12 masks have no photo in the run's data set, which cannot be read \(.*nowhere.*--images",
    ):
        recam.export_masks(root, tmp_path / "out", "coco")
    assert recam.export_masks(root, tmp_path / "out", "voc").masks == 12
