"""Scoring two folders of masks: pairs, classes, and every problem at once."""

import math
import unicodedata

import numpy as np
import pytest
from PIL import Image

from recam.data.images import write_mask
from recam.data.mask_folder import find_masks, read_classes
from recam.errors import DataError, StoreError
from recam.evaluation.folders import evaluate
from recam.evaluation.metrics import ErrorSplit
from recam.evaluation.pixel_counts import ImageScore, read_image_scores


def save(folder, **masks):
    for name, values in masks.items():
        path = folder / f"{name.replace('__', '/')}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_mask(path, np.array(values, np.uint8))
    return folder


@pytest.fixture
def folders(tmp_path):
    """Two pairs, one of them in a sub-folder: 5 counted pixels, one of truth 255."""
    masks = save(tmp_path / "masks", a=[[0, 1, 1]], farm__b=[[2, 255, 0]])
    truth = save(tmp_path / "truth", a=[[0, 1, 0]], farm__b=[[2, 2, 255]])
    return masks, truth


def test_scores_by_hand(folders):
    scores = evaluate(*folders, ["cat", "dog"])
    # background: 1 hit of 2 true, 1 predicted; cat: 1 hit, 1 true, 2 predicted; dog: 1 hit, 2 true, one of them ignore,
    # 1 predicted.
    assert scores.names == ("background", "cat", "dog")
    assert scores.iou == pytest.approx((1 / 2, 1 / 2, 1 / 2))
    assert scores.miou == pytest.approx(0.5)
    assert (scores.pixels, scores.pixel_accuracy, scores.ignore) == (5, pytest.approx(3 / 5), pytest.approx(1 / 5))


def test_errors_by_hand(folders):
    errors = evaluate(*folders, ["cat", "dog"]).errors
    # a: background and cat right, background taken for a cat; b: a dog found, a dog left open.
    assert errors == ErrorSplit(right=3, missed=0, confused=0, false_alarm=1, ignore=1)


@pytest.mark.parametrize("classes", [["cat", "dog"], None])
def test_a_row_an_image(folders, tmp_path, classes):
    scores = evaluate(*folders, classes, per_image=tmp_path / "scores" / "images.csv")
    first, second = read_image_scores(tmp_path / "scores" / "images.csv")
    # a: background 1 of 2, cat 1 of 2, all of a mask so low is outline; b: dog 1 of 2, and no other class.
    assert first == ImageScore("a", 1, 0.5, right=2, missed=0, confused=0, false_alarm=1, ignore=0, boundary_iou=0.5)
    assert second == ImageScore(
        "farm/b", 1, 0.5, right=1, missed=0, confused=0, false_alarm=0, ignore=1, boundary_iou=0.5
    )
    assert scores == evaluate(*folders, classes)


def test_no_table_where_masks_have_problems_or_under_a_name_that_is_none(folders, tmp_path):
    masks, truth = folders
    for name in ("a.png", "out"):
        with pytest.raises(StoreError, match=rf"{name} is no name of a table\. Name a file that ends in \.csv"):
            evaluate(masks, truth, per_image=tmp_path / name)
    save(truth, b=[[1]])
    with pytest.raises(DataError, match="missing-mask"):
        evaluate(masks, truth, per_image=tmp_path / "images.csv")
    assert not (tmp_path / "images.csv").exists()


def test_without_names_classes_are_numbered_up_to_the_largest_value(folders):
    scores = evaluate(*folders)
    assert scores.names == ("0", "1", "2")
    assert scores.iou == evaluate(*folders, ["cat", "dog"]).iou


def test_a_class_only_in_the_prediction_counts_without_names(tmp_path):
    scores = evaluate(save(tmp_path / "m", a=[[0, 7, 1]]), save(tmp_path / "t", a=[[0, 0, 1]]))
    assert len(scores.names) == 8
    assert scores.iou[7] == 0
    assert math.isnan(scores.iou[3])


def test_masks_without_any_class_are_not_scored(tmp_path):
    scores = evaluate(
        save(tmp_path / "m", a=[[0, 0]]), save(tmp_path / "t", a=[[0, 255]]), per_image=tmp_path / "rows.csv"
    )
    assert math.isnan(scores.miou)
    assert math.isnan(scores.boundary_iou)
    assert "not scored: the true masks hold no pixel of any class" in str(scores)
    # One image of background alone is scored like any other: among others it counts.
    assert read_image_scores(tmp_path / "rows.csv")[0].miou == 1
    mixed = evaluate(save(tmp_path / "m", b=[[1, 1]]), save(tmp_path / "t", b=[[0, 1]]))
    assert mixed.miou == pytest.approx((1 / 2 + 1 / 2) / 2)


@pytest.mark.parametrize(
    "first_line", ["background\n", "Background\n", "_background_\n", "__ignore__\n_Background_\n", "", "\n"]
)
def test_classes_of_a_file_with_and_without_background(folders, tmp_path, first_line):
    path = tmp_path / "classes.txt"
    path.write_text(f"{first_line}traffic light\n\ndog, wild\n", encoding="utf-8-sig")
    assert read_classes(path).names == ("traffic light", "dog, wild")
    assert evaluate(*folders, path).names == ("background", "traffic light", "dog, wild")
    assert evaluate(*folders, ["background", "x", "y"]).names == ("background", "x", "y")


def test_a_list_that_cannot_be_used_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.txt cannot be read as a list of classes .* one class name per line"):
        read_classes(tmp_path / "gone.txt")
    (tmp_path / "two.txt").write_text("dog\ndog\n")
    with pytest.raises(DataError, match=r"two\.txt: class names occur twice: dog"):
        read_classes(tmp_path / "two.txt")
    (tmp_path / "last.txt").write_text("dog\n__background__\n")
    with pytest.raises(
        DataError, match=r"last\.txt: '__background__' stands among the classes\. It is mask value 0: put it first"
    ):
        read_classes(tmp_path / "last.txt")


def test_everything_wrong_is_told_at_once(folders):
    masks, truth = folders
    save(masks, small=[[0, 1]], only_mask=[[0]], strange=[[3, 9]])
    save(truth, small=[[0], [1]], only_truth=[[0]], strange=[[0, 200]])
    (masks / "farm/broken.png").write_bytes(b"no picture")
    save(truth, farm__broken=[[0]])
    Image.new("L", (1, 1)).save(masks / "a.tif")
    with pytest.raises(DataError) as caught:
        evaluate(masks, truth, ["cat", "dog"])
    text = str(caught.value)
    assert text.startswith("6 problems:")
    for told in (
        f"[missing-truth] {truth}: 1 masks have no true mask: only_mask.",
        f"[missing-mask] {masks}: 1 true masks have no mask: only_truth.",
        f"[duplicate-name] {masks}: 1 names occur twice: a.png and a.tif.",
        "[mask-size]", "small 1×2, truth 2×1",
        "neither 0…2 nor 255", f"{masks / 'strange'}: 3, 9", f"{truth / 'strange'}: 200",
        "[unreadable]", str(masks / "farm/broken.png"),
    ):  # fmt: skip
        assert told in text


def test_many_files_are_counted_and_the_first_are_named(tmp_path):
    masks = save(tmp_path / "m", **{f"i{n}": [[0]] for n in range(9)})
    with pytest.raises(DataError, match=r"8 masks have no true mask: i1; i2; i3; i4; i5; … and 3 more\."):
        evaluate(masks, save(tmp_path / "t", i0=[[0]]))


def test_partial_scores_the_pairs_that_are_there(folders):
    masks, truth = folders
    whole = evaluate(masks, truth)
    save(truth, other=[[1]])
    save(masks, overlay=[[4]])
    assert evaluate(masks, truth, partial=True) == whole


def test_folders_without_a_common_name_are_refused_even_when_partial(tmp_path):
    with pytest.raises(DataError, match="1 masks have no true mask: a"):
        evaluate(save(tmp_path / "m", a=[[0]]), save(tmp_path / "t", b=[[0]]), partial=True)


def test_folders_that_hold_nothing_are_named(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/notes.txt").touch()
    with pytest.raises(DataError, match=r"empty holds no mask \(\.png"):
        evaluate(tmp_path / "empty", tmp_path / "empty")
    with pytest.raises(DataError, match="gone is no folder"):
        evaluate(tmp_path / "gone", tmp_path / "empty")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/run.json").touch()
    with pytest.raises(DataError, match=r"run is a run folder\. Name the masks in it: .*run/masks"):
        evaluate(tmp_path / "run", tmp_path / "empty")


def test_files_that_may_be_masks_are_reported(folders):
    masks, truth = folders
    Image.new("L", (3, 1)).save(masks / "c.jpg")
    Image.new("L", (3, 1)).save(masks / "a.jpg")  # the photo beside its mask
    (masks / "tally.npz").touch()
    np.save(truth / "d.npy", np.zeros((1, 3), np.uint8))
    with pytest.raises(DataError) as caught:
        evaluate(masks, truth)
    assert f"[unread-mask] {masks}: holds 1 files that may be masks and are not read (c.jpg). Save them as PNG" in str(
        caught.value
    )
    assert f"[unread-mask] {truth}: holds 1 files that may be masks and are not read (d.npy)." in str(caught.value)
    assert evaluate(masks, truth, partial=True).pixels == 5
    with pytest.raises(DataError, match=r"holds 1 files that may be masks and are not read \(c\.jpg\)"):
        find_masks(masks)


def test_masks_of_differing_formats_and_unicode_forms_are_pairs(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))
    save(tmp_path / "m", **{composed: [[1, 0]]})
    (tmp_path / "t").mkdir()
    Image.fromarray(np.array([[1, 0]], np.uint8)).save(tmp_path / f"t/{decomposed}.tif")
    assert evaluate(tmp_path / "m", tmp_path / "t").miou == 1
    save(tmp_path / "m", **{decomposed: [[1, 0]]})
    with pytest.raises(DataError, match=r"1 names occur twice: .*which are spelled in different Unicode forms"):
        evaluate(tmp_path / "m", tmp_path / "t")


def test_progress_is_told_after_each_pair(folders):
    calls = []
    evaluate(*folders, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 2), (2, 2)]


def test_without_a_background_no_pixel_is_one(tmp_path):
    write_mask(tmp_path / "masks" / "a.png", np.array([[1, 1, 2, 2]], np.uint8))
    write_mask(tmp_path / "truth" / "a.png", np.array([[0, 1, 2, 1]], np.uint8))
    for classes, names in ((None, ("1", "2")), (["forest", "water"], ("forest", "water"))):
        scores = evaluate(tmp_path / "masks", tmp_path / "truth", classes, background=False)
        assert scores.names == names
        assert scores.iou == (0.5, 0.5)
        assert scores.pixels == 3
