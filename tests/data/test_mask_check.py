"""What masks say that no single file gives away: against labels, against each other, and in other numbers than they
seem to."""

import numpy as np
import PIL.Image

from recam.data.check import check
from recam.data.folder import Folder
from recam.data.mask_check import UNSCORED
from recam.data.palettes import reordered
from recam.labels import voc_palette

SIZE = (6, 9)


def area(value, rows=3):
    mask = np.zeros(SIZE, np.uint8)
    mask[:rows] = value
    return mask


def save(path, picture):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def make(root, rows, classes=("cat", "dog")):
    """`rows`: id → (labels, split, mask (H, W), a picture, or None)."""
    lines = ["image,labels,split"]
    for name, (labels, split, mask) in rows.items():
        save(root / "images" / f"{name}.png", PIL.Image.new("RGB", SIZE[::-1], (90, 120, 150)))
        lines.append(f"{name},{labels},{split}")
        if mask is not None:
            save(
                root / "masks" / f"{name}.png", mask if isinstance(mask, PIL.Image.Image) else PIL.Image.fromarray(mask)
            )
    (root / "labels.csv").write_text("\n".join(lines))
    (root / "classes.txt").write_text("\n".join(classes))
    return Folder(root)


def notes(report):
    """kind → (where, message); each of the kinds asked for here is a single note."""
    return {note.kind: (note.where, note.message) for note in report.notes}


def test_masks_of_0_and_255_are_a_problem(tmp_path):
    rows = {f"{i}": ("cat", "train" if i < 3 else "val", area(255)) for i in range(5)}
    report = check(make(tmp_path, rows, ["cat"]))
    (problem,) = report.problems
    assert (problem.kind, problem.where) == ("mask-only-ignore", str(tmp_path / "masks"))
    assert problem.message.startswith("5 masks hold only 0 and 255; 255 is ignore, the class cat is 1 (first: ")
    assert [note.where for note in report.notes if note.kind == UNSCORED] == ["train", "val"]
    assert "label-not-in-mask" not in notes(report)


def test_several_classes_of_0_and_255_and_a_single_mask(tmp_path):
    report = check(make(tmp_path, {"a": ("cat;dog", "train", area(255)), "b": ("dog", "train", None)}))
    assert (
        "1 mask holds only 0 and 255; 255 is ignore, the classes are 1 (cat) to 2 (dog)" in report.problems[0].message
    )


def test_classes_that_were_not_selected_are_no_masks_of_0_and_255(tmp_path):
    """Of masks that show dogs alone, nothing but 0 and 255 is left where cats are selected."""
    make(tmp_path, {"a": ("cat;dog", "train", area(2)), "b": ("cat", "train", area(0))})
    report = check(Folder(tmp_path, classes=("cat",)))
    assert not [problem for problem in report.problems if problem.kind == "mask-only-ignore"]
    assert notes(report)["label-not-in-mask"][1].startswith("2 of 2 images that are labelled cat")


def test_labels_without_a_pixel_are_counted_by_class(tmp_path):
    both = np.maximum(area(1), area(2, 1))
    rows = {
        "a": ("cat;dog", "train", both),
        "b": ("cat;dog", "train", area(1)),
        "c": ("dog", "val", area(1)),
        "d": ("dog", "val", area(255, 6)),
        "e": ("dog", "val", None),
    }
    report = check(make(tmp_path, rows))
    assert report.ok
    found = [(note.where, note.message) for note in report.notes if note.kind == "label-not-in-mask"]
    assert found == [
        ("dog", "2 of 4 images that are labelled dog and have a true mask show no pixel of it there (first: b, c).")
    ]
    assert notes(report)["mask-all-ignore"] == (
        str(tmp_path / "masks" / "d.png"),
        "the file holds nothing but 255 (ignore), so nothing is learned from it or scored on it (first: d.png).",
    )
    assert UNSCORED not in notes(report)


def test_a_split_whose_masks_show_no_class_is_named(tmp_path):
    report = check(
        make(
            tmp_path, {"a": ("cat", "train", area(1)), "b": ("", "val", area(0)), "c": ("", "val", area(255))}, ["cat"]
        )
    )
    assert report.ok
    assert notes(report)[UNSCORED][0] == "val"
    assert (
        "none of its 2 true masks shows a pixel of any class, so nothing is scored on it" in notes(report)[UNSCORED][1]
    )


def test_a_palette_in_another_order_is_a_note_with_its_indices(tmp_path):
    indices = np.array([[0, 1, 2]] * 3, np.uint8)  # black stands at 2, VOC's colour 2 at 0
    picture = PIL.Image.fromarray(np.repeat(np.repeat(indices, 2, 0), 3, 1))
    picture.putpalette(voc_palette()[[2, 1, 0]].tobytes())
    plain = PIL.Image.fromarray(area(1))
    plain.putpalette(voc_palette().tobytes())
    report = check(make(tmp_path, {"a": ("cat;dog", "train", picture), "b": ("cat", "train", plain)}))
    where, message = notes(report)["palette-order"]
    assert where == str(tmp_path / "masks" / "a.png")
    assert "index 0 is VOC's colour 2, index 2 is VOC's colour 0" in message


def test_palettes_of_other_colours_say_nothing():
    colours = voc_palette()[[1, 0]]
    assert reordered(colours, [0, 1]) == {0: 1, 1: 0}
    assert reordered(colours, [1]) == {1: 0}
    assert reordered(voc_palette(), list(range(256))) == {}
    assert reordered(np.array([[128, 0, 0], [1, 2, 3]], np.uint8), [0, 1]) == {}


def test_eight_bits_as_dark_are_no_note(tmp_path):
    make(tmp_path, {"a": ("cat", "train", None)}, ["cat"])
    save(tmp_path / "images" / "a.png", PIL.Image.fromarray(np.full(SIZE, 12, np.uint8)))
    assert not check(Folder(tmp_path)).notes
