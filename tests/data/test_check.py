"""Everything that is wrong with a data set is found at once, and what is right is counted."""

import json
import threading

import numpy as np
import PIL.Image
import pytest

from recam.data.check import check
from recam.data.check_report import CheckReport
from recam.data.folder import Folder
from recam.data.images import write_mask, write_png
from recam.errors import Problem, RecipeError


def make_photos(root, rows, size=(4, 6)):
    """`rows`: id → (labels, split, mask or None)."""
    lines = ["image,labels,split"]
    for image_id, (labels, split, mask) in rows.items():
        write_png(root / "images" / f"{image_id}.png", np.zeros((*size, 3), np.uint8))
        lines.append(f"{image_id},{labels},{split}")
        if mask is not None:
            write_mask(root / "masks" / f"{image_id}.png", mask)
    (root / "labels.csv").write_text("\n".join(lines))


def plain(value):
    return np.full((4, 6), value, np.uint8)


def rows_of(*values):
    """A mask whose rows hold the values, one each, and 0 below."""
    mask = plain(0)
    mask[: len(values)] = np.array(values, np.uint8)[:, None]
    return mask


@pytest.fixture
def photos(tmp_path):
    rows = {
        "a": ("cat;dog", "train", rows_of(1, 2)),
        "b": ("cat;dog;ox", "train", rows_of(1, 2, 3, 255)),
        "c": ("", "train", None),
        "d": ("cat", "val", plain(0)),
    }
    make_photos(tmp_path, rows)
    write_png(tmp_path / "images" / "d.png", np.zeros((10, 8, 3), np.uint8))
    write_mask(tmp_path / "masks" / "d.png", np.ones((10, 8), np.uint8))
    return tmp_path


def test_counts(photos):
    report = check(Folder(photos))
    assert report.ok, str(report)
    assert report.as_dict() == {
        "images": 4,
        "classes": ["cat", "dog", "ox"],
        "images_per_class": {"cat": 3, "dog": 2, "ox": 1},
        "unlabelled": 1,
        "unlisted": 0,
        "background": True,
        "labels_per_image": [0, 3],
        "problems": [],
        "notes": [],
        "splits": {
            "train": {
                "images": 3,
                "unlabelled": 1,
                "with_mask": 2,
                "images_per_class": {"cat": 2, "dog": 2, "ox": 1},
                "groups": 0,
            },
            "val": {
                "images": 1,
                "unlabelled": 0,
                "with_mask": 1,
                "images_per_class": {"cat": 1, "dog": 0, "ox": 0},
                "groups": 0,
            },
        },
        "pairs": [
            {"classes": ["cat", "dog"], "images": 2},
            {"classes": ["cat", "ox"], "images": 1},
            {"classes": ["dog", "ox"], "images": 1},
        ],
        "sizes": {"height": {"min": 4, "median": 4.0, "max": 10}, "width": {"min": 6, "median": 6.0, "max": 8}},
        "kinds": {"RGB, 8 bits": 4},
        "value_range": None,
        "large": 0,
        "roles": {"train": "train", "score": "train", "val": "val"},
        "passed_over": [],
    }
    assert json.loads(json.dumps(report.as_dict())) == report.as_dict()


def test_report_prints_itself(photos):
    text = str(check(Folder(photos)))
    assert text.startswith("4 images, 3 classes, 1 images that show none of them\n")
    assert "cat                2    1" in text
    assert "height: 4 to 10 pixels, median 4" in text
    assert "cat + dog (2)" in text
    assert text.endswith("No problem found.")


def test_splits_and_classes_are_chosen(photos):
    report = check(Folder(photos, classes=["cat", "dog"]), splits=["train"])
    assert (report.images, report.classes, list(report.splits)) == (3, ("cat", "dog"), ["train"])
    unknown = check(Folder(photos), splits=["train", "vall"])
    assert [(p.kind, p.where) for p in unknown.problems] == [("unknown-split", "vall")]
    assert "Did you mean 'val'" in unknown.problems[0].message


def test_everything_wrong_at_once(photos):
    make_photos(photos, {f"e{i}": ("cat", "train", None) for i in range(60)})  # more than the decoders hold at once
    with (photos / "labels.csv").open("a") as table:
        table.write("\na,cat;dog,train\nb,cat,train\nc,caat,train\nd,,val\nd,cat,val\nnone,dog,train")
    (photos / "classes.txt").write_text("cat\ndog\nox\n")
    cut = photos / "images" / "e7.png"
    write_png(cut, np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8))
    cut.write_bytes(cut.read_bytes()[:-35])
    write_mask(photos / "masks" / "e8.png", np.zeros((6, 4), np.uint8))
    write_mask(photos / "masks" / "a.png", plain(4))
    PIL.Image.fromarray(np.full((4, 6, 3), 7, np.uint8)).save(photos / "masks" / "b.png")
    report = check(Folder(photos))
    assert not report.ok
    found = {(p.kind, p.where.removeprefix(str(photos))): p.message for p in report.problems}
    assert set(found) == {
        ("unknown-class", "/labels.csv:64"),
        ("duplicate-id", "/labels.csv:66"),
        ("missing-image", "/labels.csv:67"),
        ("unreadable-image", "/images/e7.png"),
        ("size-mismatch", "/masks/e8.png"),
        ("mask-value", "/masks/a.png"),
        ("unreadable-mask", "/masks/b.png"),
    }
    assert found["unreadable-image", "/images/e7.png"].startswith("is truncated or damaged")
    assert "the mask is 4×6 pixels, its image 6×4" in found["size-mismatch", "/masks/e8.png"]
    assert "holds the value 4, but 3 classes use 1 to 3" in found["mask-value", "/masks/a.png"]
    assert "(7, 7, 7)" in found["unreadable-mask", "/masks/b.png"]
    text = str(report)
    assert "7 problems:" in text
    assert [n.message[:28] for n in report.notes if n.kind == "class-without-image"] == ["no image is labelled ox, so "]
    assert all(p.message in text for p in report.problems)


def test_many_of_a_kind_are_printed_as_a_few_and_their_number():
    problems = tuple(Problem(kind, f"{kind} {i}", "is wrong.") for i in range(23) for kind in ("a", "b"))
    notes = tuple(Problem("c", str(i), "may be wrong.") for i in range(4))
    report = CheckReport(problems=problems[:41], notes=notes)  # 21 of a, 20 of b
    lines = str(report).splitlines()
    assert lines[-41:] == [
        *(f"  [a] a {i}: is wrong." for i in range(20)), "  [a] and 1 more; --json lists them all",
        *(f"  [b] b {i}: is wrong." for i in range(20)),
    ]  # fmt: skip
    assert lines[1:5] == [
        *(f"note [c] {i}: may be wrong." for i in range(3)),
        "note [c] and 1 more; --json lists them all",
    ]
    assert len(report.as_dict()["problems"]) == 41


def test_classes_that_may_be_meant_otherwise_are_noted(tmp_path):
    make_photos(tmp_path, {"a": ("Traffic light;nan", "train", None), "b": ("traffic_light;cat", "train", None)})
    notes = [(n.where, n.message.split(".")[0]) for n in check(Folder(tmp_path)).notes if n.kind == "class-spelling"]
    assert notes == [("Traffic light, traffic_light", "are classes apart"), ("'nan'", "is read as a class")]


def test_without_decoding_pictures_stay_closed(photos):
    (photos / "images" / "a.png").write_bytes(b"")
    assert check(Folder(photos), decode=False).ok
    assert check(Folder(photos), decode=False).sizes == {}
    assert [p.kind for p in check(Folder(photos)).problems] == ["unreadable-image"]


def test_labels_that_contradict_the_mask_are_a_note(photos):
    write_mask(photos / "masks" / "d.png", np.repeat(np.arange(1, 3, dtype=np.uint8), 40).reshape(10, 8))
    report = check(Folder(photos))
    assert report.ok
    assert [(n.kind, n.where, n.message) for n in report.notes] == [
        ("label-mask-mismatch", "d", "the mask shows dog, which the image's labels do not name.")
    ]
    assert "note [label-mask-mismatch] d:" in str(report)


class Overlapping(Folder):
    """val holds what train holds."""

    def samples(self, split):
        return super().samples("train")


def test_an_image_of_two_splits_counts_once_and_is_noted(photos):
    report = check(Overlapping(photos))
    assert report.images == 3
    assert report.splits["train"].images == report.splits["val"].images == 3
    assert [(n.kind, "3 images are in both (first: a)" in n.message) for n in report.notes] == [("split-overlap", True)]


def test_progress_comes_from_the_caller_s_thread(photos):
    calls = []
    check(Folder(photos), progress=lambda done, total: calls.append((done, total, threading.current_thread())))
    assert calls == [(i, 4, threading.main_thread()) for i in (1, 2, 3, 4)]


def test_what_cannot_be_opened_is_a_problem(tmp_path):
    report = check(f"folder:{tmp_path / 'none'}")
    assert [(p.kind, p.where) for p in report.problems] == [("cannot-open", f"folder:{tmp_path / 'none'}")]
    assert "is no folder" in str(report)
    assert [p.kind for p in check("photos").problems] == ["cannot-open"]
    with pytest.raises(RecipeError, match="Did you mean 'folder'"):
        check("fodler:x")


def test_an_open_catalog_has_chosen_its_classes(photos):
    with pytest.raises(ValueError, match="when a catalog is opened"):
        check(Folder(photos), classes=["cat"])
    assert CheckReport().ok
