"""A user's own photos: every layout that is promised, and every mistake told."""

import numpy as np
import pytest

from recam.data.catalog import Roles
from recam.data.folder import Folder
from recam.data.images import write_mask, write_png
from recam.errors import DataError, RecipeError
from recam.labels import IGNORE


def add_image(path, size=(4, 6)):
    write_png(path, np.zeros((*size, 3), np.uint8))


def everything(folder):
    return {s.id: [folder.classes.names[i] for i in s.labels] for split in folder.splits for s in folder.samples(split)}


@pytest.fixture
def photos(tmp_path):
    for name in ("a.jpg", "b.PNG", "farm/7.webp", "farm/old/8.tiff", "sky.bmp"):
        add_image(tmp_path / "images" / name)
    return tmp_path


def write_labels(root, *lines, encoding="utf-8"):
    (root / "labels.csv").write_text("\n".join(lines) + "\n", encoding=encoding)


LIST = (
    "image,labels",
    "a.jpg,horse;traffic light",
    "b,horse",
    r"farm\7.webp,",
    'images/farm/old/8,"bird, small; horse"',
    "sky.bmp,",
)
TRUE = {
    "a": ["horse", "traffic light"],
    "b": ["horse"],
    "farm/7": [],
    "farm/old/8": ["bird, small", "horse"],
    "sky": [],
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_labels_in_a_list(photos, encoding):
    write_labels(photos, *LIST, encoding=encoding)
    folder = Folder(photos)
    assert folder.classes.names == ("bird, small", "horse", "traffic light")
    assert everything(folder) == TRUE
    assert folder.splits == ("train", "val")
    assert [problem.message[:34] for problem in folder.problems()] == ["'bird, small' is read as one class"]
    assert folder.samples("train")[0].image.read().shape == (4, 6, 3)


def test_one_column_a_class(photos):
    rows = ("a,1,1.0,0,0", "b,1,0,0,0", "farm/7,0,0,0,1", "farm/old/8,1,0,1,0", "sky,0,0,0,0")
    write_labels(photos, 'image,horse,traffic light,"bird, small",Background', *rows)
    folder = Folder(str(photos))
    assert everything(folder) == TRUE
    assert folder.problems() == []


@pytest.mark.parametrize("base", ["images", "."])
def test_one_sub_folder_a_class(tmp_path, base):
    for name in ("cat/1.jpg", "cat/more/2.jpg", "dog/1.jpg", "background/3.jpg"):
        add_image(tmp_path / base / name)
    write_mask(tmp_path / "masks" / "cat" / "1.png", np.ones((4, 6), np.uint8))
    folder = Folder(tmp_path)
    assert everything(folder) == {"cat/1": ["cat"], "cat/more/2": ["cat"], "dog/1": ["dog"], "background/3": []}
    assert folder.problems() == []
    add_image(tmp_path / base / "loose.jpg")
    assert [(p.kind, "in no class's sub-folder" in p.message) for p in Folder(tmp_path).problems()] == [
        ("unlisted-image", True)
    ]


def test_classes_txt_gives_the_order(photos):
    write_labels(photos, *LIST)
    (photos / "classes.txt").write_text(
        "\ufeffbackground\ntraffic light\nhorse\nbird, small\nzebra\n\n", encoding="utf-8"
    )
    assert Folder(photos).classes.names == ("traffic light", "horse", "bird, small", "zebra")
    assert everything(Folder(photos)) == {
        k: sorted(v, key=["traffic light", "horse", "bird, small"].index) for k, v in TRUE.items()
    }
    (photos / "classes.txt").write_text("horse\nbackground\n")
    with pytest.raises(DataError, match="names 'background' among the classes"):
        Folder(photos)
    (photos / "classes.txt").write_text("\n")
    with pytest.raises(DataError, match="names no class"):
        Folder(photos)


def test_masks_and_selected_classes(photos):
    write_labels(photos, "image,labels,split", *(f"{line},train" for line in LIST[1:]))
    for name in ("a.png", "farm/old/8.png"):
        write_mask(photos / "masks" / name, np.array([[0, 1, 2, 3, 255]], np.uint8))
    folder = Folder(photos)
    assert folder.roles == Roles(train="train", score="train", val=None)
    assert {s.id for s in folder.samples("train") if s.mask} == {"a", "farm/old/8"}
    assert folder.samples("train")[0].mask.read().tolist() == [[0, 1, 2, 3, 255]]
    selected = Folder(photos, classes=["traffic light", "bird, small"])
    assert selected.samples("train")[0].mask.read().tolist() == [[0, 1, IGNORE, 2, IGNORE]]
    assert everything(selected) == {**TRUE, "a": ["traffic light"], "b": [], "farm/old/8": ["bird, small"]}
    assert [p.kind for p in selected.problems()] == ["joined-labels"]
    write_mask(photos / "masks" / "A.png", np.zeros((4, 6), np.uint8))
    assert [p.kind for p in Folder(photos).problems()] == ["joined-labels", "mask-without-image"]


def test_split_column(photos):
    write_labels(photos, "image,split,labels", "a,test,x", "b,train,x", "farm/7,val,y", "farm/old/8,train,", "sky,,x")
    folder = Folder(photos)
    assert folder.splits == ("train", "val", "test")
    assert [s.id for s in folder.samples("train")] == ["b", "farm/old/8"]
    assert folder.roles == Roles(train="train", score=None, val="val")
    assert [p.kind for p in folder.problems()] == ["missing-split"]
    with pytest.raises(DataError, match=r"unknown split 'tset' .*Did you mean 'test'"):
        folder.samples("tset")


def make_many(root, n):
    (root / "images").mkdir(exist_ok=True)
    for i in range(n):
        (root / "images" / f"{i}.jpg").touch()  # opening a catalog decodes nothing
    write_labels(root, "image,labels", *(f"{i},x" for i in range(n)))


def test_hash_split_is_stable_and_seeded(tmp_path):
    make_many(tmp_path, 200)
    before = {s.id for s in Folder(tmp_path).samples("val")}
    assert 20 <= len(before) <= 60
    make_many(tmp_path, 300)
    after = {s.id for s in Folder(tmp_path).samples("val")}
    assert before == {i for i in after if int(i) < 200}
    assert {s.id for s in Folder(tmp_path, split_seed=1).samples("val")} != after
    assert len(Folder(tmp_path, val_share=0.0).samples("train")) == 300
    assert Folder(tmp_path, val_share=0.0).roles.val is None
    assert len(Folder(tmp_path, val_share=0.5).samples("val")) > 100
    with pytest.raises(RecipeError, match=r"val_share = 1\.5"):
        Folder(tmp_path, val_share=1.5)


def test_all_problems_at_once(photos):
    (photos / "classes.txt").write_text("horse\ntraffic light\n")
    add_image(photos / "images" / "a.png")
    write_labels(
        photos, "image,labels", "a.jpg,horse", "none.jpg,horse", "B.png,horse", "a,horse", "farm/7,hrose;zebra",
        "sky,horse,cow",
    )  # fmt: skip
    folder = Folder(photos)
    told = [(p.kind, p.where.removeprefix(str(photos)), p.message) for p in folder.problems()]
    assert [(kind, where) for kind, where, _ in told] == [
        ("duplicate-id", "/images/a.png"),
        ("bad-row", "/labels.csv:7"),
        ("missing-image", "/labels.csv:3"),
        ("missing-image", "/labels.csv:4"),
        ("duplicate-id", "/labels.csv:5"),
        ("unknown-class", "/labels.csv:6"),
        ("unlisted-image", "/images/b.PNG"),
        ("unlisted-image", "/images/farm/old/8.tiff"),  # and not sky, whose row is the fourth problem
    ]
    messages = [message for _, _, message in told]
    assert "same id as a.jpg" in messages[0]
    assert "3 fields where the header has 2" in messages[1]
    assert "Did you mean 'b.PNG'?" in messages[3]
    assert (
        "unknown class 'hrose'. Did you mean 'horse'? unknown class 'zebra'. Known: horse, traffic light."
        in messages[5]
    )
    assert "its labels are unknown" in messages[6]
    assert everything(folder) == {"a": ["horse"]}


def test_class_columns_hold_bits(photos):
    write_labels(photos, "image,horse", "a,1", "b,yes", "sky,")
    assert [p.message.split(":")[0] for p in Folder(photos).problems() if p.kind == "bad-row"] == [
        "horse = 'yes'",
        "horse = ''",
    ]


def test_unknown_sub_folder_is_told_once(tmp_path):
    for name in ("cat/1.jpg", "cats/1.jpg", "cats/2.jpg"):
        add_image(tmp_path / name)
    (tmp_path / "classes.txt").write_text("cat\n")
    problems = Folder(tmp_path, val_share=0.0).problems()
    assert [(p.kind, p.where) for p in problems] == [("unknown-class", str(tmp_path / "cats"))]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("image;labels\na;horse\n", "labels.csv separates its columns by semicolons. Save it with commas"),
        ("image\tlabels\n", "by tabs"),
        ("file,labels\n", "no column 'image'; its first line is 'file,labels'"),
        ("image,horse,horse\n", "columns twice: horse"),
        ("image,labels,\n", "a column without name"),
        ("image,split\n", "no column 'labels' and no class columns"),
        ("", "no column 'image'"),
        ("image,labels\na,\n", "names no class. Write labels.csv"),
    ],
)
def test_tables_that_cannot_be_read(photos, table, message):
    (photos / "labels.csv").write_text(table)
    with pytest.raises(DataError) as caught:
        Folder(photos)
    assert message in str(caught.value)


def test_folders_that_cannot_be_opened(tmp_path, photos):
    with pytest.raises(DataError, match="none is no folder"):
        Folder(tmp_path / "none")
    (tmp_path / "images").rename(tmp_path / "kept")
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match=r"holds no image \(\.jpg, "):
        Folder(tmp_path)
    (tmp_path / "labels.csv").write_bytes("image,labels\na,Zürich".encode("latin-1"))
    (tmp_path / "images").rmdir()
    (tmp_path / "kept").rename(tmp_path / "images")
    with pytest.raises(DataError, match="UTF-8"):
        Folder(tmp_path)


def test_without_masks_every_photo_is_trained_on(photos):
    write_labels(photos, *LIST)
    folder = Folder(photos)
    assert folder.roles == Roles(train="all", score=None, val=None)
    assert [sample.id for sample in folder.samples("all")] == sorted(TRUE)
