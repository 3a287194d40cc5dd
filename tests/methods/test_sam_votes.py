"""Votes on masks without classes, counted by hand; and the files that they come in."""

import json

import numpy as np
import pytest

from recam.data.free_masks import FreeMask, FreeMaskFolder, read_free_masks
from recam.errors import DataError
from recam.methods.sam_votes import VoteRefiner, VoteSettings, as_lengths, count_overlaps, elect, vote
from recam.types import Sample, SeedMaps

REGIONS = np.array(
    [
        [1, 1, 0, 2],
        [1, 1, 0, 2],
        [0, 0, 0, 2],
    ]
)


def mask_of(rows, columns, size=(3, 4), **scores):
    drawn = np.zeros(size, bool)
    drawn[rows, columns] = True
    return FreeMask(as_lengths(drawn), **scores)


LEFT = mask_of(slice(3), slice(0, 2))  # 6 pixels, 4 of them of class 1
RIGHT = mask_of(slice(1, 3), slice(1, 4))  # 6 pixels: 1 of class 1, 2 of class 2
WHOLE = mask_of(slice(3), slice(0, 4))  # 12 pixels: all of both


def settings(**changed):
    return VoteSettings(**changed)


def test_run_lengths_go_down_columns():
    assert LEFT.lengths.tolist() == [0, 6, 6]
    assert RIGHT.lengths.tolist() == [4, 2, 1, 2, 1, 2]
    assert as_lengths(np.zeros((3, 4), bool)).tolist() == [12]


def test_overlaps_by_hand():
    masks = [LEFT.lengths, RIGHT.lengths, WHOLE.lengths, as_lengths(np.zeros((3, 4), bool))]
    assert count_overlaps(masks, REGIONS, 2).tolist() == [[4, 0], [1, 2], [4, 3], [0, 0]]
    with pytest.raises(DataError, match=r"masks \[1\] have 6 pixels, but the image 12: make them for the same"):
        count_overlaps([LEFT.lengths, np.array([2, 4])], REGIONS, 2)


@pytest.mark.parametrize(
    ("changed", "chosen"),
    [
        ({}, [1, 0, 1]),  # 4 of 6 inside; 2 of 6 inside and 2 of 3 of the class; all of the class
        ({"inside": 0.7, "covers": 1.0}, [1, 0, 1]),  # LEFT is all of class 1
        ({"covers": 0.6}, [1, 2, 1]),
        ({"by": "iou"}, [1, 0, 0]),  # IoU 4/6, 2/7 and 4/12
        ({"by": "iou", "least_iou": 0.2}, [1, 2, 0]),
        ({"by": "iou", "least_iou": 0.7}, [0, 0, 0]),
    ],
)
def test_who_wins_a_mask(changed, chosen):
    overlaps, areas, totals = np.array([[4, 0], [1, 2], [4, 3]]), np.array([6, 6, 12]), np.array([4, 3])
    found, inside = elect(overlaps, areas, totals, settings(**changed))
    assert found.tolist() == chosen
    assert inside[0] == pytest.approx(4 / 6)


def test_a_mask_without_any_class_is_never_accepted():
    found, _ = elect(np.zeros((2, 2), int), np.array([3, 0]), np.array([0, 0]), settings(inside=0.0, covers=0.0))
    assert found.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("changed", "column", "ignored"),
    [("keep", [2, 2, 2], False), ("ignore", [2, 2, 2], True), ("background", [0, 0, 0], False)],
)
def test_what_lies_in_no_mask(changed, column, ignored):
    made, ignore = vote(REGIONS, 2, [LEFT], settings(outside=changed), background=True)
    assert made[:, :2].tolist() == [[1, 1]] * 3
    assert made[:, 3].tolist() == column
    assert ignore[:, 3].tolist() == [ignored] * 3
    assert not ignore[:, :3].any()


def test_pixels_of_rejected_masks_are_background_where_there_is_one():
    made, _ = vote(REGIONS, 2, [RIGHT], settings(), background=True)
    assert made.tolist() == [[1, 1, 0, 2], [1, 0, 0, 0], [0, 0, 0, 0]]
    full = np.where(REGIONS == 0, 1, REGIONS)
    kept, ignore = vote(full, 2, [RIGHT], settings(outside="background"), background=False)
    assert kept[0].tolist() == [1, 1, 1, 2]
    assert (kept > 0).all()
    assert not ignore.any()


def test_where_accepted_masks_meet_the_surer_is_on_top():
    made, _ = vote(REGIONS, 2, [mask_of(slice(3), 3), WHOLE], settings(), background=True)
    assert made.tolist() == [[1, 1, 1, 2]] * 3


def test_masks_that_sam_itself_doubts_do_not_count():
    doubted = [mask_of(slice(3), slice(0, 2), predicted_iou=0.6), mask_of(slice(3), 3, stability=0.6)]
    made, _ = vote(REGIONS, 2, doubted, settings(least_predicted_iou=0.7, least_stability=0.7), background=True)
    assert made.tolist() == REGIONS.tolist()
    assert vote(REGIONS, 2, doubted, settings(), background=True)[0][2].tolist() == [1, 1, 0, 2]


def test_a_refiner_keeps_what_was_ignored():
    maps = np.stack([REGIONS == 1, REGIONS == 2]).astype(np.float32) * 0.5
    before = SeedMaps(maps, np.array([4, 7]), (3, 4), np.eye(3, 4, dtype=bool))
    after = VoteRefiner(lambda image: [LEFT], 0.3, settings(outside="ignore"))(np.zeros((3, 4, 3), np.uint8), before)
    assert after.maps[0].tolist() == [[1, 1, 0, 0]] * 3
    assert after.ignore[:, 3].all()
    assert after.ignore[1, 1]
    assert VoteRefiner(lambda image: [LEFT], 0.6)(np.zeros((3, 4, 3), np.uint8), before).maps.sum() == 0


# Files.


def entry(size=(3, 4), counts=(0, 6, 6), **more):
    runs = counts if isinstance(counts, str) else list(counts)
    return {"segmentation": {"size": list(size), "counts": runs}, "area": 6, "bbox": [0, 0, 2, 3], **more}


def write(path, content):
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize("wrap", [list, lambda entries: {"image": {"height": 3}, "annotations": list(entries)}])
def test_files_of_sam_and_of_sa_1b(tmp_path, wrap):
    path = write(tmp_path / "a.json", wrap([entry(predicted_iou=0.9, stability_score=1), entry(counts="421000")]))
    first, second = read_free_masks(path, (3, 4))
    assert (first.lengths.tolist(), first.predicted_iou, first.stability) == ([0, 6, 6], 0.9, 1)
    assert (second.lengths.tolist(), second.predicted_iou) == (RIGHT.lengths.tolist(), None)


def test_all_that_is_wrong_with_a_file_is_reported_at_once(tmp_path):
    wrong = [entry(), 3, entry(size=(2, 6)), entry(counts="p"), entry(counts=(12,)), entry(predicted_iou="high")]
    with pytest.raises(DataError) as error:
        read_free_masks(write(tmp_path / "a.json", wrong), (3, 4))
    message = str(error.value)
    for expected in (
        "a.json of 6 masks has",
        "1 that are no objects (first: number 1)",
        "1 of 6×2 pixels, but the image has 4×3 (first: number 2)",
        "1 with damaged run lengths (first: number 3)",
        "1 without run lengths (segmentation: size and counts) of at least one pixel (first: number 4)",
        "1 whose predicted_iou or stability_score is no number (first: number 5)",
    ):
        assert expected in message
    for content, expected in (({"a": 1}, "holds no list of masks"), ([0] * 10_001, "lists 10001 masks, more than")):
        with pytest.raises(DataError, match=expected):
            read_free_masks(write(tmp_path / "b.json", content), (3, 4))
    (tmp_path / "c.json").write_bytes(b"[" * 100_000)
    with pytest.raises(DataError, match=r"c\.json cannot be read as JSON"):
        read_free_masks(tmp_path / "c.json", (3, 4))


def test_folders_report_what_is_missing(tmp_path):
    samples = [Sample(name, (), None) for name in ("a", "sub/b", "c", "d", "e")]
    write(tmp_path / "a.json", [])
    assert "4 of 5 images have no file" in FreeMaskFolder(tmp_path).missing(samples)
    assert "(first: sub/b.json, c.json, d.json)" in FreeMaskFolder(tmp_path).missing(samples)
    assert FreeMaskFolder(tmp_path).missing(samples[:1]) == ""
    assert "there is nothing of that name" in FreeMaskFolder(tmp_path / "x").missing(samples)
