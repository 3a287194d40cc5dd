"""Photos of 16 bits and four bands through a run, from the command line: one range, kept with the networks."""

import json
import sys

import numpy as np
import pytest

from recam import ExportedPredictor, Predictor, cli
from recam.data.catalog import open_catalog
from recam.data.images import read_image, read_mask
from recam.data.reading import Reading
from recam.review.layers import ReviewedRun
from recam.review.trial import Trial

tifffile = pytest.importorskip("tifffile", reason="an extra is not installed: recam[tiff]")

SETTINGS = {
    "data.bands": "[3,2,1,4]",
    "training": "cam",
    "compare": "[]",
    "refine": '["pamr"]',
    "segment.jitter": "0.5",
    "compute.workers": "0",
    "compute.report": "false",
}


def call(*words):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["recam", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    return ended.value.code or 0


def bands_of(image):
    """Scenes as a camera of 12 bits stores them: blue, green, red and the mean."""
    values = np.concatenate([image[..., ::-1], image.mean(2, keepdims=True)], 2)
    return (values * 12 + 300).astype(np.uint16)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    (root / "images").mkdir()
    catalog = open_catalog("scenes:", seed=6, size=64, train=8, val=2)
    rows = ["image,labels,split"]
    for split in ("train", "val"):
        for sample in catalog.samples(split):
            name = sample.id.replace("/", "-")
            values = bands_of(sample.image.read())
            tifffile.imwrite(root / "images" / f"{name}.tif", values, photometric="minisblack", planarconfig="contig")
            rows.append(f"{name},{';'.join(catalog.classes.names[label] for label in sample.labels)},{split}")
    (root / "labels.csv").write_text("\n".join(rows))
    return root


@pytest.fixture(scope="module")
def run(photos, tmp_path_factory):
    root = tmp_path_factory.mktemp("runs") / "run"
    chosen = [word for pair in SETTINGS.items() for word in ("--set", "=".join(pair))]
    assert call("run", "--data", f"folder:{photos}", "--recipe", "tiny", "-o", root, *chosen) == 0
    return root


@pytest.mark.slow
def test_the_run_keeps_one_range_and_its_networks_read_with_it(run, photos):
    kept = json.loads((run / "run.json").read_text())["recipe"]["data"]
    found = json.loads((run / "check" / "check.json").read_text())
    assert kept["bands"] == [3, 2, 1, 4]
    assert kept["value_range"] == found["value_range"]
    assert found["kinds"] == {"4 bands, 16 bits": 10}
    train = [tifffile.imread(path) for path in sorted((photos / "images").glob("train*"))]
    pixels = np.concatenate([values.reshape(-1, 4) for values in train])[:, [2, 1, 0, 3]]
    expected = np.percentile(pixels, (0.5, 99.5), axis=0).T
    np.testing.assert_allclose(kept["value_range"], expected, rtol=1e-5)  # all pixels count, as they are so few
    predictor = Predictor(run)
    assert predictor.reading == Reading((3, 2, 1, 4), None, tuple(tuple(pair) for pair in kept["value_range"]))


@pytest.mark.slow
def test_new_photos_are_read_as_those_of_the_training(run, tmp_path):
    values = np.full((40, 50, 4), 400, np.uint16)
    values[:20] = 5000  # brighter than any that was trained on
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", planarconfig="contig")
    predictor = Predictor(run)
    pixels = read_image(tmp_path / "a.tif", predictor.reading)
    assert (pixels.shape, pixels[0, 0].tolist(), pixels[-1, -1].tolist()) == ((40, 50, 4), [255] * 4, [0] * 4)
    from_file, from_array = predictor(tmp_path / "a.tif"), predictor(values)
    assert from_file.probabilities == from_array.probabilities == predictor.predict(pixels).probabilities
    assert call("predict", run, tmp_path / "a.tif", "-o", tmp_path / "out") == 0
    np.testing.assert_array_equal(read_mask(tmp_path / "out" / "a.png"), from_file.mask)
    shown = read_image(tmp_path / "out" / "a_overlay.png")
    assert shown.shape == (40, 50, 3)


@pytest.mark.slow
def test_exported_networks_take_the_same_bands(run, photos, tmp_path):
    pytest.importorskip("onnxruntime", reason="an extra is not installed: recam[onnx]")
    assert call("export", "model", run, "-o", tmp_path / "onnx") == 0
    for kind in ("segmenter", "classifier"):
        card = json.loads((tmp_path / "onnx" / f"{kind}.json").read_text())
        assert card["reading"]["bands"] == [3, 2, 1, 4]
        assert card["inputs"]["images"].startswith("float32 (batch, 4, height, width): bands 3, 2, 1, 4 of the files")
        assert "Files of more than 8 bits: values" in (tmp_path / "onnx" / f"{kind}.md").read_text()
    image = next((photos / "images").glob("val*"))
    own, exported = Predictor(run)(image), ExportedPredictor(tmp_path / "onnx")(image)
    np.testing.assert_allclose(own.probabilities, exported.probabilities, atol=1e-4)
    assert (own.mask == exported.mask).mean() > 0.99
    assert call("predict", tmp_path / "onnx", image, "-o", tmp_path / "out") == 0
    card["std"] = card["std"][:3]
    (tmp_path / "onnx" / "classifier.json").write_text(json.dumps(card))
    (tmp_path / "onnx" / "segmenter.onnx").unlink()
    assert call("predict", "--onnx", tmp_path / "onnx", image, "-o", tmp_path / "none") == 2


@pytest.mark.slow
def test_review_shows_and_tries_such_photos(run, photos):
    reviewed = ReviewedRun(run)
    item = reviewed.items[0]
    assert reviewed.size(item) == (64, 64)
    content = next((photos / "images").glob("val*")).read_bytes()
    tried = Trial(reviewed).upload(content)
    assert all(picture.ndim == 3 for picture in tried.pictures.values())
    assert "prediction" in tried.pictures
