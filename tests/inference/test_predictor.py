"""A finished run as a function: sizes, flips, scales, sources, and folders of images that are never damaged."""

import base64
import io
import shutil
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest
import torch

from recam import Predictor
from recam.data.images import read_mask, write_png
from recam.errors import DataError, RecipeError, StoreError
from recam.inference.files import predict
from recam.inference.prediction import find_present, predict_from_maps, predict_segmentation
from recam.inference.settings import InferenceSettings
from recam.inference.tta import most_probable, predict_mask, predict_probabilities
from recam.models.saved import TrainedSegmenter
from recam.models.segmenters import make_segmenter
from recam.visualize import overlay_mask


@pytest.fixture(scope="module")
def segmenter():
    torch.manual_seed(0)
    network = make_segmenter("deeplabv3plus", "tu-tf_efficientnet_lite0", 3, "none", decoder_channels=16).eval()
    return TrainedSegmenter(network, ("a", "b", "c"), (0.5,) * 3, (0.5,) * 3)


def picture(height=50, width=70, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("scales", [(1.0,), (0.5, 1.3)])
def test_probabilities(segmenter, scales):
    probabilities = predict_probabilities(segmenter, picture(), scales, flip=True)
    assert probabilities.shape == (4, 50, 70)
    torch.testing.assert_close(probabilities.sum(0), torch.ones(50, 70))
    mask = most_probable(probabilities)
    assert (mask.shape, mask.dtype) == ((50, 70), np.uint8)
    assert mask[3, 5] == int(probabilities[:, 3, 5].argmax())


def test_with_flips_an_image_and_its_mirrored_image_are_predicted_alike(segmenter):
    straight = predict_probabilities(segmenter, picture(), flip=True)
    mirrored = predict_probabilities(segmenter, picture()[:, ::-1], flip=True)
    torch.testing.assert_close(mirrored.flip(-1), straight)
    alone = predict_probabilities(segmenter, picture(), flip=False)
    other = predict_probabilities(segmenter, picture()[:, ::-1], flip=False)
    torch.testing.assert_close((alone + other.flip(-1)) / 2, straight)


def test_predictor_takes_arrays_and_files(tiny_run, tmp_path):
    predictor = Predictor(tiny_run)
    write_png(tmp_path / "a.png", picture())
    from_array, from_file = predictor(picture()), predictor(tmp_path / "a.png")
    assert np.array_equal(from_array.mask, from_file.mask)
    assert from_array.mask.shape == (50, 70)
    assert len(from_array.classes) == len(from_array.probabilities) == 10
    assert all(0 <= probability <= 1 for probability in from_array.probabilities)
    values = set(np.unique(from_array.mask).tolist()) - {0}
    assert from_array.found == tuple(name for value, name in enumerate(from_array.classes, 1) if value in values)
    (tmp_path / "b.jpg").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"b\.jpg"):
        predictor(tmp_path / "b.jpg")


def test_predictor_takes_lists_and_all_forms_of_an_image(tiny_run):
    predictor = Predictor(tiny_run)
    expected = predictor(picture()).mask
    forms = [picture() / 255, PIL.Image.fromarray(picture()), torch.from_numpy(picture()).permute(2, 0, 1)]
    assert [np.array_equal(one.mask, expected) for one in predictor(forms)] == [True] * 3
    assert predictor([]) == []
    assert predictor(picture()[..., 0]).mask.shape == (50, 70)
    with pytest.raises(DataError, match=r"got uint16 \(50, 70, 3\)"):
        predictor(picture().astype(np.uint16))


def test_a_run_predicts_as_it_was_scored(tiny_run):
    """The stored masks of the held-out scenes come out again."""
    import recam

    for sample in recam.open_catalog("scenes:", seed=6, size=64, train=12, val=4).samples("val")[:2]:
        stored = read_mask(tiny_run / "predictions" / "pseudo" / f"{sample.id}.png")
        assert np.array_equal(Predictor(tiny_run)(sample.image.read()).mask, stored)


def test_without_a_segmentation_model_the_class_maps_predict(copy_of_tiny_run):
    shutil.rmtree(copy_of_tiny_run / ".stages" / "segment")
    prediction = Predictor(copy_of_tiny_run)(picture())
    assert prediction.mask.shape == (50, 70)
    assert len(prediction.probabilities) == 10
    likely = {name for name, p in zip(prediction.classes, prediction.probabilities, strict=True) if p >= 0.5}
    assert set(prediction.found) <= likely
    shutil.rmtree(copy_of_tiny_run / ".stages" / "masks")
    with pytest.raises(StoreError, match="neither a segmentation model nor pseudo masks"):
        Predictor(copy_of_tiny_run)


def test_what_is_no_run(tmp_path):
    with pytest.raises(StoreError, match=r"holds no run\.json"):
        Predictor(tmp_path)


def test_predict_keeps_sub_folders_and_reports_bad_files(tiny_run, tmp_path):
    for name in ("a", "sub/a"):
        write_png(tmp_path / "in" / f"{name}.png", picture())
    (tmp_path / "in" / "c.jpg").write_bytes(b"no picture")
    report = predict(tiny_run, tmp_path / "in", tmp_path / "out")
    assert report.images == 2
    assert [problem.kind for problem in report.problems] == ["unreadable-image"]
    written = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png")}
    assert written == {"a.png", "a_overlay.png", "sub/a.png", "sub/a_overlay.png"}
    assert "c.jpg" in str(report)
    assert sum(report.images_per_class.values()) >= 0
    single = predict(tiny_run, [tmp_path / "in" / "a.png"], tmp_path / "single", scales=(0.5,), flip=True)
    assert (tmp_path / "single" / "a.png").is_file()
    assert single.images == 1


def test_predict_never_writes_over_an_image_or_another_result(tiny_run, tmp_path):
    write_png(tmp_path / "a.png", picture())
    before = (tmp_path / "a.png").read_bytes()
    with pytest.raises(DataError, match=r"is the folder of the images itself.*different folder"):
        predict(tiny_run, tmp_path, tmp_path)
    with pytest.raises(DataError, match=r"a\.png.*different folder"):
        predict(tiny_run, tmp_path / "a.png", tmp_path)
    assert (tmp_path / "a.png").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    for name in ("x/a.png", "x/a_overlay.png", "y/a.png"):
        write_png(tmp_path / "in" / name, picture())
    with pytest.raises(DataError, match=r"would write the same"):
        predict(tiny_run, [tmp_path / "in" / "x", tmp_path / "in" / "y"], tmp_path / "out")
    with pytest.raises(DataError, match=r"would write the same .*a_overlay"):
        predict(tiny_run, tmp_path / "in" / "x", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no image in"):
        predict(tiny_run, tmp_path / "empty", tmp_path / "out")


def test_a_gpu_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RecipeError, match=r"no GPU is available: take --device auto or cpu\."):
        Predictor(tmp_path, device="cuda")


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), 0.0, -1.0, 17.0])
def test_scales_that_make_no_image(scale):
    with pytest.raises(RecipeError, match="give at least one scale, all above 0 and at most 16"):
        InferenceSettings(scales=(1.0, scale))


def test_a_large_photo_is_predicted_from_a_copy_and_its_mask_has_its_size(tiny_run, monkeypatch):
    predictor = Predictor(tiny_run, keep_planes=True)
    object.__setattr__(predictor.settings, "max_side", 64)
    image = np.asarray(PIL.Image.fromarray(picture(20, 28)).resize((280, 200), PIL.Image.Resampling.BICUBIC))
    whole = predictor(image)
    monkeypatch.setattr("recam.data.large_photos.LARGE", 10_000)
    monkeypatch.setattr("recam.data.large_photos.WORKING", 14_000)
    made = predictor(image)
    assert made.mask.shape == (200, 280)
    assert made.planes is not None
    assert made.planes.shape == (11, 200, 280)
    assert np.abs(made.planes.astype(int) - whole.planes).mean() < 8  # of 255


def test_a_network_without_a_background_predicts_classes_alone():
    torch.manual_seed(0)
    network = make_segmenter(
        "deeplabv3plus", "tu-tf_efficientnet_lite0", 3, "none", background=False, decoder_channels=16
    ).eval()
    segmenter = TrainedSegmenter(network, ("a", "b", "c"), (0.5,) * 3, (0.5,) * 3, background=False)
    probabilities = predict_probabilities(segmenter, picture())
    assert probabilities.shape == (3, 50, 70)
    mask = predict_mask(segmenter, picture(), InferenceSettings())
    assert np.array_equal(mask, most_probable(probabilities, background=False))
    assert set(np.unique(mask)) <= {1, 2, 3}
    made = predict_segmentation(
        picture(), lambda part: probabilities.numpy(), segmenter.classes, InferenceSettings(), True, False
    )
    assert np.array_equal(made.mask, mask)
    assert made.plane_values.tolist() == [1, 2, 3]
    assert made.probabilities == pytest.approx(probabilities.amax((1, 2)).tolist())


def test_class_maps_without_a_background():
    maps = np.array([[[0.2, 0.9]], [[0.1, 0.95]]], np.float32)
    image, settings = np.zeros((1, 2, 3), np.uint8), InferenceSettings()
    made = predict_from_maps(image, maps, [0, 2], None, {}, ("a", "b", "c"), (0.9, 0.1, 0.8), settings, False)
    assert made.mask.tolist() == [[1, 3]]
    assert find_present([0.1, 0.3, 0.2], background=False) == [1]
    assert find_present([0.1, 0.3, 0.2], background=True) == []


def test_pixels_without_data_become_ignore(segmenter):
    image = picture()
    image[:10] = (0, 0, 7)
    mask = predict_mask(segmenter, image, InferenceSettings(no_data=(0, 0, 7)))
    assert (mask[:10] == 255).all()
    assert (mask[10:] != 255).all()
    assert predict_mask(segmenter, image, InferenceSettings(no_data=9)).max() < 255


def test_a_prediction_shows_saves_and_prints_itself(tiny_run, tmp_path):
    image = picture()
    prediction = Predictor(tiny_run)(image)
    mask = np.zeros((50, 70), np.uint8)
    mask[10:20, 10:45] = 2
    prediction = replace(prediction, mask=mask)
    assert prediction.shares == {"horse": 350 / 3500}
    assert str(prediction) == "mask of 70×50 pixels: horse 10.0 %"
    assert repr(prediction) == "<Prediction: mask of 70×50 pixels: horse 10.0 %>"
    laid = np.asarray(prediction.overlay())
    assert np.array_equal(laid, overlay_mask(image, mask))
    assert not np.array_equal(laid, np.asarray(prediction.overlay(opacity=0)))
    assert prediction.save(tmp_path / "out" / "7.png", overlay=True) == tmp_path / "out" / "7.png"
    assert np.array_equal(read_mask(tmp_path / "out" / "7.png"), mask)
    assert np.array_equal(np.asarray(PIL.Image.open(tmp_path / "out" / "7_overlay.png")), laid)
    with pytest.raises(DataError, match=r"7\.jpg: masks are PNG files\. Name it 7\.png"):
        prediction.save(tmp_path / "7.jpg")
    with pytest.raises(DataError, match="no image to lay its mask over"):
        replace(prediction, image=None).save(tmp_path / "8.png", overlay=True)
    assert not (tmp_path / "8.png").exists()


def test_a_notebook_shows_overlay_and_classes(tiny_run):
    prediction = Predictor(tiny_run)(picture(900, 1200))
    prediction = replace(prediction, classes=("a<b", *prediction.classes[1:]), mask=np.ones((900, 1200), np.uint8))
    html = prediction._repr_html_()
    place, rest = html.split("base64,")[1].split('"', 1)
    shown = PIL.Image.open(io.BytesIO(base64.b64decode(place)))
    assert shown.size == (640, 480)
    assert rest.startswith(' width="640" height="480" alt="mask of 1200×900 pixels: a&lt;b 100.0 %">')
    assert f"<td>a&lt;b</td><td>100.0 %</td><td>{prediction.probabilities[0]:.2f}</td>" in rest
    empty = replace(prediction, mask=np.zeros((900, 1200), np.uint8), image=None)
    assert empty._repr_html_().endswith("<p>no class found</p>")
    assert str(empty) == "mask of 1200×900 pixels: no class found"
