"""The VOC devkit, as unpacked and as people have it."""

import unicodedata

import numpy as np
import pytest
from PIL import Image

from recam.data.catalog import Roles
from recam.data.check import check
from recam.data.images import write_mask, write_png
from recam.data.voc import Voc
from recam.errors import DataError
from recam.labels import IGNORE

CAT, DOG, PERSON = 7, 11, 14


def annotation(*names):
    objects = "".join(
        f"<object><name>{n}</name><difficult>1</difficult><part><name>head</name></part></object>" for n in names
    )
    return f"<annotation><filename>x.jpg</filename>{objects}</annotation>"


def make_devkit(root, names_by_id, lists, masks="SegmentationClass"):
    for image_id, names in names_by_id.items():
        write_png(root / "JPEGImages" / f"{image_id}.jpg", np.zeros((4, 6, 3), np.uint8))  # Pillow goes by the content
        write_mask(root / masks / f"{image_id}.png", np.full((4, 6), CAT + 1, np.uint8))
        (root / "Annotations").mkdir(exist_ok=True)
        (root / "Annotations" / f"{image_id}.xml").write_text(annotation(*names))
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    for name, lines in lists.items():
        (root / "ImageSets" / "Segmentation" / f"{name}.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def devkit(tmp_path):
    root = tmp_path / "VOCdevkit" / "VOC2012"
    names_by_id = {"a_1": ["person", "cat", "cat"], "b_1": ["dog"], "c_1": ["train"]}
    make_devkit(root, names_by_id, {"train": ["a_1", "b_1"], "val": ["c_1"], "mine": ["b_1"]})
    return root


@pytest.mark.parametrize("level", [0, 1, 2])
def test_any_level_of_the_devkit_opens(devkit, level):
    voc = Voc([devkit, *devkit.parents][level])
    assert voc.splits == ("mine", "train", "val")
    assert voc.roles == Roles(train="train", score="train", val="val")
    assert [(s.id, s.labels) for s in voc.samples("train")] == [("a_1", (CAT, PERSON)), ("b_1", (DOG,))]
    assert voc.samples("train")[0].image.read().shape == (4, 6, 3)
    assert np.unique(voc.samples("train")[0].mask.read()).tolist() == [CAT + 1]
    assert voc.problems() == []


def test_selected_classes(devkit):
    voc = Voc(str(devkit), classes=["person", "dog"])
    assert voc.classes.names == ("dog", "person")
    assert [s.labels for s in voc.samples("train")] == [(1,), (0,)]
    assert voc.samples("val")[0].labels == ()
    assert np.unique(voc.samples("train")[0].mask.read()).tolist() == [IGNORE]  # cat is not selected
    assert voc.problems() == []
    with pytest.raises(DataError, match=r"unknown class 'dg'\. Did you mean 'dog'"):
        Voc(devkit, classes=["dg"])


def test_augmented_masks_and_list_come_first(devkit):
    write_mask(devkit / "SegmentationClassAug" / "a_1.png", np.zeros((4, 6), np.uint8))
    pairs = ["/JPEGImages/a_1.jpg /SegmentationClassAug/a_1.png", "/JPEGImages/b_1.jpg /SegmentationClassAug/b_1.png"]
    (devkit / "ImageSets" / "Segmentation" / "train_aug.txt").write_text("\n".join(pairs))
    voc = Voc(devkit)
    assert voc.roles == Roles(train="train_aug", score="train", val="val")
    first, second = voc.samples("train_aug")
    assert (first.id, second.id) == ("a_1", "b_1")
    assert not first.mask.read().any()
    assert second.mask.read().all()  # falls back to SegmentationClass


def test_a_list_anywhere_is_a_split(devkit, tmp_path):
    (tmp_path / "some.txt").write_text("\ufeffc_1\r\n\r\na_1.jpg\r\n", encoding="utf-8")
    assert [s.id for s in Voc(devkit).samples(str(tmp_path / "some.txt"))] == ["c_1", "a_1"]
    with pytest.raises(DataError, match=r"unknown split 'trian' .*Did you mean 'train'.*The path of a list works too"):
        Voc(devkit).samples("trian")


def test_all_problems_at_once(devkit):
    lists = devkit / "ImageSets" / "Segmentation"
    (lists / "train.txt").write_text("a_1\nb_1\na_1\nnone_1\nd_1\ne_1\nf_1\nb_1 -1\n")
    for image_id in ("d_1", "e_1", "f_1"):
        write_png(devkit / "JPEGImages" / f"{image_id}.jpg", np.zeros((4, 6, 3), np.uint8))
    (devkit / "Annotations" / "e_1.xml").write_text(annotation("dogg", "cat"))
    (devkit / "Annotations" / "f_1.xml").write_text("<annotation>")
    (devkit / "SegmentationClass" / "b_1.png").unlink()
    voc = Voc(devkit)
    problems = {p.kind: p for p in voc.problems()}
    assert len(problems) == len(voc.problems()) == 7
    assert problems["duplicate-id"].where.endswith("train.txt:3")
    assert problems["missing-image"].where.endswith("train.txt:4")
    assert "none_1.jpg" in problems["missing-image"].message
    assert problems["missing-labels"].where.endswith("d_1.xml")
    assert "Did you mean 'dog'" in problems["unknown-class"].message
    assert problems["bad-labels"].where.endswith("f_1.xml")
    assert "'b_1 -1'" in problems["bad-line"].message
    assert problems["missing-mask"].where == "b_1"
    assert [s.id for s in voc.samples("train")] == ["a_1", "b_1"]
    assert [p.kind for p in voc.problems(["mine", "val"])] == []


def test_no_devkit(tmp_path):
    with pytest.raises(DataError, match=r"none does not exist\. Name the folder"):
        Voc(tmp_path / "none")
    with pytest.raises(DataError, match="holds no JPEGImages folder"):
        Voc(tmp_path)
    (tmp_path / "JPEGImages").mkdir()
    with pytest.raises(DataError, match=r"Segmentation holds no list of images. Put train\.txt"):
        Voc(tmp_path)


def test_without_masks_nothing_is_scored(devkit):
    for path in (devkit / "SegmentationClass").iterdir():
        path.unlink()
    voc = Voc(devkit)
    assert voc.roles.score is None
    assert voc.samples("train")[0].mask is None
    assert voc.problems() == []


PIXELS = np.array([[0, 1, 2], [2, 2, 255]], np.uint8)


def make_own(root, names_by_id, train=None, **files):
    """VOC's layout with 2×3 photos; `files` are lists of classes beside the folders."""
    for image_id, names in names_by_id.items():
        write_png(root / "JPEGImages" / f"{image_id}.jpg", np.zeros((2, 3, 3), np.uint8))
        if names is not None:
            (root / "Annotations").mkdir(exist_ok=True)
            (root / "Annotations" / f"{image_id}.xml").write_text(annotation(*names))
    if train is not None:
        (root / "ImageSets" / "Segmentation").mkdir(parents=True)
        (root / "ImageSets" / "Segmentation" / "train.txt").write_bytes(train)
    for name, content in files.items():
        (root / f"{name}.txt").write_text(content)
    return root


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("classes", "horse\ncow\n"),
        ("class_names", "_background_\nhorse\ncow\n"),
        ("labels", "__ignore__\n_background_\nhorse\ncow\n"),
        (
            "labelmap",
            "# label:color_rgb:parts:actions\n"
            "background:0,0,0::\ncow:0,128,0::\nhorse:128,0,0::\nignored:224,224,192::\n",
        ),
        ("labelmap", "horse:128,0,0::\ncow:0,128,0::\n"),
    ],
)
def test_classes_of_its_own(tmp_path, name, content):
    root = make_own(tmp_path, {"a": ["cow"], "b": ["_Background_"]}, b"a\nb\n", **{name: content})
    write_mask(root / "SegmentationClass/a.png", PIXELS)
    voc = Voc(root)
    assert voc.classes.names == ("horse", "cow")
    first, second = voc.samples("train")
    assert (first.labels, second.labels) == ((1,), ())
    assert first.mask.read().tolist() == PIXELS.tolist()
    assert Voc(root, classes=["cow"]).samples("train")[0].mask.read().tolist() == [[0, 255, 1], [1, 1, 255]]
    with pytest.raises(DataError, match=rf"unknown class 'sheep'.*The classes are those of .*{name}\.txt"):
        Voc(root, classes=["sheep"])


def test_masks_in_colours_of_their_own(tmp_path):
    label_map = "background:0,0,0::\nhorse:10,20,30::\ncow:200,0,7::\n"
    root = make_own(tmp_path, {"a": ["cow"], "b": ["horse"]}, b"a\nb\n", labelmap=label_map)
    colours = np.zeros((256, 3), np.uint8)
    colours[[1, 2, 255]] = (10, 20, 30), (200, 0, 7), (224, 224, 192)
    (root / "SegmentationClass").mkdir()
    Image.fromarray(colours[PIXELS]).save(root / "SegmentationClass/a.png")
    write_mask(root / "SegmentationClass/b.png", PIXELS)  # class values, with VOC's palette
    assert [s.mask.read().tolist() for s in Voc(root).samples("train")] == [PIXELS.tolist()] * 2
    selected = Voc(root, classes=["cow"]).samples("train")[0].mask
    assert selected.read().tolist() == [[0, 255, 1], [1, 1, 255]]
    assert selected.fingerprint(lambda path: "x") != Voc(root).samples("train")[0].mask.fingerprint(lambda path: "x")


def test_a_label_map_with_some_of_vocs_colours(tmp_path):
    # Horse has the colour of value 13, cow that of 10; the map's order counts for nothing then.
    root = make_own(tmp_path, {"a": ["cow"]}, b"a\n", labelmap="horse:192,0,128::\ncow:64,128,0::\n")
    write_mask(root / "SegmentationClass/a.png", np.array([[0, 10, 13, 255, 1]], np.uint8))
    voc = Voc(root)
    assert voc.classes.names == ("cow", "horse")
    assert voc.samples("train")[0].mask.read().tolist() == [[0, 1, 2, 255, 254]]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("horse:1,2\n", r"labelmap\.txt:1: 'horse:1,2' is no line of a label map"),
        (
            "horse:1,2,3::\ncow:1,2,3::\n",
            r"labelmap\.txt:2: the name or the colour of 'cow:1,2,3::' stands there already",
        ),
        ("horse:0,0,0::\n", "the class 'horse' has the colour of the background"),
        ("background:0,0,0::\n", "at least one class"),
    ],
)
def test_a_label_map_that_cannot_be_used(tmp_path, content, told):
    with pytest.raises(DataError, match=told):
        Voc(make_own(tmp_path, {"a": []}, b"a\n", labelmap=content))


def test_unknown_classes_come_with_a_way_out(tmp_path):
    root = make_own(tmp_path, {"a": ["tumor"]}, b"a\n")
    (problem,) = Voc(root).problems()
    assert problem.kind == "unknown-class"
    assert f"list them in {root / 'classes.txt'}, one per line" in problem.message
    assert "folder: or coco:" in problem.message


def test_ids_with_spaces_sub_folders_and_other_forms(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))
    lines = [
        "my photo",
        "your photo.jpg",
        "/JPEGImages/old photo.jpg /SegmentationClass/old photo.png",
        "farm/7",
        composed,
        "two words",
    ]
    root = make_own(tmp_path, {n: [] for n in ("my photo", "your photo", "old photo", "farm_", decomposed)})
    (root / "JPEGImages/farm").mkdir()
    (root / "Annotations/farm").mkdir()
    (root / "JPEGImages/farm_.jpg").rename(root / "JPEGImages/farm/7.jpg")
    (root / "Annotations/farm_.xml").rename(root / "Annotations/farm/7.xml")
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    (root / "ImageSets/Segmentation/train.txt").write_text("\n".join(lines), encoding="utf-16")
    voc = Voc(root)
    assert [s.id for s in voc.samples("train")] == ["my photo", "your photo", "old photo", "farm/7", composed]
    assert [(p.kind, "'two words'" in p.message) for p in voc.problems()] == [("bad-line", True)]


def test_labels_come_from_masks_where_there_is_no_annotation(tmp_path):
    root = make_own(tmp_path, {"a": None, "b": None, "c": None}, classes="horse\ncow\nsheep\n")
    write_mask(root / "SegmentationClassPNG/a.png", PIXELS)
    write_mask(root / "SegmentationClassPNG/b.png", np.zeros((2, 3), np.uint8))
    (root / "SegmentationClassPNG/c.png").write_bytes(b"damaged")
    (root / "SegmentationClassVisualization").mkdir()
    voc = Voc(root, classes=["cow", "sheep"])
    assert voc.splits == ("train",)
    assert voc.roles == Roles(train="train", score="train", val=None)
    assert [(s.id, s.labels) for s in voc.samples("train")] == [("a", (0,)), ("b", ())]
    assert [(p.kind, p.where) for p in voc.problems()] == [("bad-labels", str(root / "SegmentationClassPNG/c.png"))]
    told = {entry.kind: (entry.count, entry.examples) for entry in voc.passed_over()}
    assert told["other-folder"] == (1, ("SegmentationClassVisualization",))
    assert set(told) == {"other-folder", "no-list", "labels-from-masks"}


def test_what_is_not_read_is_reported(devkit):
    write_mask(devkit / "SegmentationClass/none.png", PIXELS)
    (devkit / "SegmentationClass/a_1.png").rename(devkit / "SegmentationClass/a_1.jpg")
    write_png(devkit / "JPEGImages/b_1.png", np.zeros((4, 6, 3), np.uint8))
    write_png(devkit / "JPEGImages/spare.jpg", np.zeros((4, 6, 3), np.uint8))
    (devkit / "JPEGImages/x.psd").touch()
    (devkit / "JPEGImages/.DS_Store").touch()
    (devkit / "classes.txt").write_text("cat\ndog\nperson\ntrain\n")
    (devkit / "class_names.txt").write_text("cat\nhorse\n")
    voc = Voc(devkit)
    assert {p.kind for p in voc.problems()} == {"duplicate-id", "unread-mask", "missing-mask"}
    (unread,) = (p for p in voc.problems() if p.kind == "unread-mask")
    assert (unread.where, "1 files" in unread.message, "a_1.jpg" in unread.message) == (
        str(devkit / "SegmentationClass"),
        True,
        True,
    )
    told = {entry.kind: entry.examples for entry in voc.passed_over()}
    assert told["unlisted-image"] == ("spare.jpg",)
    assert told["mask-without-image"] == (str(devkit / "SegmentationClass/none.png"),)
    assert told["unread-ending"] == ("x.psd",)
    assert told["system-file"] == (".DS_Store",)
    assert told["other-list"] == ("class_names.txt",)


def test_splits_by_synonyms_and_never_test(tmp_path):
    root = make_own(tmp_path, {"a": ["cat"]}, b"a\n")
    lists = root / "ImageSets/Segmentation"
    write_mask(root / "SegmentationClass/a.png", np.full((2, 3), CAT + 1, np.uint8))
    for name in ("Training", "valid"):
        (lists / f"{name}.txt").write_text("a\n")
    (lists / "train.txt").unlink()
    assert Voc(root).roles == Roles(train="Training", score="Training", val="valid")
    (lists / "Training.txt").rename(lists / "test.txt")
    assert Voc(root).roles == Roles(train=None, score=None, val="valid")


def test_xml_that_is_none_and_a_list_that_is_no_text(devkit):
    (devkit / "Annotations/a_1.xml").write_text("<html></html>")
    (devkit / "Annotations/b_1.xml").write_bytes(b"<?xml version='1.0' encoding='klingon'?><annotation/>")
    (devkit / "ImageSets/Segmentation/val.txt").write_bytes(b"\x00\x01")
    assert sorted(p.where[-7:] for p in Voc(devkit).problems(["train"])) == ["a_1.xml", "b_1.xml"]
    report = check(f"voc:{devkit}", decode=False)
    assert {p.kind for p in report.problems} == {"bad-labels", "unknown-split"}


def test_masks_without_photos_and_another_folder_to_name(devkit, tmp_path):
    (tmp_path / "export/SegmentationClass").mkdir(parents=True)
    with pytest.raises(DataError, match=r"holds masks and no JPEGImages folder.*--copy-images"):
        Voc(tmp_path / "export")
    devkit.rename(devkit.parent / "VOC2007")
    with pytest.raises(DataError, match=r"Did you mean voc:.*VOCdevkit/VOC2007\?"):
        Voc(tmp_path)


def test_a_short_list_with_vocs_twenty_classes_has_no_problem(devkit):
    report = check(f"voc:{devkit}")
    assert [p.kind for p in report.problems] == []
    assert "class-without-image" in {note.kind for note in report.notes}
