"""Every registered data set and mask format through one battery, on the day it is entered."""

import json
import os
import pickle

import numpy as np
import pytest

import recam
from recam.data.catalog import catalogs, fingerprint, open_catalog
from recam.data.images import read_image, write_mask, write_png
from recam.errors import DataError, RecipeError
from recam.export.formats import formats
from recam.labels import BACKGROUND, IGNORE, mask_value

SIZE = (24, 32)


def picture(index):
    rng = np.random.default_rng(index)
    return rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def halves(*values):
    """A mask of vertical stripes, one a value."""
    mask = np.zeros(SIZE, np.uint8)
    for stripe, value in enumerate(values):
        mask[:, stripe * SIZE[1] // len(values) : (stripe + 1) * SIZE[1] // len(values)] = value
    return mask


def make_voc(root):
    names = {"a": ["cat"], "b": ["dog", "cat"], "c": ["person"], "d": ["dog", "person"]}
    values = {"cat": 8, "dog": 12, "person": 15}
    for index, (image_id, present) in enumerate(names.items()):
        write_png(root / "JPEGImages" / f"{image_id}.jpg", picture(index))  # told by its content
        write_mask(root / "SegmentationClass" / f"{image_id}.png", halves(0, *(values[name] for name in present), 255))
        (root / "Annotations").mkdir(exist_ok=True)
        objects = "".join(f"<object><name>{name}</name></object>" for name in present)
        (root / "Annotations" / f"{image_id}.xml").write_text(f"<annotation>{objects}</annotation>")
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a\nb\nc\n")
    (lists / "val.txt").write_text("d\n")
    return f"voc:{root}", ("cat", "dog", "person"), root / "JPEGImages" / "a.jpg"


def coco_content(ids):
    def box(left, right):
        return [[left, 0, right, 0, right, SIZE[0], left, SIZE[0]]]

    shapes = [{"category_id": 3, "segmentation": box(0, 10)}, {"category_id": 9, "segmentation": box(10, 20)}]
    annotations = [
        {"id": 10 * i + j, "image_id": i, "iscrowd": 0, **shape}
        for i in ids
        for j, shape in enumerate(shapes)
        if (i + j) % 3
    ]
    images = [{"id": i, "file_name": f"{i}.png", "height": SIZE[0], "width": SIZE[1]} for i in ids]
    categories = [{"id": 9, "name": "traffic light"}, {"id": 3, "name": "cat"}]
    return json.dumps({"images": images, "annotations": annotations, "categories": categories})


def make_coco(root):
    (root / "annotations").mkdir(parents=True)
    for split, ids in (("train2014", (1, 2, 3)), ("val2014", (4, 5))):
        (root / "annotations" / f"instances_{split}.json").write_text(coco_content(ids))
        for index in ids:
            write_png(root / split / f"{index}.png", picture(index))
    return f"coco:{root}", ("cat", "traffic light"), root / "train2014" / "1.png"


def make_coco_file(root):
    for index in (1, 2, 3, 4):
        write_png(root / "images" / f"{index}.png", picture(index))
    (root / "mine.json").write_text(coco_content((1, 2, 3, 4)))
    return f"coco:{root / 'mine.json'}", ("cat", "traffic light"), root / "images" / "1.png"


def make_folder(root):
    rows = {"a": ("cat", "train"), "sub/b": ("cat;big dog", "train"), "c": ("", "train"), "d": ("big dog", "val")}
    values = {"cat": 2, "big dog": 1}
    lines = ["image,labels,split"]
    for index, (name, (labels, split)) in enumerate(rows.items()):
        write_png(root / "images" / f"{name}.png", picture(index))
        write_mask(
            root / "masks" / f"{name}.png", halves(0, *(values[label] for label in labels.split(";") if label), 255)
        )
        lines.append(f"{name},{labels},{split}")
    (root / "labels.csv").write_text("\n".join(lines))
    return f"folder:{root}", ("cat", "big dog"), root / "images" / "a.png"


MAKERS = {
    "voc": make_voc, "coco": make_coco, "coco file": make_coco_file, "folder": make_folder, "scenes": None,
    "surfaces": None,
}  # fmt: skip
# Drawn, not read: no file can change.
DRAWN = {"scenes": ("cow", "person"), "surfaces": ("hole", "stain")}
OPTIONS = {name: {"size": 64, "train": 12, "val": 4, "seed": 6} for name in DRAWN}


@pytest.fixture(params=list(MAKERS))
def data_set(request, tmp_path):
    """(location, options, names of classes that occur, file of the first training image or None)."""
    make = MAKERS[request.param]
    place = (f"{request.param}:", DRAWN[request.param], None) if make is None else make(tmp_path / "data")
    return place[0], OPTIONS.get(request.param, {}), *place[1:]


@pytest.fixture
def catalog(data_set):
    location, options, *_ = data_set
    return open_catalog(location, **options)


def test_the_battery_knows_every_kind_of_data_set():
    assert {name.split()[0] for name in MAKERS} == set(catalogs)


def test_samples(catalog):
    roles = [role for role in (catalog.roles.train, catalog.roles.score, catalog.roles.val) if role]
    assert catalog.splits
    for split in dict.fromkeys([*roles, *catalog.splits]):
        samples = catalog.samples(split)
        assert len({sample.id for sample in samples}) == len(samples)
        assert list(catalog.samples(split)) == list(samples)
        for sample in samples:
            assert list(sample.labels) == sorted(set(sample.labels))
            assert all(0 <= label < len(catalog.classes) for label in sample.labels)
            assert "\\" not in sample.id
            assert not sample.id.startswith(("/", "."))
    assert len(catalog.samples(catalog.roles.train)) > 0


def test_images_and_masks(catalog):
    legal = {BACKGROUND, IGNORE} | {mask_value(index) for index in range(len(catalog.classes))}
    for sample in catalog.samples(catalog.roles.train)[:4]:
        image = sample.image.read()
        assert image.dtype == np.uint8
        assert image.ndim == 3
        assert image.shape[2] == 3
        assert sample.image.where
        assert sample.mask is not None
        mask = sample.mask.read()
        assert mask.dtype == np.uint8
        assert mask.shape == image.shape[:2]
        shown = set(np.unique(mask).tolist())
        assert shown <= legal
        assert shown - {BACKGROUND, IGNORE} <= {mask_value(label) for label in sample.labels}
        image[:] = 0  # what is handed out may be written on
        assert sample.image.read().any()


def test_samples_travel_to_worker_processes(catalog):
    for sample in catalog.samples(catalog.roles.train)[:2]:
        copy = pickle.loads(pickle.dumps(sample))
        assert copy == sample
        assert np.array_equal(copy.image.read(), sample.image.read())
        assert np.array_equal(copy.mask.read(), sample.mask.read())


def test_fingerprint(data_set, catalog):
    location, options, _, first = data_set
    split = catalog.roles.train
    before = fingerprint(catalog.samples(split))
    assert fingerprint(open_catalog(location, **options).samples(split)) == before
    assert fingerprint(catalog.samples(split)[1:]) != before
    if first is None:
        return
    os.utime(first, ns=(1, 1))
    assert fingerprint(open_catalog(location, **options).samples(split)) == before
    write_png(first, read_image(first)[::-1].copy())
    assert fingerprint(open_catalog(location, **options).samples(split)) != before


def test_unknown_split_and_option(data_set, catalog):
    known = catalog.splits[0]
    with pytest.raises(DataError, match=rf"{known}x.*Did you mean .*'{known}'"):
        catalog.samples(f"{known}x")
    with pytest.raises(RecipeError, match="has no option 'sise'"):
        open_catalog(data_set[0], sise=3)


def test_selected_classes(data_set, catalog):
    location, options, (kept, dropped), _ = data_set[0], data_set[1], data_set[2][:2], None
    selected = open_catalog(location, classes=[kept], **options)
    assert selected.classes.names == (kept,)
    index, other = catalog.classes.index(kept), catalog.classes.index(dropped)
    split, seen = catalog.roles.train, 0
    whole = {sample.id: sample for sample in catalog.samples(split)}
    for sample in selected.samples(split):
        was = whole[sample.id]
        assert sample.labels == ((0,) if index in was.labels else ())
        mask, before = sample.mask.read(), was.mask.read()
        assert set(np.unique(mask).tolist()) <= {0, 1, IGNORE}
        assert np.array_equal(mask == 1, before == mask_value(index))
        assert (mask[before == mask_value(other)] == IGNORE).all()
        seen += other in was.labels
    assert seen, "no image shows the class that is left out"
    assert fingerprint(selected.samples(split)) != fingerprint(catalog.samples(split))
    with pytest.raises(DataError, match=rf"unknown class '{kept}s'\. Did you mean '{kept}'"):
        open_catalog(location, classes=[f"{kept}s"], **options)


def test_check_finds_nothing(data_set):
    location, options, names, _ = data_set
    report = recam.check(location, classes=names, **options)
    assert report.ok, str(report)
    catalog = open_catalog(location, **options)
    assert report.images == len({sample.id for split in catalog.splits for sample in catalog.samples(split)})
    json.dumps(report.as_dict())


@pytest.mark.parametrize("name", sorted(formats))
@pytest.mark.parametrize("copied", [False, True])
def test_formats_write_all_shapes_and_the_same_again(name, copied, tmp_path):
    for image_id, mask in {"a": halves(0, 1, 2), "deep/b": halves(2, 255), "deep/c": halves(0)}.items():
        write_png(tmp_path / "photos" / f"{image_id}.png", picture(0))
        write_mask(tmp_path / "masks" / f"{image_id}.png", mask)
    written = []
    for out in (tmp_path / "one", tmp_path / "two"):
        made = recam.export_masks(
            tmp_path / "masks", out, name, images=tmp_path / "photos", classes=["cat", "dog"], copy_images=copied
        )
        assert (made.masks, made.shapes, made.images) == (3, 3, 3 * copied)
        written.append({path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()})
    assert written[0] == written[1]
    folder = formats[name].photos_folder
    assert sum(path.parts[0] == folder for path in written[0]) == 3 * copied
