"""COCO files as programs write them: types of numbers, names of background, sizes that are wrong, and what must not be
drawn."""

import json
import unicodedata

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from recam.data.check import check
from recam.data.coco import Coco
from recam.data.coco_masks import CocoMask, Region, pack_shape, run_lengths
from recam.data.json_numbers import truth_value, whole_number
from recam.errors import DataError

BOX = [[0, 0, 4, 0, 4, 6, 0, 6]]


@pytest.fixture
def write(tmp_path):
    """``write(images, annotations)`` writes shapes.json beside two photos of 6×8 pixels, of 4×6 of which BOX covers the
    left half."""
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 6)).save(tmp_path / name)

    def write(
        images=None, annotations=(), categories=({"id": 1, "name": "horse"}, {"id": 2, "name": "cow"}), **changed
    ):
        images = [image(1, "a.png"), image(2, "b.png")] if images is None else images
        content = {"images": images, "annotations": list(annotations), "categories": list(categories)} | changed
        (tmp_path / "shapes.json").write_text(json.dumps(content))
        return Coco(tmp_path / "shapes.json", val_share=0)

    return write


def image(id_, name, **changed):
    return {"id": id_, "file_name": name, "height": 6, "width": 8} | changed


def note(image_id, category_id=1, segmentation=BOX, **changed):
    return {"id": 1, "image_id": image_id, "category_id": category_id, "segmentation": segmentation} | changed


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (7, 7), (7.0, 7), ("7", 7), (" 7.0 ", 7), ("-7", -7), ("007", 7), (True, None), (7.5, None), ("7.5", None),
        ("", None),
        (None, None),
        (float("nan"), None), (float("inf"), None), (1e300, None), ("9" * 5000, None), ([7], None), ("٧", None),
    ],
)  # fmt: skip
def test_whole_numbers(value, number):
    assert whole_number(value) == number


@pytest.mark.parametrize(
    ("value", "truth"),
    [
        (0, False),
        ("0", False),
        (0.0, False),
        (False, False),
        ("False", False),
        (1, True),
        ("1", True),
        (True, True),
        (2, None),
        ("no", None),
    ],
)
def test_truth_values(value, truth):
    assert truth_value(value) is truth


@pytest.mark.parametrize(
    ("crowd", "is_label"), [("0", True), (0.0, True), (False, True), (None, True), ("1", False), (True, False)]
)
def test_iscrowd_in_any_type(write, crowd, is_label):
    catalog = write(annotations=[note(1, iscrowd=crowd)])
    sample = catalog.samples("train")[0]
    assert sample.labels == ((0,) if is_label else ())
    assert sample.mask.read().tolist() == [[1 if is_label else 255] * 4 + [0] * 4] * 6
    assert catalog.problems() == []


@pytest.mark.parametrize("listed", [1, 1.0, "1", "1.0"])
@pytest.mark.parametrize("named", [1, 1.0, "1"])
def test_ids_that_are_one_number_are_one_id(write, listed, named):
    categories = [{"id": listed, "name": "horse"}]
    catalog = write([image(listed, "a.png", height=6.0, width="8")], [note(named, named)], categories)
    assert [(s.labels, s.mask.read().sum()) for s in catalog.samples("train")] == [((0,), 24)]
    assert catalog.problems() == []


def test_ids_written_as_they_are_come_first_and_others_must_be_one(write):
    catalog = write([image(1, "a.png"), image("1", "b.png")], [note("1", 1), note(1, 2), note(1.0, 2)])
    assert [(s.id, s.labels) for s in catalog.samples("train")] == [("a", (1,)), ("b", (0,))]
    catalog = write([image("1", "a.png"), image("01", "b.png")], [note(1)])
    (problem,) = catalog.problems()
    assert problem.kind == "unknown-image"
    assert problem.message.startswith("1 annotations name the image id 1, which")
    assert "It may be '01' or '1': write the same as there." in problem.message


def test_entries_of_other_types_are_counted_by_what_is_wrong(write):
    images = [
        image(1, "a.png"),
        image(True, "b.png"),
        image(float("nan"), "b.png"),
        image(3, 7),
        image(4, "\0"),
        "text",
        {"id": 5},
    ]
    annotations = [note(1), note(1.5), note(1, iscrowd="maybe"), note(1, iscrowd=2), note(1, False), note(None), []]
    told = [problem.message for problem in write(images, annotations).problems() if problem.kind == "bad-entry"]
    assert [message.partition("; they are not used")[0] for message in told] == [
        "2 of the images have no whole number or text as id (first: True)",
        "2 of the images have a file_name that is no name (first: 7)",
        "2 of the images have no id and file_name (first: 'text')",
        "2 of the annotations have no whole number or text as image_id (first: 1.5)",
        "2 of the annotations have an iscrowd that is neither 0 nor 1 (first: 'maybe')",
        "1 of the annotations have no whole number or text as category_id (first: False)",
        "1 of the annotations have no image_id and category_id (first: [])",
    ]


@pytest.mark.parametrize(
    ("size", "told"),
    [
        ({"height": 6.5, "width": 8}, "has height 6.5 and width 8, which are no numbers of pixels"),
        ({"height": float("nan"), "width": True}, "has height nan and width True, which are no numbers of pixels"),
        ({"height": 0, "width": -8}, "has height 0 and width -8, which are no numbers of pixels"),
        ({"height": None, "width": 8}, "has no height, so its mask cannot be drawn"),
    ],
)
def test_sizes_that_are_none(write, size, told):
    catalog = write([image(1, "a.png", **size)], [note(1)])
    (problem,) = catalog.problems()
    assert problem.kind == "missing-size"
    assert told in problem.message
    assert catalog.samples("train")[0].mask is None


@pytest.mark.parametrize(("height", "width"), [(60000, 60000), (10**30, 10**30), (8, 6)])
def test_a_size_that_is_not_the_images_is_refused_before_drawing(write, tmp_path, height, width):
    mask = write([image(1, "a.png", height=height, width=width)], [note(1)]).samples("train")[0].mask
    with pytest.raises(
        DataError, match=rf"image a\.png is listed with {width}×{height} pixels and has 8×6.*Correct width and height"
    ):
        mask.read()
    (problem,) = check(f"coco:{tmp_path / 'shapes.json'}").problems
    assert problem.message.startswith("is listed with")
    with pytest.raises(DataError, match="more than can be drawn"):
        CocoMask("f", "a", (60000, 60000), (), "ignore-crowd").read()


def test_outlines_and_layers_are_bounded():
    zigzag = [value for i in range(200) for value in (99000 * (i % 2), 99000 * (i // 2 % 2))]
    with pytest.raises(DataError, match="has outlines of 19800000 pixels, more than 10000000"):
        CocoMask("f", "a", (6, 8), (Region(1, False, pack_shape([zigzag])[0]),), "recam").read()
    whole = pack_shape({"size": [1000, 1000], "counts": [0, 1000_000]})[0]
    with pytest.raises(DataError, match="has 257 annotations that cover it 257 times over"):
        CocoMask("f", "a", (1000, 1000), (Region(1, False, whole),) * 257, "recam").read()


@pytest.mark.parametrize("seed", range(5))
def test_run_lengths_are_those_of_pycocotools(seed):
    random = np.random.default_rng(seed)
    picture = np.asfortranarray(random.random((17, 400)) < random.random(), np.uint8)
    lengths = run_lengths(coco_mask.encode(picture)["counts"])
    assert lengths.sum() == picture.size
    assert np.array_equal(np.repeat(np.arange(len(lengths)) % 2, lengths).reshape(17, 400, order="F"), picture)


@pytest.mark.parametrize("counts", [b"o" * 100, b"0o", b"\x10", b"\xff", b"00000oooooooo0", b"0N", b"x" * 8])
def test_damaged_run_lengths(counts):
    assert run_lengths(counts) is None


def test_a_long_damaged_code_is_named_at_once(write):
    # Each character says that more is to come: read digit by digit, the number has five million bits.
    catalog = write(annotations=[note(1, segmentation={"size": [6, 8], "counts": "o" * 1_000_000})])
    with pytest.raises(DataError, match="has a run-length code of 6×8 that does not cover its 6×8"):
        catalog.samples("train")[0].mask.read()


def test_run_lengths_as_floats_and_of_a_size_as_text(write):
    catalog = write(annotations=[note(1, segmentation={"size": ["6", 8.0], "counts": [0.0, 24.0, 24.0]})])
    assert catalog.samples("train")[0].mask.read().sum() == 24


def test_polygons_that_draw_nothing_are_counted(write):
    annotations = [
        note(1, segmentation=[*BOX, [1, 1, 2, 2], [1, 1, 1, 5, 1, 9]]),
        note(2, segmentation=[*BOX, ["x"] * 6]),
        note(2),
    ]
    (problem,) = write(annotations=annotations).problems()
    assert problem.kind == "empty-segmentation"
    assert problem.message.startswith(
        "3 polygons of 2 annotations draw nothing, others of these do (first: of the image id 1)"
    )
    (problem,) = write(annotations=[note(1, segmentation=[[1, 1, 2, 2]]), note(2, segmentation=[])]).problems()
    assert problem.message.startswith("none of the 2 annotations draws anything")
    assert "although 1 polygons or run-length codes are given" in problem.message


@pytest.mark.parametrize(
    "segmentation",
    [
        [[str(number) for number in BOX[0]]],
        [[*BOX[0][:7], " 6.0"]],
        [str(number) for number in BOX[0]],
        json.dumps(BOX),
        {"size": ["6", "8"], "counts": ["0", "24", "24"]},
        json.dumps({"size": [6, 8], "counts": [0, 24, 24]}),
    ],
)
def test_shapes_as_text_are_read_and_noted(write, segmentation):
    catalog = write(annotations=[note(1, segmentation=segmentation), note(2)])
    assert [s.mask.read().tolist() for s in catalog.samples("train")] == [[[1] * 4 + [0] * 4] * 6] * 2
    (problem,) = catalog.problems()
    assert problem.kind == "number-as-text"
    assert problem.message.startswith(
        "the coordinates or run lengths of 1 annotations are text (first: of the image id 1)"
    )
    report = check(catalog)
    assert report.ok
    assert "note [number-as-text]" in str(report)


@pytest.mark.parametrize("segmentation", [[["x"] * 6], [["1,5"] * 6], "[[1, 2", [["nan"] * 6], [["1_0"] * 6]])
def test_text_that_is_no_number_draws_nothing(write, segmentation):
    catalog = write(annotations=[note(1, segmentation=segmentation), note(2)])
    assert [problem.kind for problem in catalog.problems()] == ["empty-segmentation"]


def test_a_polygon_without_the_list_around_it(write):
    assert write(annotations=[note(1, segmentation=BOX[0])]).samples("train")[0].mask.read().sum() == 24


@pytest.mark.parametrize("name", ["background", "_Background_", "__BACKGROUND__"])
def test_a_category_called_background_paints_0(write, name):
    categories = [{"id": 0, "name": name}, {"id": 1, "name": "horse"}]
    whole, hole = [[0, 0, 8, 0, 8, 6, 0, 6]], [[0, 0, 2, 0, 2, 6, 0, 6]]
    crowd = [[6, 0, 8, 0, 8, 6, 6, 6]]
    annotations = [note(1, 1), note(1, 0, whole), note(1, 0, hole), note(1, 1, crowd, iscrowd=1)]
    catalog = write(annotations=annotations, categories=categories)
    assert catalog.classes.names == ("horse",)
    sample = catalog.samples("train")[0]
    assert sample.labels == (0,)
    assert sample.mask.read().tolist() == [[0, 0, 1, 1, 0, 0, 255, 255]] * 6
    with pytest.raises(DataError, match=f"has no category but {name}"):
        write(categories=categories[:1])


def test_names_in_either_unicode_form_and_case_hints(write, tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))
    (tmp_path / decomposed).mkdir()
    Image.new("RGB", (8, 6)).save(tmp_path / decomposed / f"{composed}.png")
    catalog = write([image(1, f"{composed}/{decomposed}.png"), image(2, "A.PNG"), image(3, "b.png")])
    assert [s.id for s in catalog.samples("train")] == ["b", f"{composed}/{composed}"]
    (problem,) = catalog.problems()
    assert "Did you mean 'a.png'?" in problem.message
    write(categories=[{"id": 1, "name": decomposed}])
    assert Coco(tmp_path / "shapes.json", classes=[composed]).classes.names == (composed,)


def test_one_folder_per_split_with_its_file_in_it(tmp_path):
    for split, name in (("train", "a.png"), ("valid", "b.png"), ("test", "c.png")):
        (tmp_path / split).mkdir()
        Image.new("RGB", (8, 6)).save(tmp_path / split / name)
        content = {"images": [image(0, name)], "annotations": [note(0)], "categories": [{"id": 1, "name": "horse"}]}
        (tmp_path / split / "_annotations.coco.json").write_text(json.dumps(content))
    catalog = Coco(tmp_path)
    assert catalog.splits == ("test", "train", "valid")
    assert (catalog.roles.train, catalog.roles.score, catalog.roles.val) == ("train", "train", "valid")
    assert [s.id for s in catalog.samples("valid")] == ["b"]
    assert (catalog.problems(), catalog.passed_over()) == ([], [])


@pytest.mark.parametrize(
    ("names", "train", "val"),
    [
        (["Training", "validation"], "Training", "validation"),
        (["train2017", "val2014", "val2017"], "train2017", "val2017"),
        (["default"], "default", None),
        (["test", "val2017"], None, "val2017"),
    ],
)
def test_roles_follow_the_names_of_files(tmp_path, names, train, val):
    (tmp_path / "annotations").mkdir()
    for name in names:
        content = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "horse"}]}
        (tmp_path / f"annotations/instances_{name}.json").write_text(json.dumps(content))
    (tmp_path / "annotations/captions_train2017.json").write_text("{}")
    catalog = Coco(tmp_path)
    assert (catalog.roles.train, catalog.roles.val) == (train, val)
    assert [(entry.kind, entry.examples) for entry in catalog.passed_over()] == [
        ("unread-file", ("annotations/captions_train2017.json",))
    ]


def test_images_that_no_entry_lists_are_reported(write, tmp_path):
    (tmp_path / "photo.psd").touch()
    catalog = write([image(1, "a.png")])
    assert [(entry.kind, entry.examples) for entry in catalog.passed_over()] == [
        ("unlisted-image", (str(tmp_path / "b.png"),)),
        ("unread-ending", (str(tmp_path / "photo.psd"),)),
    ]


@pytest.mark.parametrize(
    "content",
    [
        b'{"images": ' + b"[" * 100_000,
        b'{"images": [' + b"1" * 5000 + b"]}",
        b"\xff\xfe\x00",
        b'{"images": "\xe9"}',
        b"",
        b"[]",
    ],
)
def test_files_that_are_no_json(tmp_path, content):
    (tmp_path / "shapes.json").write_bytes(content)
    with pytest.raises(DataError, match=r"shapes\.json (cannot be read as JSON|has no list)"):
        Coco(tmp_path / "shapes.json")


def test_a_damaged_file_for_validation_is_a_problem_of_its_split(tmp_path):
    (tmp_path / "annotations").mkdir()
    Image.new("RGB", (8, 6)).save(tmp_path / "a.png")
    content = {"images": [image(0, "a.png")], "annotations": [note(0)], "categories": [{"id": 1, "name": "horse"}]}
    (tmp_path / "annotations/instances_train.json").write_text(json.dumps(content))
    (tmp_path / "annotations/instances_val.json").write_text("[")
    assert {problem.kind for problem in check(f"coco:{tmp_path}").problems} == {"unknown-split"}


def test_json_in_utf_16(write, tmp_path):
    write(annotations=[note(1)])
    text = (tmp_path / "shapes.json").read_text()
    (tmp_path / "shapes.json").write_text(text, encoding="utf-16")
    assert len(Coco(tmp_path / "shapes.json").samples("train")) == 2
