"""Folders as people keep them: names in any case, form and bytes, trees of splits, files that are not read."""

import os
import unicodedata

import numpy as np
import PIL.Image
import pytest

from recam.data.catalog import Roles
from recam.data.check import check
from recam.data.folder import Folder
from recam.data.images import write_mask, write_png
from recam.data.roles import DataSettings
from recam.errors import DataError


def add_image(path, size=(4, 6)):
    write_png(path, np.zeros((*size, 3), np.uint8))


def add_images(root, *names):
    for name in names:
        add_image(root / name)


def everything(folder):
    return {s.id: [folder.classes.names[i] for i in s.labels] for split in folder.splits for s in folder.samples(split)}


def kinds(found):
    return [entry.kind for entry in found]


@pytest.mark.parametrize("place", ["Labels.csv", "images/labels.csv", "LABELS.CSV", "label.csv", "images/Labels.CSV"])
def test_a_table_in_any_case_and_place(tmp_path, place):
    add_images(tmp_path, "images/a.png", "images/sub/b.png")
    (tmp_path / place).write_text("image,labels\na.png,cat\nsub/b.png,dog\n")
    folder = Folder(tmp_path)
    assert everything(folder) == {"a": ["cat"], "sub/b": ["dog"]}
    assert folder.problems() == folder.passed_over() == []


def test_other_names_in_any_case(tmp_path):
    add_images(tmp_path, "Images/a.png", "Images/b.png")
    (tmp_path / "labels.csv").write_text("image,labels\nimages/a.png,cat\nImages/b.png,dog\n")
    (tmp_path / "Classes.txt").write_text("__Background__\ndog\ncat\n")
    write_mask(tmp_path / "MASKS" / "a.png", np.ones((4, 6), np.uint8))
    folder = Folder(tmp_path)
    assert (folder.classes.names, [s.id for s in folder.samples("all") if s.mask]) == (("dog", "cat"), ["a"])
    assert folder.problems() == folder.passed_over() == []
    (tmp_path / "images").mkdir(exist_ok=True)
    with pytest.raises(DataError, match=r"holds Images and images, and one of them is meant"):
        Folder(tmp_path)


def test_several_tables_and_a_table_outside(tmp_path):
    add_images(tmp_path, "images/cat/a.png")
    (tmp_path / "labels.csv").write_text("image,labels\ncat/a,ox\n")
    with pytest.raises(DataError, match=r"images lies beside .*labels\.csv\. Name the folder that holds both: folder:"):
        Folder(tmp_path / "images")
    (tmp_path / "images" / "labels.csv").write_text("image,labels\na,ox\n")
    with pytest.raises(DataError, match=r"has several tables of labels: labels\.csv, images/labels\.csv\. Keep one"):
        Folder(tmp_path)


@pytest.mark.parametrize("base", ["images", "."])
def test_splits_with_classes_below(tmp_path, base):
    add_images(
        tmp_path / base,
        "Training/cat/1.png",
        "Training/dog/2.png",
        "valid/cat/3.png",
        "test/dog/x/4.png",
        "valid/background/5.png",
    )
    folder = Folder(tmp_path)
    assert folder.splits == ("Training", "valid", "test")
    assert folder.classes.names == ("cat", "dog")
    assert everything(folder) == {
        "Training/cat/1": ["cat"], "Training/dog/2": ["dog"], "valid/cat/3": ["cat"], "test/dog/x/4": ["dog"],
        "valid/background/5": [],
    }  # fmt: skip
    assert folder.roles == Roles(train="Training", score=None, val="valid")
    add_image(tmp_path / base / "Training" / "loose.png")
    assert kinds(Folder(tmp_path).problems()) == ["unlisted-image"]
    add_image(tmp_path / base / "other" / "1.png")
    with pytest.raises(DataError, match="Training, test, valid are called as splits, other are not"):
        Folder(tmp_path)


def test_a_class_may_be_called_train(tmp_path):
    add_images(tmp_path, "train/1.png", "bus/old/2.png", "train/old/3.png")
    assert Folder(tmp_path).classes.names == ("bus", "train")


@pytest.mark.parametrize(
    ("names", "classes"),
    [(["train/1.png", "val/2.png"], "train, val"), (["train/images/1.png", "val/images/2.png"], "images")],
)
def test_splits_without_classes_are_refused(tmp_path, names, classes):
    add_images(tmp_path, *names)
    with pytest.raises(DataError, match=f"the classes would be {classes}"):
        Folder(tmp_path)


def test_other_layouts_are_named(tmp_path):
    add_images(tmp_path, "JPEGImages/1.png", "SegmentationClass/1.png")
    with pytest.raises(DataError, match=r"laid out as the VOC devkit is\. Name it voc:"):
        Folder(tmp_path)


def split_table(root, **splits):
    add_images(root / "images", *(f"{i}.png" for i in range(len(splits))))
    (root / "labels.csv").write_text(
        "image,labels,split\n" + "".join(f"{i},x,{split}\n" for i, split in enumerate(splits.values()))
    )


def test_test_is_never_trained_on(tmp_path):
    split_table(tmp_path, a="test", b="TRAINING", c="dev", d="training")
    folder = Folder(tmp_path)
    assert folder.splits == ("TRAINING", "dev", "test")
    assert folder.roles == Roles(train="TRAINING", score=None, val="dev")
    assert [s.id for s in folder.samples("training")] == ["1", "3"]
    (tmp_path / "labels.csv").open("a").write("none,x,Training\n")
    assert kinds(Folder(tmp_path).problems(["training"])) == ["missing-image", "split-spelling"][::-1]
    assert kinds(Folder(tmp_path).problems(["dev"])) == ["split-spelling"]
    assert kinds(folder.problems()) == ["split-spelling"]
    report = check(folder)
    assert report.ok
    assert "trained on: TRAINING; scored on: none; held out: dev; not used in a run: test" in str(report)


def test_without_a_training_split_a_person_names_one(tmp_path):
    split_table(tmp_path, a="test", b="holdout")
    folder = Folder(tmp_path)
    assert folder.roles.train is None
    report = check(folder)
    assert [(p.kind, p.message) for p in report.problems] == [
        (
            "no-training-split",
            "no split is called train, there are test, holdout; name one with --set data.train=holdout.",
        )
    ]
    assert "trained on: none" in str(report)
    assert check(folder, settings=DataSettings(train="holdout")).ok


@pytest.mark.parametrize(("on_disk", "written"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_composed_and_decomposed_names_are_equal(tmp_path, on_disk, written):
    name = unicodedata.normalize(on_disk, "Zürich")
    other = unicodedata.normalize(written, "Zürich")
    add_images(tmp_path / "images", f"{name}.png", "b.png")
    write_mask(tmp_path / "masks" / f"{other}.png", np.ones((4, 6), np.uint8))
    (tmp_path / "labels.csv").write_text(f"image,labels\n{other}.png,{other}\nb,{name}\n", encoding="utf-8")
    folder = Folder(tmp_path, classes=[other])
    assert folder.classes.names == ("Zürich",)
    assert folder.problems() == []
    assert {s.id: (s.labels, s.mask is not None) for s in folder.samples("all")} == {
        name: ((0,), True),
        "b": ((0,), False),
    }
    add_image(tmp_path / "images" / f"{other}.png")
    assert kinds(Folder(tmp_path).problems()) == ["duplicate-id"]


@pytest.mark.parametrize("name", ["background", "_background_", "__BACKGROUND__", "Background"])
def test_every_spelling_of_the_background(tmp_path, name):
    add_images(tmp_path, f"{name}/1.png", "cat/2.png")
    assert everything(Folder(tmp_path)) == {f"{name}/1": [], "cat/2": ["cat"]}
    (tmp_path / "classes.txt").write_text(f"{name}\ncat\n")
    assert Folder(tmp_path).classes.names == ("cat",)
    (tmp_path / "classes.txt").write_text(f"cat\n{name}\n")
    with pytest.raises(DataError, match="It is mask value 0"):
        Folder(tmp_path)


def test_names_in_foreign_bytes_are_reported(tmp_path):
    add_images(tmp_path, "cat/1.png", "dog/2.png", "ox/3.png")
    (tmp_path / "cat" / "1.png").rename(tmp_path / "cat" / os.fsdecode(b"Z\xfcrich.png"))
    (tmp_path / "ox").rename(tmp_path / os.fsdecode(b"b\xe4r"))
    report = check(f"folder:{tmp_path}")
    assert {p.where.removeprefix(f"{tmp_path}/") for p in report.problems if p.kind == "file-name"} == {
        r"cat/Z\xfcrich.png",
        r"b\xe4r",
    }
    assert all("Rename it as UTF-8" in p.message for p in report.problems)
    str(report).encode()


def test_a_folder_in_foreign_bytes(tmp_path):
    foreign = tmp_path / os.fsdecode(b"\xfc")
    add_images(tmp_path, "x/cat/1.png")
    (tmp_path / "x").rename(foreign)
    report = check(f"folder:{foreign}")
    assert report.ok
    str(report).encode()
    assert r"\xfc/none is no folder" in str(check(f"folder:{foreign / 'none'}"))


@pytest.mark.parametrize("mark", ["\u2028", "\u0085", "\x0c"])
def test_file_names_hold_what_ends_no_line_of_a_file(tmp_path, mark):
    add_images(tmp_path / "images", f"a{mark}b.png", "a\nb.png")
    (tmp_path / "labels.csv").write_text(f"image,labels\na{mark}b.png,cat\n", encoding="utf-8")
    folder = Folder(tmp_path)
    assert everything(folder) == {f"a{mark}b": ["cat"]}
    assert kinds(folder.problems()) == ["file-name"]


@pytest.mark.parametrize("name", ["cat;dog", "cat\ndog", "cat\u2028dog"])
def test_classes_that_no_table_can_hold_are_refused(tmp_path, name):
    add_images(tmp_path, f"{name}/1.png", "ox/2.png")
    report = check(f"folder:{tmp_path}")
    told = "file-name" if "\n" in name else "cannot-open"
    assert kinds(report.problems) == [told]
    assert "line break" in report.problems[0].message


def test_files_that_are_not_read_are_counted(tmp_path):
    add_images(tmp_path, "cat/1.png", "dog/2.png")
    for name in (
        "cat/a.xcf",
        "cat/b.XCF",
        "dog/notes.txt",
        "cat/.DS_Store",
        "dog/Thumbs.db",
        "pig/only.psd",
        "docs/read.md",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "@eaDir").mkdir()
    report = check(f"folder:{tmp_path}")
    assert [(p.kind, p.where) for p in report.problems] == [("class-not-read", str(tmp_path / "pig"))]
    assert [(kind.kind, kind.count) for kind in report.passed_over] == [
        ("system-file", 3),
        ("unread-ending", 5),
        ("folder-without-image", 1),
    ]
    assert "(.md 1, .psd 1, .txt 1, .xcf 2)" in report.passed_over[1].why
    assert str(report).splitlines()[-4] == "passed over:"
    assert report.as_dict()["passed_over"][2] == {
        "kind": "folder-without-image", "count": 1, "why": "sub-folders without an image; they are no class.",
        "examples": ["docs"],
    }  # fmt: skip


def test_a_row_that_names_a_file_that_is_not_read(tmp_path):
    add_images(tmp_path, "images/1.png")
    (tmp_path / "images" / "2.xcf").touch()
    (tmp_path / "labels.csv").write_text("image,labels\n1,cat\n2.xcf,cat\n2,cat\n")
    assert [p.message for p in Folder(tmp_path).problems()] == [
        "'2.xcf' has an ending that is not read. Save it as JPEG or PNG; it is not used."
    ] * 2


def test_what_lies_beside_images_is_named(tmp_path):
    add_images(tmp_path, "images/1.png", "loose.png", "SegmentationClassPNG/1.png")
    (tmp_path / "labels.csv").write_text("image,labels\n1,cat\n")
    (tmp_path / ".DS_Store").touch()
    told = {kind.kind: kind.examples for kind in Folder(tmp_path).passed_over()}
    assert told == {
        "other-folder": ("SegmentationClassPNG/",),
        "other-file": ("loose.png",),
        "system-file": (".DS_Store",),
    }
    (tmp_path / "labels.csv").unlink()
    with pytest.raises(
        DataError, match=r"names no class\. Passed over: \[other-folder\] 1: .* First: SegmentationClassPNG/"
    ):
        Folder(tmp_path)


def test_masks_by_ending(tmp_path):
    shape = np.zeros((4, 6), np.uint8)
    shape[1:3] = 1
    endings = ("tif", "bmp", "gif", "png", "jpg", "npy")
    add_images(tmp_path / "images", *(f"{ending}.png" for ending in endings))
    (tmp_path / "labels.csv").write_text("image,labels\n" + "".join(f"{ending},cat\n" for ending in endings))
    (tmp_path / "masks").mkdir()
    for ending in endings[:-1]:
        PIL.Image.fromarray(shape).save(tmp_path / "masks" / f"{ending}.{ending}")
    np.save(tmp_path / "masks" / "npy.npy", shape)
    (tmp_path / "masks" / "README.txt").touch()
    PIL.Image.fromarray(shape).save(tmp_path / "masks" / "png_overlay.png")
    folder = Folder(tmp_path)
    read = {s.id: s.mask.read() for s in folder.samples("all") if s.mask}
    assert sorted(read) == ["bmp", "gif", "png", "tif"]
    assert all((mask == shape).all() for mask in read.values())
    (problem,) = folder.problems()
    assert (problem.kind, problem.where) == ("unread-mask", str(tmp_path / "masks"))
    assert "2 files that are named as images and are no PNG masks (first: jpg.jpg)" in problem.message
    assert {kind.kind: kind.examples for kind in folder.passed_over()} == {
        "unread-ending": ("masks/README.txt",), "overlay": ("png_overlay.png",),
    }  # fmt: skip
    PIL.Image.fromarray(shape).save(tmp_path / "masks" / "png.tif")
    assert "duplicate-mask" in kinds(Folder(tmp_path).problems())


def test_classes_without_a_training_image_are_one_note(tmp_path):
    add_images(tmp_path / "images", "0.png", "1.png")
    (tmp_path / "labels.csv").write_text("image,labels,split\n0,cat,train\n1,dog,val\n")
    (tmp_path / "classes.txt").write_text("cat\ndog\nox\n")
    report = check(f"folder:{tmp_path}")
    assert report.ok
    assert [(note.kind, note.where, note.message[:36]) for note in report.notes] == [
        ("class-without-image", "train", "no image is labelled dog, ox, so a r")
    ]
    assert check(f"folder:{tmp_path}", splits=["val"]).notes == ()


def test_a_table_with_row_numbers_as_pandas_writes_it(tmp_path):
    add_images(tmp_path / "images", "a.png")
    (tmp_path / "labels.csv").write_text(",image,labels\n0,a.png,cat\n")
    folder = Folder(tmp_path)
    assert everything(folder) == {"a": ["cat"]}
    assert [kind.kind for kind in folder.passed_over()] == ["unread-column"]
    (tmp_path / "labels.csv").write_text(",image,cat\n0,a.png,1\n")
    with pytest.raises(DataError, match="has a column without name"):
        Folder(tmp_path)


def test_why_a_table_names_no_class(tmp_path):
    add_images(tmp_path / "images", "a.png")
    (tmp_path / "labels.csv").write_text("image,labels\na.png,cat,dog\n")
    with pytest.raises(DataError, match=r"names no class\. .*labels\.csv:2: has 3 fields where the header has 2"):
        Folder(tmp_path)
