"""Every reader of the package as an entry of a table: valid input, how it is damaged, and what a right answer is.

A new reader is a function here, decorated by `reader`: it gets an empty folder, writes valid input there, and returns
the files to damage and a function that reads them. That function asserts what holds of every right answer, and lets our
errors through.
"""

from __future__ import annotations

import json
import random
import shutil
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import tomli_w

from mutate import mutate_json, mutate_text, mutate_tree, mutate_xml
from recam.data.catalog import open_catalog
from recam.data.images import image_size, read_grey, read_image, read_mask, write_grey, write_mask, write_png
from recam.data.mask_folder import read_classes
from recam.errors import Problem, RecamError
from recam.types import SeedMaps

Mutate = Callable[[bytes, random.Random], bytes]
Made = tuple[Sequence[Path], Callable[[], None]]
SIZE = (12, 16)
CLASSES = ("cat", "dog")


@dataclass(frozen=True)
class Reader:
    """One reader.

    Attributes:
        make: writes valid input into a folder.
        cases: how many damaged inputs it is given.
        mutate: how a file is damaged, by its ending; default: its bytes.
    """

    name: str
    make: Callable[[Path], Made]
    cases: int
    mutate: dict[str, Mutate]


READERS: dict[str, Reader] = {}


def reader(cases: int, **mutate: Mutate) -> Callable[[Callable[[Path], Made]], Callable[[Path], Made]]:
    """Enter a reader under the name of its function."""

    def enter(make: Callable[[Path], Made]) -> Callable[[Path], Made]:
        READERS[make.__name__] = Reader(make.__name__, make, cases, mutate)
        return make

    return enter


def mutate_toml(content: bytes, rng: random.Random) -> bytes:
    import tomllib

    if rng.random() < 0.5:
        return mutate_text(content, rng)
    try:
        return tomli_w.dumps(mutate_tree(tomllib.loads(content.decode()), rng)).encode("utf-8", "surrogatepass")
    except (TypeError, AttributeError):  # what TOML cannot hold
        return rng.choice(
            (b"a = " + b"[" * 5000, b"[" + b"a." * 5000 + b"a]\n", b"a = 1" + b"0" * 5000, b"a = 0001-02-30")
        )


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def stripes(*values: int) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    for place, value in enumerate(values):
        mask[:, place * 4 : place * 4 + 4] = value
    return mask


# Images, masks, maps


def check_image(image: np.ndarray) -> None:
    assert (image.dtype, image.ndim, image.shape[2:]) == (np.uint8, 3, (3,))
    assert min(image.shape) > 0


def check_mask(mask: np.ndarray) -> None:
    assert (mask.dtype, mask.ndim) == (np.uint8, 2)
    assert min(mask.shape) > 0


def check_grey(grey: np.ndarray) -> None:
    assert grey.dtype == np.float32
    assert grey.ndim == 2
    assert np.isfinite(grey).all()
    assert grey.min() >= 0
    assert grey.max() <= 1


def encoded(folder: Path, pixels: np.ndarray, names: Sequence[str], **options: Any) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        PIL.Image.fromarray(pixels).save(path, **options)
    return paths


@reader(360)
def images(folder: Path) -> Made:
    paths = encoded(folder, picture(0), ["a.jpg", "a.png", "a.webp", "a.bmp", "a.tif"])
    paths += encoded(folder, picture(0)[:, :, 0].astype(np.uint16) * 257, ["b.png", "b.tif"])

    def read() -> None:
        for path in paths:
            try:
                check_image(read_image(path))
            except RecamError:
                continue

    return paths, read


@reader(200)
def masks(folder: Path) -> Made:
    write_mask(folder / "a.png", stripes(0, 1, 2, 255))
    paths = [folder / "a.png", *encoded(folder, stripes(0, 1, 2), ["b.png", "b.tif", "b.bmp", "b.gif"])]

    def read() -> None:
        for path in paths:
            try:
                check_mask(read_mask(path))
            except RecamError:
                continue

    return paths, read


@reader(120)
def saliency_maps(folder: Path) -> Made:
    write_grey(folder / "a.png", picture(1)[:, :, 0].astype(np.float32) / 255)
    PIL.Image.fromarray(picture(0)[:, :, 0].astype(np.uint16) * 257).save(folder / "b.png")
    paths = [folder / "a.png", folder / "b.png"]

    def read() -> None:
        for path in paths:
            try:
                check_grey(read_grey(path))
            except RecamError:
                continue

    return paths, read


@reader(120)
def class_maps(folder: Path) -> Made:
    from recam.runfolder.maps import read_seed, save_seed

    maps = np.random.default_rng(0).random((2, 3, 4), dtype=np.float32)
    save_seed(folder / "a.npz", SeedMaps(maps, np.array([0, 1]), SIZE, np.zeros(SIZE, bool)))

    def read() -> None:
        seed = read_seed(folder / "a.npz")
        assert seed.maps.dtype == np.float32
        assert seed.maps.ndim == 3
        assert len(seed.maps) == len(seed.class_indices)
        assert not seed.maps.size or (seed.maps.min() >= 0 and seed.maps.max() <= 1)
        assert min(seed.size) > 0
        assert len(set(seed.class_indices.tolist())) == len(seed.class_indices)
        assert seed.ignore is None or seed.ignore.shape == seed.size

    return [folder / "a.npz"], read


# Data sets


def read_data_set(location: str) -> None:
    catalog = open_catalog(location)
    assert all(isinstance(problem, Problem) for problem in catalog.problems())
    json.dumps([problem.as_dict() for problem in catalog.problems()])
    for split in catalog.splits:
        for sample in catalog.samples(split)[:4]:
            assert all(0 <= label < len(catalog.classes) for label in sample.labels), sample.labels
            assert not sample.id.startswith("/"), sample.id
            assert ".." not in sample.id.split("/"), sample.id
            try:
                check_image(sample.image.read())
                assert image_size(sample.image) == sample.image.read().shape[:2]
                if sample.mask:
                    check_mask(sample.mask.read())
            except RecamError:
                continue


@reader(300, csv=mutate_text, txt=mutate_text)
def folder_table(folder: Path) -> Made:
    for index, name in enumerate("abc"):
        write_png(folder / "images" / f"{name}.png", picture(index))
    write_mask(folder / "masks" / "a.png", stripes(0, 1, 255))
    (folder / "labels.csv").write_text('image,labels,split\na.png,cat,train\nb,"cat;dog",train\nc,dog,val\n')
    (folder / "classes.txt").write_text("background\ncat\ndog\n")
    return [folder / "labels.csv", folder / "classes.txt"], lambda: read_data_set(f"folder:{folder}")


@reader(60, txt=mutate_text)
def class_list(folder: Path) -> Made:
    (folder / "classes.txt").write_text("background\ncat\ndog\n")

    def read() -> None:
        names = read_classes(folder / "classes.txt").names
        assert names
        assert all(names)
        assert len(set(names)) == len(names)

    return [folder / "classes.txt"], read


@reader(420, json=mutate_json)
def coco(folder: Path) -> Made:
    box = [2, 1, 9, 1, 9, 8, 2, 8]
    shapes = [
        {"category_id": 1, "segmentation": [box], "iscrowd": 0, "bbox": [2, 1, 7, 7], "area": 49},
        {"category_id": 3, "segmentation": {"size": list(SIZE), "counts": [20, 30, 142]}, "iscrowd": 1},
        {"category_id": 3, "segmentation": {"size": list(SIZE), "counts": "d0n0R3"}, "iscrowd": 0},
    ]
    annotations = [
        {"id": 10 * image + place, "image_id": image, **shape} for image in (1, 2) for place, shape in enumerate(shapes)
    ]
    listed = [{"id": image, "file_name": f"{image}.png", "height": SIZE[0], "width": SIZE[1]} for image in (1, 2)]
    named = [{"id": 1, "name": "cat"}, {"id": 3, "name": "dog"}]
    (folder / "mine.json").write_text(json.dumps({"images": listed, "annotations": annotations, "categories": named}))
    for image in (1, 2):
        write_png(folder / "images" / f"{image}.png", picture(image))
    return [folder / "mine.json"], lambda: read_data_set(f"coco:{folder / 'mine.json'}")


@reader(300, txt=mutate_text, xml=mutate_xml)
def voc(folder: Path) -> Made:
    for index, name in enumerate("ab"):
        write_png(folder / "JPEGImages" / f"{name}.jpg", picture(index))
        write_mask(folder / "SegmentationClass" / f"{name}.png", stripes(0, 8, 255))
        (folder / "Annotations").mkdir(exist_ok=True)
        objects = "<object><name>cat</name><difficult>0</difficult></object><object><name>dog</name></object>"
        content = f"<annotation>{objects}</annotation>"
        (folder / "Annotations" / f"{name}.xml").write_text(content)
    (folder / "ImageSets" / "Segmentation").mkdir(parents=True)
    (folder / "ImageSets" / "Segmentation" / "train.txt").write_text("a\n/JPEGImages/b.jpg /SegmentationClass/b.png\n")
    (folder / "ImageSets" / "Segmentation" / "val.txt").write_text("b\n")
    return [*folder.rglob("*.xml"), *folder.rglob("*.txt")], lambda: read_data_set(f"voc:{folder}")


@reader(100)
def archives(folder: Path) -> Made:
    from recam.data.download import _unpack

    kept = folder / "kept"
    kept.mkdir()
    with zipfile.ZipFile(kept / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/a.txt", "cat" * 50)
        archive.writestr("x/b.txt", "dog")
    shutil.make_archive(str(kept / "b"), "tar", folder, "kept")

    def read() -> None:
        for name in ("a.zip", "b.tar"):
            shutil.copyfile(kept / name, folder / name)  # one that is damaged is deleted
            shutil.rmtree(folder / "out", ignore_errors=True)
            (folder / "out" / "in").mkdir(parents=True)
            with suppress(RecamError):
                _unpack(folder / name, folder / "out" / "in", lambda what, done, total: None)
            assert [path.name for path in (folder / "out").iterdir()] == ["in"]

    return [kept / "a.zip", kept / "b.tar"], read


# Recipes


@reader(300, toml=mutate_toml)
def recipes(folder: Path) -> Made:
    from recam.recipe.recipe import load_recipe

    (folder / "mine.toml").write_text(
        'extends = "tiny"\nabout = "mine"\nseed = 3\nrefine = ["crf"]\n[data]\nlocation = "folder:x"\n'
        "options = {a = 1}\n"
        "[cam]\nepochs = 2\n[train]\nlong_side = [64, 96]\n[maps]\nscales = [0.5, 1.0]\n[masks.class_thresholds]\n"
        "cat = 0.3\n"
    )

    def read() -> None:
        recipe = load_recipe(folder / "mine.toml")
        assert all(scale > 0 for scale in recipe.maps.scales)
        assert recipe.masks.threshold == "auto" or 0 <= recipe.masks.threshold <= 1
        json.dumps(recipe.as_dict(), allow_nan=False)

    return [folder / "mine.toml"], read
