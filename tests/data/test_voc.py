"""The VOC devkit, as unpacked and as people have it."""

import numpy as np
import pytest

from recam.data.catalog import Roles
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
