"""Masks and predictions as objects of other Python packages, each read by that package itself."""

import sys

import numpy as np
import PIL.Image
import pytest
import torch
from torch.utils.data import DataLoader
from torchvision.transforms import v2

import recam
from recam.data.images import read_mask, write_mask, write_png
from recam.errors import DataError, DependencyError
from recam.inference.prediction import Prediction

REASON = "an extra is not installed: recam[tools]"
CLASSES = ["cat", "dog"]


@pytest.fixture
def source(tmp_path):
    """Two masks with photos of different sizes, one in a sub-folder."""
    found = {}
    for index, name in enumerate(("a", "sub/b")):
        random = np.random.default_rng(index)
        mask = random.choice(np.array([0, 2, 255], np.uint8), (20 + index, 30))
        image = random.integers(0, 256, (20 + index, 30, 3), dtype=np.uint8)
        write_mask(tmp_path / "masks" / f"{name}.png", mask)
        write_png(tmp_path / "photos" / f"{name}.png", image)
        found[name] = image, mask
    return tmp_path, found


def opened(source, **words):
    return {"source": source[0] / "masks", "images": source[0] / "photos", "classes": CLASSES, **words}


def test_a_data_set_for_pytorch(source):
    data = recam.MaskDataset(**opened(source))
    assert (data.classes, data.ids, len(data)) == (("cat", "dog"), ["a", "sub/b"], 2)
    for (image, mask), (pixels, values) in zip(data, source[1].values(), strict=True):
        assert np.array_equal(image.permute(1, 2, 0), pixels)
        assert np.array_equal(mask, values)
        assert (image.dtype, mask.dtype) == (torch.uint8, torch.int64)


def test_transforms_of_torchvision_move_photo_and_mask_alike(source):
    crop = v2.Compose([v2.RandomHorizontalFlip(1.0), v2.CenterCrop((16, 16))])
    data = recam.MaskDataset(**opened(source, transforms=crop))
    _, masks = next(iter(DataLoader(data, batch_size=2)))
    assert masks.shape == (2, 16, 16)
    expected = source[1]["a"][1][2:18, 7:23][:, ::-1]
    assert np.array_equal(masks[0], expected)
    loss = torch.nn.functional.cross_entropy(torch.zeros(2, 3, 16, 16), masks, ignore_index=255)
    assert loss.item() == pytest.approx(np.log(3))


def test_masks_of_a_run_as_a_data_set(tiny_run):
    data = recam.MaskDataset(tiny_run, part="predictions")
    assert len(data) == 4
    image, mask = data[0]
    assert (image.shape, mask.shape) == ((3, 64, 64), (64, 64))
    stored = read_mask(tiny_run / "predictions" / "pseudo" / f"{data.ids[0]}.png")
    assert np.array_equal(mask, stored)


def test_a_photo_that_changes_and_masks_without_photos(source):
    root, _ = source
    data = recam.MaskDataset(**opened(source))
    PIL.Image.new("RGB", (5, 5)).save(root / "photos" / "a.png")
    with pytest.raises(DataError, match=r"a\.png changed since the data set was opened"):
        data[0]
    (root / "photos" / "sub" / "b.png").unlink()
    with pytest.raises(DataError, match=r"(?s)2 problems.*1 of 2 masks have no photo.*mask-size.*a\.png"):
        recam.MaskDataset(**opened(source))


def prediction():
    mask = np.zeros((8, 10), np.uint8)
    mask[2:4, 3:8], mask[5, 5], mask[0, 0] = 2, 3, 255
    return Prediction(mask, ("cat", "dog", "owl"), (0.1, 0.75, 0.5), image=np.zeros((8, 10, 3), np.uint8))


def test_detections_are_read_by_supervision():
    supervision = pytest.importorskip("supervision", reason=REASON)
    found = recam.to_detections(prediction())
    assert isinstance(found, supervision.Detections)
    assert found.class_id.tolist() == [1, 2]
    assert found["class_name"].tolist() == ["dog", "owl"]
    assert found.confidence.tolist() == [0.75, 0.5]
    assert found.xyxy.tolist() == [[3, 2, 8, 4], [5, 5, 6, 6]]
    assert found.area.tolist() == [10, 1]
    drawn = supervision.MaskAnnotator(opacity=1.0).annotate(prediction().image.copy(), found)
    assert np.array_equal(drawn.any(2), np.isin(prediction().mask, (2, 3)))
    empty = Prediction(np.zeros((4, 4), np.uint8), ("cat",), (0.1,))
    assert len(recam.to_detections(empty)) == 0


def test_a_data_set_of_hugging_face(source, tmp_path):
    datasets = pytest.importorskip("datasets", reason=REASON)
    made = recam.to_hugging_face(**opened(source))
    made.save_to_disk(tmp_path / "saved")
    read = datasets.load_from_disk(str(tmp_path / "saved"))
    assert read["id"][:] == ["a", "sub/b"]
    assert read.features["labels"].feature.names == CLASSES
    for row, (pixels, values) in zip(read, source[1].values(), strict=True):
        assert np.array_equal(np.asarray(row["image"]), pixels)
        assert np.array_equal(np.asarray(row["mask"]), values)  # of a palette Pillow gives the values
        assert row["labels"] == [1]


def test_drawn_photos_of_a_run_for_hugging_face(tiny_run):
    pytest.importorskip("datasets", reason=REASON)
    made = recam.to_hugging_face(tiny_run)
    assert len(made) == 12
    assert made[0]["image"].size == (64, 64)


@pytest.mark.parametrize(
    ("package", "make"),
    [("supervision", lambda: recam.to_detections(prediction())), ("datasets", lambda: recam.to_hugging_face("x"))],
)
def test_a_missing_package_is_named(monkeypatch, package, make):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DependencyError, match=f"pip install {package}"):
        make()
