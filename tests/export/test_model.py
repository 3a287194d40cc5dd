"""Exported networks: any batch and size, PyTorch's numbers, cards without paths, and prediction where PyTorch cannot be
imported."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
import torch
from torch import nn

import recam
from recam.data.images import read_mask, write_png
from recam.data.reading import PLAIN
from recam.errors import DataError, DependencyError, ExportError, StoreError
from recam.export import card, model
from recam.export.tracing import FreePool, make_traceable
from recam.inference.run_models import find_models
from recam.runfolder.store import read_json, write_json

onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")


@pytest.fixture(scope="module")
def exported(tiny_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    return folder, model.export_model(tiny_run, folder)


def picture(height=50, width=70, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_both_networks_are_written_and_agree_with_pytorch(exported):
    folder, report = exported
    assert [one.path.name for one in report.networks] == ["segmenter.onnx", "classifier.onnx"]
    assert all(0 <= one.max_difference < 1e-4 for one in report.networks)
    assert "differs from PyTorch by at most" in str(report)
    assert report.as_dict()["networks"][0]["megabytes"] == pytest.approx(
        (folder / "segmenter.onnx").stat().st_size / 1e6
    )
    assert sorted(path.name for path in folder.iterdir()) == [
        f"{kind}.{ending}" for kind in ("classifier", "segmenter") for ending in ("json", "md", "onnx")
    ]


def test_shapes_of_outputs_at_a_size_that_was_not_traced(exported):
    folder, _ = exported
    images = np.zeros((3, 3, 45, 121), np.float32)
    (logits,) = onnxruntime.InferenceSession(str(folder / "segmenter.onnx")).run(None, {"images": images})
    assert logits.shape == (3, 11, 45, 121)
    logits, maps = onnxruntime.InferenceSession(str(folder / "classifier.onnx")).run(None, {"images": images})
    assert logits.shape == (3, 10)
    assert maps.shape == (3, 10, 3, 8)  # 45 and 121 pixels at output stride 16


WAYS = {
    "own": {},
    "scales": {"scales": [0.5, 1.3], "flip": True},
    "window": {"window": 32, "flip": False},
    "pamr": {"refine": "pamr"},
}


@pytest.mark.parametrize("how", WAYS.values(), ids=WAYS)
def test_exported_predicts_as_the_run(exported, tiny_run, how):
    ours, theirs = (
        recam.Predictor(tiny_run, keep_planes=True, **how),
        recam.ExportedPredictor(exported[0], keep_planes=True, **how),
    )
    assert ours.settings == theirs.settings
    mine, other = ours(picture()), theirs(picture())
    assert mine.classes == other.classes
    assert np.mean(mine.mask == other.mask) > 0.995  # rounding may decide between two classes that are equally likely
    assert np.abs(mine.planes.astype(int) - other.planes).max() <= 1
    np.testing.assert_allclose(mine.probabilities, other.probabilities, atol=1e-4)


def test_exported_takes_all_forms_of_an_image(exported):
    predictor = recam.ExportedPredictor(exported[0])
    expected = predictor(picture()).mask
    forms = [picture() / 255, PIL.Image.fromarray(picture()), torch.from_numpy(picture()).permute(2, 0, 1)]
    assert [np.array_equal(one.mask, expected) for one in predictor(forms)] == [True] * 3
    with pytest.raises(DataError, match="with values nan…nan"):
        predictor(picture() * np.nan)


@pytest.fixture
def everything_present(monkeypatch):
    """The tiny run's classifier finds nothing: here every class counts as found, and its map is made."""
    monkeypatch.setattr("recam.inference.prediction.PRESENT", 0.0)


def test_exported_class_maps_predict_as_the_run(copy_of_tiny_run, tmp_path, everything_present):
    shutil.rmtree(copy_of_tiny_run / ".stages" / "segment")
    report = model.export_model(copy_of_tiny_run, tmp_path / "onnx")
    assert [one.path.name for one in report.networks] == ["classifier.onnx"]
    for how in ({}, {"scales": [0.5, 1.0], "flip": True}):
        mine, other = (
            recam.Predictor(copy_of_tiny_run, **how)(picture()),
            recam.ExportedPredictor(tmp_path / "onnx", **how)(picture()),
        )
        np.testing.assert_allclose(mine.probabilities, other.probabilities, atol=1e-4)
        assert mine.found
        assert np.mean(mine.mask == other.mask) > 0.995


def test_thresholds_of_single_classes_are_exported(copy_of_tiny_run, tmp_path, rerun, everything_present):
    """Both predictors follow the run's ``masks.class_thresholds``, which change the mask."""
    shutil.rmtree(copy_of_tiny_run / ".stages" / "segment")
    classes = recam.Predictor(copy_of_tiny_run).classes
    plain = recam.Predictor(copy_of_tiny_run)(picture())
    assert len(plain.found) > 1
    rerun(copy_of_tiny_run, until="masks", masks__class_thresholds={plain.found[0]: 1.0})
    model.export_model(copy_of_tiny_run, tmp_path / "onnx")
    ours, theirs = recam.Predictor(copy_of_tiny_run), recam.ExportedPredictor(tmp_path / "onnx")
    mine, other = ours(picture()), theirs(picture())
    assert np.mean(mine.mask == other.mask) > 0.995
    # A map is at most 1, so that the class never exceeds its threshold: its pixels are background, all others as
    # before.
    value = 1 + classes.index(plain.found[0])
    assert np.array_equal(mine.mask, np.where(plain.mask == value, 0, plain.mask))
    assert theirs.identity["class_thresholds"] == ours.identity["class_thresholds"] == {plain.found[0]: 1.0}
    assert f"of single classes {plain.found[0]} 1.00" in (tmp_path / "onnx" / "classifier.md").read_text()


def test_without_pytorch(exported, tmp_path):
    """A process in which importing torch fails predicts, and writes what any other writes."""
    write_png(tmp_path / "in" / "a.png", picture())
    recam.predict(exported[0], tmp_path / "in", tmp_path / "here")
    words = [
        "recam",
        "predict",
        "--onnx",
        str(exported[0]),
        str(tmp_path / "in"),
        "-o",
        str(tmp_path / "there"),
        "--json",
    ]
    names = ("torch", "torchvision", "timm", "segmentation_models_pytorch", "accelerate", "safetensors")
    block = f"import sys\nfor name in {names}:\n    sys.modules[name] = None\n"
    code = f"{block}sys.argv = {words!r}\nfrom recam.cli import main\nmain()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["images"] == 1
    assert np.array_equal(read_mask(tmp_path / "here" / "a.png"), read_mask(tmp_path / "there" / "a.png"))
    refused = subprocess.run(
        [sys.executable, "-c", code.replace("--json", "--refine=pamr")], capture_output=True, text=True, timeout=900
    )
    assert refused.returncode == 2
    assert "pamr needs PyTorch" in refused.stderr


def test_cards_hold_all_but_places(exported, tiny_run):
    folder, _ = exported
    written = json.loads((folder / "segmenter.json").read_text())
    assert written["classes"][0] == "cow"
    assert written["supervision"]["labels"] == "image labels"
    assert written["data"] == {"location": "scenes:", "training_images": 12}
    assert written["check"]["passed"]
    assert [case["height"] for case in written["check"]["cases"]] == [height for _, height, _ in model.CASES]
    assert 0 <= written["scores"]["held-out images"]["miou"] <= 1
    page = (folder / "segmenter.md").read_text()
    assert written["sha256"] in page
    assert written["command"] in page
    assert written["recipe"] in page
    assert "scenes are drawn by recam" in page
    errors = written["scores"]["held-out images"]["errors"]
    assert sum(errors.values()) == pytest.approx(1)
    assert (
        f"missed (FN) {100 * errors['missed']:.1f}, another class (FP, object) {100 * errors['confused']:.1f}" in page
    )
    assert str(tiny_run) not in page + json.dumps(written)


def test_names_in_a_card_are_text(exported):
    """No HTML, link, emphasis, code or further line of Markdown comes of a class's, a file's or a data set's name."""
    folder, _ = exported
    written = json.loads((folder / "segmenter.json").read_text())
    hostile = [
        "<img src=x onerror=alert(1)>",
        "[cow](http://x)",
        "a`b",
        "*dog*",
        "_horse_",
        "traffic_light",
        "two\nlines",
        "a & b",
    ]
    changed = {"classes": hostile, "file": "<b>.onnx", "command": "recam run --data 'folder:```x'"}
    changed["data"] = {"location": "folder:<script>alert(1)</script>\n\n# Heading", "training_images": 1}
    changed["scores"] = {"held-out <i>": {"images": 2, "miou": 0.5, "iou": {hostile[0]: 0.5}}}
    page = card.render_card(written | changed)
    assert not re.search(r"<[a-z/]", page)
    shown = (
        r"1 &lt;img src=x onerror=alert(1)&gt;, 2 \[cow\](http://x), 3 a\`b, 4 \*dog\*, 5 \_horse\_, 6 traffic_light, "
    )
    shown += "7 two lines, 8 a &amp; b."
    assert f"0 background, then {shown}" in page
    assert "- Data: folder:&lt;script&gt;alert(1)&lt;/script&gt; # Heading, 1 training images" in page
    assert "````sh\nrecam run --data 'folder:```x'\n````\n" in page
    assert page.count("\n# ") == 0
    assert page.startswith("# &lt;b&gt;.onnx\n")


def test_supervision(copy_of_tiny_run):
    models = find_models(copy_of_tiny_run)
    segmenter, classifier = models.segmenter.name, models.classifier.name

    def described(stage=segmenter, **changed):
        """The supervision of a stage whose own record, or that of another, holds something else."""
        records = {name: {**record, **changed.get(name, {})} for name, record in models.records.items()}
        return card.supervision(dataclasses.replace(models, records=records), stage)

    assert described()["labels"] == "image labels"
    assert described()["notes"][0] == "It learned from pseudo masks, made of ReCAM w′."
    assert any("scores best on true masks" in note for note in described()["notes"])  # the tiny run takes the oracle
    truth = described(**{segmenter: {"supervision": ["true masks"]}})
    assert (truth["labels"], truth["notes"]) == ("true masks", ["An upper bound: it learned from true masks."])
    refined = described(masks={"label": {"kind": "masks", "from": "ReCAM w′ + PAMR"}})
    assert refined["notes"][0] == "It learned from pseudo masks, made of ReCAM w′ + PAMR."
    external = described(**{segmenter: {"supervision": ["external class maps"]}})
    assert "external (precomputed)" in external["notes"][0]
    both = {segmenter: {"supervision": ["image labels", "saliency"]}}
    assert described(**both)["labels"] == "image labels and saliency"
    # What refines the maps is nothing that the classifier learned from.
    assert described(classifier, **both)["labels"] == "image labels"
    assert not any("pseudo masks, made of" in note for note in described(classifier)["notes"])


def test_scores_are_those_of_what_the_network_makes(copy_of_tiny_run):
    models = find_models(copy_of_tiny_run)
    assert list(card.scores(models, models.segmenter.name)) == ["held-out images"]
    assert list(card.scores(models, models.classifier.name)) == ["class maps (ReCAM w′), oracle threshold"]
    assert list(card.scores(models, "train/cam")) == ["class maps (CAM), oracle threshold"]


def test_a_run_that_was_scored_by_an_earlier_version_has_its_card(copy_of_tiny_run):
    path = copy_of_tiny_run / "predictions/pseudo/stage.json"
    record = read_json(path)
    del record["results"]["scores"]["errors"]
    write_json(path, record)
    scores = card.scores(find_models(copy_of_tiny_run), "segment/pseudo")
    (line, ious) = card._score_lines(scores)
    assert line.startswith("- held-out images (4): ")
    assert ious.startswith("  - IoU: background ")


def test_the_recipe_of_a_card_has_the_same_settings(exported, tmp_path):
    written = json.loads((exported[0] / "classifier.json").read_text())
    assert written["command"] == "recam run --data scenes: --recipe recipe.toml -o run"
    (tmp_path / "recipe.toml").write_text(written["recipe"])
    made = recam.load_recipe(tmp_path / "recipe.toml", {"data.location": "scenes:"}).as_dict()
    assert made == written["settings"]
    assert "irn" not in written["recipe"]  # defaults are left out


def test_a_recipe_keeps_names_that_are_no_words(tmp_path):
    settings = recam.load_recipe(
        {"data": {"location": "scenes:", "options": {"size": 64}}, "masks": {"class_thresholds": {'St. "B"': 0.3}}}
    )
    (tmp_path / "recipe.toml").write_text(card.write_recipe(settings.as_dict()), encoding="utf-8")
    back = recam.load_recipe(tmp_path / "recipe.toml", {"data.location": "scenes:"})
    assert back == settings


def test_of_paths_the_last_part_is_written():
    settings = {
        "data": {"location": "voc:/home/me/VOC2012/", "classes": ["a"]},
        "weights": "/home/me/w.pth",
        "about": "a/b",
        "n": 1,
    }
    assert card.without_places(settings) == {
        "data": {"location": "voc:VOC2012", "classes": ["a"]},
        "weights": "w.pth",
        "about": "a/b",
        "n": 1,
    }


def test_a_network_that_comes_out_different_is_not_written(tmp_path):
    """Tracing fixes what Python decides: here the height, so that other sizes come out wrong."""

    class Fixed(nn.Module):
        def forward(self, images):
            return images.mean(1, keepdim=True) * float(images.shape[-2])

    with pytest.raises(ExportError, match=r"gives other outputs.*Nothing was written"):
        model._write(
            Fixed(), {"logits": {0: "batch", 2: "height", 3: "width"}}, tmp_path / "x.onnx", None, ("a",), {}, PLAIN
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [(7, 11), (6, 6), (3, 20), (1, 5)])
@pytest.mark.parametrize("bins", [(2, 2), (6, 3)])
def test_pooling_into_bins_is_the_same_in_other_words(size, bins):
    maps = torch.randn(2, 3, *size)
    torch.testing.assert_close(FreePool(bins)(maps), nn.AdaptiveAvgPool2d(bins)(maps))


def test_pooling_into_bins_is_exported_for_any_size(tmp_path):
    """As in UperNet's pyramid, which the exporter alone refuses."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3, stride=4), nn.AdaptiveAvgPool2d(3), nn.AdaptiveAvgPool2d(1)).eval()
    outputs = {"logits": {0: "batch"}}
    with pytest.raises(ExportError, match=r"x\.onnx cannot be exported"):
        model._trace(network, outputs, tmp_path / "x.onnx", "x.onnx", 3)
    model._trace(make_traceable(network), outputs, tmp_path / "x.onnx", "x.onnx", 3)
    assert model.compare(network, tmp_path / "x.onnx", ("logits",))["passed"]
    assert isinstance(network[1], nn.AdaptiveAvgPool2d)  # the network itself stays as it was


class Rolled(nn.Module):
    """Shifts maps as Swin shifts its windows; (B, 3, H, W) → (B, 3, ⌈H/32⌉, ⌈W/32⌉), at 64 pixels shorter than the
    shift."""

    def forward(self, images):
        return torch.roll(images[..., ::32, ::32], (-3, -3), (2, 3))


def test_rolling_is_exported_for_maps_shorter_than_the_shift(tmp_path):
    own = torch.roll
    model._trace(Rolled().eval(), {"logits": {0: "batch", 2: "h", 3: "w"}}, tmp_path / "x.onnx", "x.onnx", 3)
    assert model.compare(Rolled(), tmp_path / "x.onnx", ("logits",))["max_difference"] == 0
    assert torch.roll is own


def test_what_cannot_be_exported_or_predicted_with(exported, tiny_run, tmp_path, monkeypatch):
    with pytest.raises(StoreError, match="no exported network"):
        recam.ExportedPredictor(tmp_path)
    damaged = shutil.copytree(exported[0], tmp_path / "damaged")
    with (damaged / "segmenter.onnx").open("ab") as file:
        file.write(b"more")
    with pytest.raises(StoreError, match=r"segmenter\.onnx is not the file that segmenter\.json describes"):
        recam.ExportedPredictor(damaged)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DependencyError, match=r"recam\[onnx\]"):
        model.export_model(tiny_run, tmp_path / "x")
    with pytest.raises(DependencyError, match=r"recam\[onnx\]"):
        recam.ExportedPredictor(exported[0])
    assert not (tmp_path / "x").exists()
