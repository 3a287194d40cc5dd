"""COCO: layouts, classes, labels, painted masks by hand, and every kind of problem."""

import json
import pickle

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from recam.data.catalog import catalogs, fingerprint
from recam.data.check import HARMLESS
from recam.data.coco import Coco
from recam.data.coco_masks import CocoMask, Region, pack_shape
from recam.digests import digest_file
from recam.errors import DataError, RecipeError

CATEGORIES = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}, {"id": 90, "name": "traffic light"}]


def box(left, top, right, bottom):
    """A polygon that covers pixels [left, right) × [top, bottom)."""
    return [[left, top, right, top, right, bottom, left, bottom]]


def runs(mask):
    """Uncompressed run lengths of a mask, column by column."""
    flat = np.asarray(mask, bool).ravel(order="F")
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flat, [not flat[-1]]]))).tolist()
    return {"size": list(np.shape(mask)), "counts": np.diff([0, *edges]).tolist()}


def image(id_, name, height=6, width=8):
    return {"id": id_, "file_name": name, "height": height, "width": width}


def annotation(image_id, category_id, segmentation, crowd=0):
    return {"id": 1, "image_id": image_id, "category_id": category_id, "segmentation": segmentation, "iscrowd": crowd}


def write(path, images, annotations, categories=CATEGORIES):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def draw_images(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6), "red").save(folder / name)


@pytest.fixture
def official(tmp_path):
    """The official layout: two training images, one for validation."""
    annotations = [
        annotation(10, 7, box(0, 0, 4, 6)),
        annotation(10, 3, box(2, 0, 8, 6)),
        annotation(10, 90, box(0, 0, 8, 6), crowd=1),
    ]
    write(tmp_path / "annotations/instances_train2014.json", [image(10, "b.jpg"), image(2, "a.jpg")], annotations)
    write(tmp_path / "annotations/instances_val2014.json", [image(5, "v.jpg")], [annotation(5, 90, box(1, 1, 3, 3))])
    draw_images(tmp_path, "train2014/a.jpg", "train2014/b.jpg", "val2014/v.jpg")
    return tmp_path


def test_official_layout(official):
    catalog = Coco(official)
    assert catalogs["coco"] is Coco
    assert catalog.classes.names == ("cat", "dog", "traffic light")
    assert catalog.splits == ("train2014", "val2014")
    assert (catalog.roles.train, catalog.roles.score, catalog.roles.val) == ("train2014", "train2014", "val2014")
    first, second = catalog.samples("train2014")
    assert (first.id, first.labels) == ("a", ())
    assert (second.id, second.labels) == ("b", (0, 1)), "a crowd region is no label"
    assert catalog.problems() == []
    assert first.image.read().shape == (6, 8, 3)
    assert not first.mask.read().any()
    assert [(s.id, s.labels) for s in catalog.samples("val2014")] == [("v", (2,))]


def test_2014_comes_before_2017_and_images_may_lie_in_images(official):
    for part in ("train", "val"):
        write(official / f"annotations/instances_{part}2017.json", [image(1, f"{part}17.jpg")], [])
        draw_images(official, f"images/{part}2017/{part}17.jpg")
    catalog = Coco(official)
    assert (catalog.roles.train, catalog.roles.val) == ("train2014", "val2014")
    assert [s.id for s in catalog.samples("train2017")] == ["train17"]
    for part in ("train", "val"):
        (official / f"annotations/instances_{part}2014.json").unlink()
    assert (Coco(official).roles.train, Coco(official).roles.val) == ("train2017", "val2017")


def test_crowds_are_ignored_and_smaller_instances_lie_on_top(official):
    # dog 4×6 = 24 pixels, cat 6×6 = 36: the dog is on top although the cat comes later; the crowd covers all and shows
    # nowhere else.
    mask = Coco(official).samples("train2014")[1].mask.read()
    assert mask.dtype == np.uint8
    assert mask.tolist() == [[2, 2, 2, 2, 1, 1, 1, 1]] * 6


def test_the_papers_protocol_lets_later_objects_overwrite_earlier_ones(official):
    path = official / "annotations/instances_train2014.json"
    content = json.loads(path.read_text())
    content["annotations"] = [
        annotation(10, 7, box(0, 0, 4, 6)),
        annotation(10, 3, box(2, 0, 6, 6)),
        annotation(10, 90, box(4, 0, 8, 6), 1),
    ]
    path.write_text(json.dumps(content))
    assert (
        Coco(official, protocol="recam").samples("train2014")[1].mask.read().tolist() == [[2, 2, 1, 1, 1, 1, 0, 0]] * 6
    )
    # By default the equally large cat is on top too (later in the file), and what only the crowd covers is ignored.
    assert Coco(official).samples("train2014")[1].mask.read().tolist() == [[2, 2, 1, 1, 1, 1, 255, 255]] * 6
    with pytest.raises(RecipeError, match=r"unknown COCO protocol 'recan'\. Did you mean 'recam'"):
        Coco(official, protocol="recan")


def test_selected_classes_keep_their_order_and_the_others_become_ignore(official):
    catalog = Coco(official, classes=["traffic light", "dog"])
    assert catalog.classes.names == ("dog", "traffic light")
    sample = catalog.samples("train2014")[1]
    assert sample.labels == (0,)
    assert sample.mask.read().tolist() == [[1, 1, 1, 1, 255, 255, 255, 255]] * 6
    with pytest.raises(DataError, match=r"unknown class 'dogs'\. Did you mean 'dog'"):
        Coco(official, classes=["dogs"])


def test_classes_are_those_of_the_training_file_by_name(official):
    """The same category under another id in the file for validation is the same class; a category that training lacks
    is told."""
    categories = [{"id": 1, "name": "traffic light"}, {"id": 2, "name": "cow"}]
    annotations = [annotation(5, 1, box(1, 1, 3, 3)), annotation(5, 2, box(4, 1, 6, 3))]
    write(official / "annotations/instances_val2014.json", [image(5, "v.jpg")], annotations, categories)
    catalog = Coco(official)
    sample = catalog.samples("val2014")[0]
    assert sample.labels == (2,)
    assert sorted(np.unique(sample.mask.read())) == [0, 3]
    assert [(p.kind, "no class 'cow'" in p.message) for p in catalog.problems(["val2014"])] == [("unknown-class", True)]
    assert catalog.problems(["train2014"]) == []


SHAPE = np.zeros((6, 8), bool)
SHAPE[1:4, 2:5] = SHAPE[5, 7] = True


@pytest.mark.parametrize("form", ["uncompressed", "compressed", "starts with foreground"])
def test_run_lengths_are_drawn_exactly(form):
    wanted = SHAPE if form != "starts with foreground" else ~SHAPE
    code = runs(wanted)
    if form == "compressed":
        encoded = coco_mask.encode(np.asfortranarray(wanted, np.uint8))
        code = {"size": list(encoded["size"]), "counts": encoded["counts"].decode()}
    mask = CocoMask("f.json", "a.jpg", (6, 8), (Region(4, False, pack_shape(code)[0]),), "ignore-crowd").read()
    assert np.array_equal(mask, 4 * wanted)


def test_long_run_length_codes_are_checked_by_their_sum():
    picture = np.random.default_rng(0).random((131, 257)) < 0.3
    encoded = coco_mask.encode(np.asfortranarray(picture, np.uint8))
    shape = pack_shape({"size": [131, 257], "counts": encoded["counts"].decode()})[0]
    assert np.array_equal(CocoMask("f", "a", (131, 257), (Region(1, False, shape),), "recam").read(), picture)
    cut = shape._replace(counts=shape.counts[:-4])
    with pytest.raises(
        DataError, match=r"shapes\.json: image a\.jpg has a run-length code of 131×257 that does not cover its 131×257"
    ):
        CocoMask("shapes.json", "a.jpg", (131, 257), (Region(1, False, cut),), "recam").read()
    with pytest.raises(DataError, match="of 131×257 that does not cover its 257×131"):
        CocoMask("shapes.json", "a.jpg", (257, 131), (Region(1, False, shape),), "recam").read()


def test_several_polygons_are_one_region_and_decimals_are_drawn_as_pycocotools_does():
    polygons = [[0.5, 0.25, 3.75, 0.4, 2.1, 4.3], *box(5, 2, 8, 6)]
    mask = CocoMask("f", "a", (6, 8), (Region(1, False, pack_shape(polygons)[0]),), "ignore-crowd").read()
    reference = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, 6, 8)))
    assert np.array_equal(mask, reference)
    assert mask[2:6, 5:8].all()


@pytest.mark.parametrize(
    "segmentation",
    [
        None, [], [[]], [[1, 1, 2, 2]], [[1, 1, 2, 2, 3]], [[1, 1, 1, 5, 1, 9]], [[1, 1, 2, 2, "a", 3]],
        [[[1, 1], [2, 2], [3, 1]]],
        [[1, 1, 2, 2, float("nan"), 3]], [[1, 1, 2, 2, 1e12, 3]], [[1, 1, 2, 2, 10**400, 3]], "polygon",
        [[0.1, 0.1, 0.9, 0.1, 0.9, 1, 0.1, 1]],
        {"size": [6, 8]},
        {"size": [6, 8], "counts": [48]}, {"size": [6, 8], "counts": [3, 4]}, {"size": [6], "counts": [3, 4]},
        {"size": [6, 8], "counts": ""},
    ],
)  # fmt: skip
def test_what_draws_nothing_is_found_before_drawing(segmentation):
    shape, lost = pack_shape(segmentation)
    assert shape is None
    assert lost == bool(segmentation)


def test_polygons_that_can_be_drawn_are_kept_beside_those_that_cannot():
    assert pack_shape([[1, 1, 2, 2], *box(0, 0, 2, 2)]) == (pack_shape(box(0, 0, 2, 2))[0], 1)


def test_masks_can_be_sent_to_workers_and_tell_when_they_change(official):
    sample = Coco(official).samples("train2014")[1]
    again = pickle.loads(pickle.dumps(sample))
    assert np.array_equal(again.mask.read(), sample.mask.read())
    assert again.mask.fingerprint(digest_file) == sample.mask.fingerprint(digest_file)
    assert len(pickle.dumps(sample)) < 2000
    assert sample.mask.where == f"{official / 'annotations/instances_train2014.json'}: image b.jpg"
    other = Coco(official, protocol="recam").samples("train2014")[1]
    assert other.mask.fingerprint(digest_file) != sample.mask.fingerprint(digest_file)
    before = fingerprint(Coco(official).samples("train2014"))
    path = official / "annotations/instances_train2014.json"
    path.write_text(path.read_text().replace("[[2, 0, 8, 0", "[[3, 0, 8, 0"))
    assert fingerprint(Coco(official).samples("train2014")) != before


@pytest.mark.parametrize("beside", ["images/", ""])
def test_a_file_of_ones_own_has_a_split_that_additions_do_not_move(tmp_path, beside):
    names = [f"farm/{i}.png" for i in range(40)]
    draw_images(tmp_path / beside, *names)
    file = write(
        tmp_path / "mine.json",
        [image(i, name) for i, name in enumerate(names[:30])],
        [annotation(0, 3, box(0, 0, 2, 2))],
    )
    catalog = Coco(file)
    assert (catalog.splits, catalog.roles.train, catalog.roles.val) == (("train", "val"), "train", "val")
    train, val = ({s.id for s in catalog.samples(split)} for split in ("train", "val"))
    assert train | val == {name.removesuffix(".png") for name in names[:30]}
    assert not train & val
    assert 1 <= len(val) <= 14
    write(file, [image(i, name) for i, name in enumerate(names)], [])
    assert train < {s.id for s in Coco(file).samples("train")}
    assert val <= {s.id for s in Coco(file).samples("val")}
    assert {s.id for s in Coco(file, split_seed=1).samples("val")} != {s.id for s in Coco(file).samples("val")}
    assert len(Coco(file, val_share=0).samples("val")) == 0
    assert Coco(file, val_share=0).roles.val is None


def test_boxes_without_shapes_are_labels_without_truth(tmp_path):
    draw_images(tmp_path, *(f"{i}.png" for i in range(4)))
    file = write(
        tmp_path / "boxes.json", [image(i, f"{i}.png") for i in range(4)], [annotation(i, 3, []) for i in range(4)]
    )
    catalog = Coco(file)
    assert catalog.roles.score is None
    assert [(s.labels, s.mask) for s in (*catalog.samples("train"), *catalog.samples("val"))] == [((0,), None)] * 4
    (note,) = catalog.problems()
    assert note.kind in HARMLESS
    assert note.message.startswith(
        "none of the 4 annotations draws anything, so they are labels and nothing can be scored. Export"
    )


def test_all_problems_are_told_at_once(official):
    path = official / "annotations/instances_train2014.json"
    images = [
        image(1, "a.jpg"), image(2, "gone.jpg"), image(3, "a.png"), image(1, "b.jpg"), image(4, "../x.jpg"),
        {"id": 6, "file_name": "b.jpg"}, {"file_name": "no id"},
    ]  # fmt: skip
    annotations = [
        annotation(77, 3, box(0, 0, 2, 2)), annotation(77, 3, box(0, 0, 2, 2)), annotation(1, 8, box(0, 0, 2, 2)),
        annotation(1, 3, [[1, 1, 1, 1]]), annotation(1, 7, box(0, 0, 2, 2)),
    ]  # fmt: skip
    write(path, images, annotations)
    catalog = Coco(official)
    told = {
        (p.kind, p.where.removeprefix(str(path)).removeprefix(": ")): p.message for p in catalog.problems(["train2014"])
    }
    assert set(told) == {
        ("bad-entry", ""), ("unknown-image", ""), ("unknown-class", ""), ("empty-segmentation", "image a.jpg"),
        ("missing-image", "image gone.jpg"), ("duplicate-id", "image a.png"), ("duplicate-id", "image b.jpg"),
        ("bad-file-name", "image ../x.jpg"), ("missing-size", "image b.jpg"),
    }  # fmt: skip
    assert told["unknown-image", ""].startswith("2 annotations name the image id 77,")
    assert told["unknown-class", ""].startswith("1 annotations name the category id 8,")
    assert told["empty-segmentation", "image a.jpg"].startswith("1 of 2 annotations draw nothing")
    assert str(official / "train2014") in told["missing-image", "image gone.jpg"]
    assert [(s.id, s.labels, s.mask is None) for s in catalog.samples("train2014")] == [
        ("a", (0, 1), False),
        ("b", (), True),
    ]


def test_missing_folder_of_images_is_one_problem(official):
    for file in (official / "train2014").iterdir():
        file.unlink()
    (problem,) = Coco(official).problems()
    assert problem.kind == "missing-image"
    assert problem.message.startswith("none of its 2 images (first: 'b.jpg') is in ")


def test_an_id_in_two_splits_is_told(official):
    write(official / "annotations/instances_val2014.json", [image(5, "a.jpg")], [])
    draw_images(official, "val2014/a.jpg")
    (problem,) = Coco(official).problems()
    assert (problem.kind, problem.where) == ("duplicate-id", "a")
    assert "train2014 and val2014" in problem.message


def test_errors_tell_what_to_do(tmp_path, official):
    with pytest.raises(DataError, match=r"unknown split 'train' .*Did you mean 'train2014'"):
        Coco(official).samples("train")
    with pytest.raises(DataError, match="nowhere does not exist"):
        Coco(tmp_path / "nowhere")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/mine.json").write_text("{")
    with pytest.raises(DataError, match=r"holds no instances_\*\.json.*coco:.*mine\.json"):
        Coco(tmp_path / "other")
    with pytest.raises(DataError, match=r"mine\.json cannot be read as JSON"):
        Coco(tmp_path / "other/mine.json")
    (tmp_path / "other/mine.json").write_text('{"images": [], "categories": 3}')
    with pytest.raises(DataError, match="has no list annotations, categories"):
        Coco(tmp_path / "other/mine.json")
    with pytest.raises(DataError, match="category ids 3 occur twice"):
        Coco(write(tmp_path / "other/mine.json", [], [], [{"id": 3, "name": "a"}, {"id": 3, "name": "b"}]))
    with pytest.raises(DataError, match=r"categories need a whole number as id and a name, got .*'x'"):
        Coco(write(tmp_path / "other/mine.json", [], [], [{"id": "x", "name": "a"}]))
    with pytest.raises(RecipeError, match="val_share = 1"):
        Coco(official, val_share=1)
