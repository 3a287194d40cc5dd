"""Masks in other programs' formats, read back: the same pixels, the same classes."""

import json
from xml.etree import ElementTree

import numpy as np
import PIL.Image
import pytest
from pycocotools.coco import COCO
from shape_readers import decoded_brush, filled

import recam
from recam.data.images import read_image, read_mask, write_mask, write_png
from recam.errors import DataError, RecipeError, StoreError
from recam.labels import voc_palette

CLASSES = ["cat & mouse", 'dog "Rex"']


@pytest.fixture
def folder(tmp_path):
    """Two masks with holes and 255, one empty, in a sub-folder; photos of two formats."""
    masks = {}
    for index, name in enumerate(("a", "sub/b", "c")):
        mask = np.random.default_rng(index).choice(
            np.array([0, 1, 2, 255], np.uint8), (20 + index, 30), p=[0.4, 0.3, 0.2, 0.1]
        )
        masks[name] = mask if name != "c" else np.zeros((22, 30), np.uint8)
        write_mask(tmp_path / "masks" / f"{name}.png", masks[name])
        PIL.Image.new("RGB", (30, 20 + index), (90, index, 0)).save(
            _made(tmp_path / "photos" / f"{name}.{'jpg' if index else 'PNG'}")
        )
    write_png(tmp_path / "masks" / "a_overlay.png", np.zeros((20, 30, 3), np.uint8))
    (tmp_path / "classes.txt").write_text("\n".join(["background", *CLASSES]))
    return tmp_path, masks


def _made(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def written(folder, to, **words):
    root, _ = folder
    report = recam.export_masks(
        root / "masks", root / to, to, images=root / "photos", classes=root / "classes.txt", **words
    )
    assert (report.masks, report.shapes) == (3, 6 if words.get("ignore_as") else 4)
    return root / to


def expected(mask, ignore_as):
    return mask if ignore_as else np.where(mask == 255, 0, mask)


@pytest.mark.parametrize("ignore_as", [None, "unsure"])
@pytest.mark.parametrize("shapes", ["rle", "polygons"])
def test_coco_is_read_back_by_pycocotools(folder, shapes, ignore_as, capsys):
    place = written(folder, "coco", shapes=shapes, ignore_as=ignore_as)
    coco = COCO(str(place / "annotations.json"))
    names = {category["id"]: category["name"] for category in coco.loadCats(coco.getCatIds())}
    assert names == {1: CLASSES[0], 2: CLASSES[1], **({255: "unsure"} if ignore_as else {})}
    images = {image["file_name"].rpartition(".")[0]: image for image in coco.loadImgs(coco.getImgIds())}
    assert {image["file_name"] for image in images.values()} == {"a.PNG", "sub/b.jpg", "c.jpg"}
    for name, mask in folder[1].items():
        painted = np.zeros_like(mask)
        assert (images[name]["height"], images[name]["width"]) == mask.shape
        for annotation in coco.loadAnns(coco.getAnnIds(images[name]["id"])):
            binary = coco.annToMask(annotation) > 0
            assert annotation["area"] == binary.sum()
            rows, columns = np.nonzero(binary)
            box = [columns.min(), rows.min(), columns.max() + 1 - columns.min(), rows.max() + 1 - rows.min()]
            assert annotation["bbox"] == box
            assert not annotation["iscrowd"]
            painted[binary] = annotation["category_id"]
        assert np.array_equal(painted, expected(mask, ignore_as))


def test_coco_is_a_data_set_of_ours(folder):
    place = written(folder, "coco", copy_images=True)
    catalog = recam.open_catalog(f"coco:{place / 'annotations.json'}")
    assert catalog.classes.names == tuple(CLASSES)
    samples = [sample for split in catalog.splits for sample in catalog.samples(split)]
    assert {sample.image.read().shape[1] for sample in samples} == {30}
    by_id = {sample.id: sample for sample in samples}
    for name, mask in folder[1].items():
        sample = by_id[name]
        assert np.array_equal(sample.mask.read(), expected(mask, None))
        assert sample.labels == tuple(value - 1 for value in (1, 2) if value in mask)


@pytest.mark.parametrize("shapes", ["rle", "polygons"])
def test_cvat_is_read_back(folder, shapes):
    """By the documented layout: row by row, in the box, beginning with what is not in."""
    place = written(folder, "cvat", shapes=shapes, ignore_as="unsure")
    root = ElementTree.parse(place / "annotations.xml").getroot()
    assert root.findtext("version") == "1.1"
    labels = [label.findtext("name") for label in root.findall("meta/task/labels/label")]
    assert labels == [*CLASSES, "unsure"]
    assert [label["name"] for label in json.loads((place / "labels.json").read_text())] == labels
    values = dict(zip(labels, (1, 2, 255), strict=True))
    names = [image.get("name") for image in root.findall("image")]
    assert names == sorted(names) == ["a.PNG", "c.jpg", "sub/b.jpg"]
    for image in root.findall("image"):
        mask = folder[1][image.get("name").rpartition(".")[0]]
        assert (int(image.get("height")), int(image.get("width"))) == mask.shape
        painted = np.zeros_like(mask)
        for shape in image.findall("mask"):
            left, top, width, height = (int(shape.get(side)) for side in ("left", "top", "width", "height"))
            runs = [int(run) for run in shape.get("rle").split(", ")]
            assert sum(runs) == width * height
            inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
            painted[top : top + height, left : left + width][inside] = values[shape.get("label")]
        for shape in image.findall("polygon"):
            loop = np.array([[float(part) for part in point.split(",")] for point in shape.get("points").split(";")])
            painted[filled([loop], mask.shape) > 0] = values[shape.get("label")]
        assert np.array_equal(painted, mask)


@pytest.mark.parametrize("shapes", ["rle", "polygons"])
def test_label_studio_is_read_back(folder, shapes):
    place = written(folder, "label-studio", shapes=shapes, ignore_as="unsure")
    interface = ElementTree.parse(place / "interface.xml").getroot()
    labels = [label.get("value") for label in interface.iter("Label")]
    assert labels == [*CLASSES, "unsure"]
    values = dict(zip(labels, (1, 2, 255), strict=True))
    kind = "brushlabels" if shapes == "rle" else "polygonlabels"
    tasks = json.loads((place / "tasks.json").read_text())
    assert [task["data"]["image"] for task in tasks] == [
        f"/data/local-files/?d={name}" for name in ("a.PNG", "c.jpg", "sub/b.jpg")
    ]
    for task, name in zip(tasks, ("a", "c", "sub/b"), strict=True):
        mask = folder[1][name]
        painted = np.zeros_like(mask)
        (prediction,) = task["predictions"]
        assert len({region["id"] for region in prediction["result"]}) == len(prediction["result"])
        for region in prediction["result"]:
            assert (region["from_name"], region["to_name"], region["type"]) == ("mask", "image", kind)
            assert (region["original_height"], region["original_width"]) == mask.shape
            if shapes == "rle":
                inside = decoded_brush(region["value"]["rle"]).reshape(*mask.shape, 4)[..., 3] == 255
            else:
                loop = np.array(region["value"]["points"]) * [mask.shape[1] / 100, mask.shape[0] / 100]
                inside = filled([loop.round(6)], mask.shape) > 0
            painted[inside] = values[region["value"][kind][0]]
        assert np.array_equal(painted, mask)


def read_polygons(place, to, shape):
    """Polygons (n, 2) in pixels, by class name."""
    found = {}
    if to == "coco":
        coco = COCO(str(place / "annotations.json"))
        for annotation in coco.loadAnns(coco.getAnnIds()):
            (category,) = coco.loadCats(annotation["category_id"])
            found[category["name"]] = [np.reshape(flat, (-1, 2)) for flat in annotation["segmentation"]]
    elif to == "cvat":
        for polygon in ElementTree.parse(place / "annotations.xml").getroot().iter("polygon"):
            points = [[float(part) for part in point.split(",")] for point in polygon.get("points").split(";")]
            found.setdefault(polygon.get("label"), []).append(np.array(points))
    else:
        (task,) = json.loads((place / "tasks.json").read_text())
        for region in task["predictions"][0]["result"]:
            points = np.array(region["value"]["points"]) * [shape[1] / 100, shape[0] / 100]
            found.setdefault(region["value"]["polygonlabels"][0], []).append(points.round(6))
    return found


@pytest.mark.parametrize("to", ["coco", "cvat", "label-studio"])
def test_simpler_polygons(tmp_path, to, capsys):
    """A disc in two halves: fewer corners, pixels change along the outline alone, no pixel is lost between the
    halves."""
    y, x = np.mgrid[:50, :60] + 0.5
    disc = np.hypot(x - 30, y - 25) < 20
    mask = np.where(disc, np.where(x < 25 + y / 5, 1, 2), 0).astype(np.uint8)
    write_mask(tmp_path / "masks" / "a.png", mask)
    PIL.Image.new("RGB", (60, 50)).save(_made(tmp_path / "photos" / "a.png"))
    known = {"images": tmp_path / "photos", "classes": CLASSES, "shapes": "polygons"}
    for name, simplify in (("exact", 0.0), ("simple", 1.5)):
        recam.export_masks(tmp_path / "masks", tmp_path / name, to, simplify=simplify, **known)
    exact, simple = (read_polygons(tmp_path / name, to, mask.shape) for name in ("exact", "simple"))
    assert list(simple) == CLASSES
    exactly, simply = (sum(len(loop) for loops in found.values() for loop in loops) for found in (exact, simple))
    assert simply < 0.3 * exactly
    covered = sum(filled(loops, mask.shape).astype(int) for loops in simple.values())
    assert covered.max() == 1
    assert (covered[np.hypot(x - 30, y - 25) < 17.5] == 1).all()
    assert (covered[np.hypot(x - 30, y - 25) > 22.5] == 0).all()


def test_coco_tells_area_and_box_of_simpler_polygons(tmp_path, capsys):
    mask = np.tri(8, dtype=np.uint8)
    write_mask(tmp_path / "masks" / "a.png", mask)
    PIL.Image.new("RGB", (8, 8)).save(_made(tmp_path / "photos" / "a.png"))
    recam.export_masks(
        tmp_path / "masks",
        tmp_path / "coco",
        "coco",
        images=tmp_path / "photos",
        classes=CLASSES,
        shapes="polygons",
        simplify=1,
    )
    coco = COCO(str(tmp_path / "coco" / "annotations.json"))
    (annotation,) = coco.loadAnns(coco.getAnnIds())
    # The stairs are one edge from (1, 0) to (8, 7): of the square, a triangle of 7 × 7 pixels is not in.
    assert annotation["segmentation"] == [[0, 0, 1, 0, 8, 7, 8, 8, 0, 8]]
    assert annotation["area"] == 8 * 8 - 7 * 7 / 2
    assert annotation["bbox"] == [0, 0, 8, 8]
    assert abs(int(coco.annToMask(annotation).sum()) - annotation["area"]) <= 4  # half a pixel a stair


def test_voc_is_read_back(folder):
    place = written(folder, "voc", copy_images=True)
    listed = (place / "ImageSets" / "Segmentation" / "train.txt").read_text().split()
    assert listed == ["a", "c", "sub__b"]
    for name, mask in folder[1].items():
        flat = name.replace("/", "__")
        assert np.array_equal(read_mask(place / "SegmentationClass" / f"{flat}.png"), mask)  # 255 is VOC's own
        assert read_image(next((place / "JPEGImages").glob(f"{flat}.*"))).shape[:2] == mask.shape
    lines = (place / "labelmap.txt").read_text().splitlines()
    assert lines[1:] == [
        "background:0,0,0::",
        f"{CLASSES[0]}:128,0,0::",
        f"{CLASSES[1]}:0,128,0::",
        "ignored:224,224,192::",
    ]
    with PIL.Image.open(place / "SegmentationClass" / "a.png") as picture:
        assert picture.getpalette()[:9] == voc_palette()[:3].ravel().tolist()


def test_yolo_is_read_back_by_its_documented_layout(folder):
    """A line per polygon: class from 0, corners in shares of the sides; labels beside photos, by the same name."""
    place = written(folder, "yolo", copy_images=True, ignore_as="unsure")
    assert (place / "data.yaml").read_text().splitlines()[1:] == [
        "train: images", "val: images", "names:", '  0: "cat & mouse"', '  1: "dog \\"Rex\\""', '  2: "unsure"',
    ]  # fmt: skip
    for name, mask in folder[1].items():
        painted = np.zeros_like(mask)
        for line in (place / "labels" / f"{name}.txt").read_text().splitlines():
            number, *shares = line.split()
            loop = np.reshape([float(share) for share in shares], (-1, 2)) * mask.shape[::-1]
            inside = filled([loop.round(3)], mask.shape) > 0
            assert not painted[inside].any()
            painted[inside] = {"0": 1, "1": 2, "2": 255}[number]
        assert np.array_equal(painted, mask)
        assert read_image(next((place / "images").glob(f"{name}.*"))).shape[:2] == mask.shape


def test_yolo_is_read_by_supervision(tmp_path):
    supervision = pytest.importorskip("supervision", reason="an extra is not installed: recam[tools]")
    mask = np.zeros((40, 60), np.uint8)
    mask[5:25, 10:40], mask[30:38, 2:50] = 1, 2
    write_mask(tmp_path / "masks" / "a.png", mask)
    write_png(_made(tmp_path / "photos" / "a.png"), np.zeros((40, 60, 3), np.uint8))
    known = {"images": tmp_path / "photos", "classes": CLASSES, "copy_images": True}
    out = tmp_path / "yolo"
    recam.export_masks(tmp_path / "masks", out, "yolo", **known)
    read = supervision.DetectionDataset.from_yolo(
        str(out / "images"), str(out / "labels"), str(out / "data.yaml"), force_masks=True
    )
    assert read.classes == CLASSES
    ((_, _, found),) = read
    assert found.class_id.tolist() == [0, 1]
    np.testing.assert_allclose(found.xyxy, [[10, 5, 40, 25], [2, 30, 50, 38]], atol=1e-3)
    for value, inside in zip((1, 2), found.mask, strict=True):  # it counts the pixels at right and bottom corners too
        assert inside[mask == value].all()
        assert (inside & (mask == value)).sum() / inside.sum() > 0.85


def test_folders_that_yolo_has_a_meaning_for(folder):
    root, _ = folder
    PIL.Image.new("RGB", (6, 4)).save(_made(root / "photos" / "images" / "d.png"))
    write_mask(root / "masks" / "images" / "d.png", np.ones((4, 6), np.uint8))
    with pytest.raises(DataError, match=r"images/d\.png: lies in a folder 'images', which readers of YOLO"):
        written(folder, "yolo")
    with pytest.raises(RecipeError, match="shapes = 'rle': yolo has polygons only"):
        written(folder, "yolo", shapes="rle")


def test_fiftyone_is_read_back_by_its_documented_layout(folder):
    place = written(folder, "fiftyone", copy_images=True)
    assert json.loads((place / "mask_targets.json").read_text()) == {"1": CLASSES[0], "2": CLASSES[1]}
    for name, mask in folder[1].items():
        with PIL.Image.open(place / "labels" / f"{name}.png") as picture:
            assert picture.mode == "L"  # of a palette FiftyOne's reader would give colours
            assert np.array_equal(np.asarray(picture), mask)
        assert read_image(next((place / "data").glob(f"{name}.*"))).shape[:2] == mask.shape


def test_masks_and_predictions_of_a_run(tiny_run, tmp_path):
    report = recam.export_masks(tiny_run, tmp_path / "coco", "coco", copy_images=True)
    assert (report.masks, report.images) == (12, 12)
    assert str(report).startswith("12 masks with")
    assert report.as_dict()["format"] == "coco"
    held_out = recam.export_masks(tiny_run, tmp_path / "voc", "voc", part="predictions")
    assert held_out.masks == 4
    (path, *_) = sorted((tiny_run / "predictions" / "pseudo").rglob("*.png"))
    name = path.relative_to(tiny_run / "predictions" / "pseudo").as_posix().replace("/", "__")
    assert np.array_equal(read_mask(tmp_path / "voc" / "SegmentationClass" / name), read_mask(path))


def test_what_was_predicted_knows_its_classes(tiny_run, tmp_path):
    write_png(tmp_path / "in" / "x.png", np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8))
    recam.predict(tiny_run, tmp_path / "in", tmp_path / "out")
    recam.export_masks(tmp_path / "out", tmp_path / "cvat", "cvat", images=tmp_path / "in")
    assert [label["name"] for label in json.loads((tmp_path / "cvat" / "labels.json").read_text())][:2] == [
        "cow",
        "horse",
    ]


def test_what_cannot_be_written(folder, tiny_run, tmp_path):
    root, _ = folder
    masks, known = root / "masks", {"classes": CLASSES, "images": root / "photos"}
    with pytest.raises(RecipeError, match=r"'cocoo'. Did you mean 'coco'"):
        recam.export_masks(masks, root / "x", "cocoo", **known)
    with pytest.raises(RecipeError, match="kind of shapes 'boxes'"):
        recam.export_masks(masks, root / "x", "coco", shapes="boxes", **known)
    for words, told in (
        ({"simplify": 2}, r"simplify = 2 makes polygons simpler: add --shapes polygons"),
        (
            {"simplify": -1, "shapes": "polygons"},
            r"simplify = -1: give the pixels that an outline may move by, 0 or more",
        ),
        ({"simplify": float("nan"), "shapes": "polygons"}, r"simplify = nan: give the pixels"),
    ):
        with pytest.raises(RecipeError, match=told):
            recam.export_masks(masks, root / "x", "coco", **words, **known)
    with pytest.raises(
        RecipeError,
        match=r"(?s)'polygons': voc has masks only.*voc has none.*image_prefix = 'http' is for label-studio",
    ):
        recam.export_masks(masks, root / "x", "voc", shapes="polygons", simplify=1, image_prefix="http", **known)
    with pytest.raises(RecipeError, match=r"unknown part 'prediction'. Did you mean 'predictions'"):
        recam.export_masks(tiny_run, root / "x", "coco", part="prediction")
    with pytest.raises(DataError, match="nothing names the classes of the masks"):
        recam.export_masks(masks, root / "x", "coco", images=root / "photos")
    with pytest.raises(
        DataError, match=r"3 of 3 masks have no photo as no folder of photos was named \(a, c, sub/b\).*--images"
    ):
        recam.export_masks(masks, root / "x", "coco", classes=CLASSES)
    with pytest.raises(DataError, match=r"a\.png: holds the mask values 2, but there are 1 classes"):
        recam.export_masks(masks, root / "x", "coco", classes=["cat"], images=root / "photos")
    assert not (root / "x" / "annotations.json").exists()
    with pytest.raises(DataError, match="is a class already"):
        recam.export_masks(masks, root / "x", "coco", ignore_as=CLASSES[0], **known)
    with pytest.raises(DataError, match="holds the masks themselves"):
        recam.export_masks(masks, masks, "voc", **known)
    with pytest.raises(DataError, match="holds a colon, which separates columns"):
        recam.export_masks(masks, root / "x", "voc", classes=["a:b", "c"])
    write_mask(masks / "sub__b.png", np.zeros((4, 4), np.uint8))
    with pytest.raises(DataError, match="without them several photos have the name sub__b"):
        recam.export_masks(masks, root / "x", "voc", classes=CLASSES)
    (tmp_path / "run").mkdir()
    maps = {"stage": "", "scores": "", "name": "", "title": "", "threshold": 0.2, "folder": ""}
    models = {"classifier": "", "seeds": maps, "maps": maps, "inference": {}, "map_inference": {}}
    begun = {"format": 2, "recipe": {}, "stages": {"masks": {"key": "a", "label": {"kind": "masks"}}}, "models": models}
    (tmp_path / "run" / "run.json").write_text(json.dumps(begun))
    with pytest.raises(StoreError, match="has no masks yet"):
        recam.export_masks(tmp_path / "run", root / "x", "voc")


def test_an_export_without_a_class_says_so(tmp_path):
    write_mask(tmp_path / "masks" / "a.png", np.full((4, 6), 255, np.uint8))
    write_png(_made(tmp_path / "photos" / "a.png"), np.zeros((4, 6, 3), np.uint8))
    report = recam.export_masks(
        tmp_path / "masks", tmp_path / "coco", "coco", images=tmp_path / "photos", classes=["cat"]
    )
    assert report.shapes == 0
    assert "no mask shows a class" in str(report)
