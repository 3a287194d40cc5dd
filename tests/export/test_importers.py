"""Exports read back by the programs that people import them with: Datumaro (on which CVAT stands) and Label Studio's
converter."""

import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import PIL.Image
import pytest

import recam
from recam.data.images import write_mask
from skipped import IMPORTERS

HERE = Path(__file__).parent
PYTHON = Path(os.environ.get("RECAM_IMPORTERS") or Path(sys.prefix) / "importers" / "bin" / "python")
CLASSES = ["red & blue", 'a "b", c', "ärmel", "ignored"]
NAMES = ("plain", "sub/50% & more #1+2", "Grüße ?=", "empty")

pytestmark = pytest.mark.skipif(
    not PYTHON.is_file(),
    reason=f"{IMPORTERS}: {PYTHON} is not there; install tests/export/importers.txt in an environment of its own",
)


@pytest.fixture
def source(tmp_path):
    """Four masks of different sizes with all values, holes and 255, one empty; names with what addresses and XML give a
    meaning."""
    masks = {}
    for index, name in enumerate(NAMES):
        random = np.random.default_rng(index)
        mask = random.choice(np.array([0, 1, 2, 3, 4, 255], np.uint8), (9 + index, 14)).repeat(2, 0)
        masks[name] = mask if name != "empty" else np.zeros_like(mask)
        write_mask(tmp_path / "masks" / f"{name}.png", masks[name])
        place = tmp_path / "photos" / f"{name}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.new("RGB", mask.shape[::-1], (90, index, 0)).save(place)
    return tmp_path, masks


def read(to, place, output):
    words = [str(PYTHON), "-W", "ignore", str(HERE / "read_by_importers.py"), to, str(place), str(output)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(words, env=kept, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with np.load(output) as arrays:
        return {key: arrays[f"array{number}"] for number, key in enumerate(json.loads(str(arrays["keys"])))}


def painted(found, name, named):
    """The mask (H, W) that an importer's masks of an image make; each pixel is in one of them at most."""
    mask = np.zeros(tuple(found[f"{name}\t"]), np.uint8)
    for value, label in named.items():
        pixels = found.get(f"{name}\t{label}")
        if pixels is not None:
            assert not mask[pixels].any()
            mask[pixels] = value
    return mask


def exported(source, to, **words):
    root, _ = source
    recam.export_masks(
        root / "masks", root / to, to, images=root / "photos", classes=CLASSES, copy_images=True, **words
    )
    if to == "coco":  # Datumaro wants COCO's own place and name, as docs/export.md says
        (root / to / "annotations").mkdir()
        (root / to / "annotations.json").rename(root / to / "annotations" / "instances_default.json")
    return read(to, root / to, root / "found.npz")


def test_voc_with_255_is_read_by_datumaro(source):
    found = exported(source, "voc")
    named = dict(enumerate(CLASSES, start=1)) | {255: "ignored_"}  # a class has the usual name
    for name, mask in source[1].items():
        assert np.array_equal(painted(found, name.replace("/", "__"), named), mask), name


@pytest.mark.parametrize("shapes", ["rle", "polygons"])
@pytest.mark.parametrize("to", ["coco", "cvat"])
def test_coco_and_cvat_are_read_by_datumaro(source, to, shapes):
    found = exported(source, to, shapes=shapes, ignore_as="unclear")
    named = dict(enumerate(CLASSES, start=1)) | {255: "unclear"}
    for name, mask in source[1].items():
        assert np.array_equal(painted(found, name, named), mask), name


def test_label_studio_is_read_by_its_converter(source):
    found = exported(source, "label-studio", ignore_as="unclear")
    named = dict(enumerate(CLASSES, start=1)) | {255: "unclear"}
    # As Label Studio's server reads an address: what `?d=` is, decoded once.
    by_name = {parse_qs(urlsplit(key.partition("\t")[0]).query)["d"][0]: key.partition("\t")[0] for key in found}
    assert sorted(by_name) == sorted(f"{name}.jpg" for name in NAMES if name != "empty")
    for name, mask in source[1].items():
        if name != "empty":
            assert np.array_equal(painted(found, by_name[f"{name}.jpg"], named), mask), name


def test_all_254_classes_have_a_colour_of_their_own(tmp_path):
    """And 255 one that is none of theirs."""
    mask = np.arange(256, dtype=np.uint8).reshape(16, 16)
    write_mask(tmp_path / "masks" / "a.png", mask)
    classes = [f"class {value}" for value in range(1, 255)]
    recam.export_masks(tmp_path / "masks", tmp_path / "voc", "voc", classes=classes)
    found = read("voc", tmp_path / "voc", tmp_path / "found.npz")
    assert np.array_equal(painted(found, "a", dict(enumerate([*classes, "ignored"], start=1))), mask)
