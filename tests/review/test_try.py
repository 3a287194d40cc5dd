"""Photos that are sent to be tried: decoded within bounds, at the size that is needed, one at a time."""

import base64
import io
import os
import shutil
import struct
import threading
import time
import zlib

import numpy as np
import PIL.Image
import pytest
import torch

import recam
from recam.data.images import read_mask
from recam.errors import DataError
from recam.pipeline.refiner import load_chain
from recam.review.chosen import write_recipe
from recam.review.layers import ReviewedRun, mask_of_maps
from recam.review.photo import decode_upload
from recam.review.trial import Trial, Tried
from recam.runfolder.maps import read_seed
from recam.runfolder.store import RunFolder
from tiny_recipe import SMALL_IRN


def test_a_photo_is_tried(client):
    encoded = io.BytesIO()
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 80, 3), dtype=np.uint8)).save(encoded, "PNG")
    tried = client.post("api/try", content=encoded.getvalue()).json()
    assert list(tried["pictures"]) == ["photo", "CAM", "ReCAM w′", "mask", "refined (PAMR)", "prediction"]
    assert all(picture.startswith("data:image/jpeg;base64,") for picture in tried["pictures"].values())
    assert len(tried["found"]) == 10
    assert all(0 <= found["classifier"] <= 1 and 0 <= found["model"] <= 1 for found in tried["found"])
    assert any(found["present"] for found in tried["found"])


CHAINED = {
    "maker": "advcam",
    "refine": ["irn"],
    **SMALL_IRN,
    "advcam.steps": 2,
}
MADE = "maps/recam+advcam"


@pytest.fixture(scope="module")
def chained(tiny_run, tmp_path_factory, rerun):
    """The tiny run, its maps by a maker and refined by a network of their own. Never write into it."""
    root = shutil.copytree(tiny_run, tmp_path_factory.mktemp("chained") / "run", symlinks=True)
    rerun(root, until="masks", **{name.replace(".", "__"): value for name, value in CHAINED.items()})
    return root


def test_a_runs_own_chain_refines_a_new_photo_as_the_run_did(chained):
    run = ReviewedRun(chained)
    item = next(item for item in run.items if item.split == "train" and item.labels)
    image = item.sample.image.read()
    seed = read_seed(chained / MADE / "w_prime" / f"{item.id}.npz")
    refined = load_chain(run.folder, torch.device("cpu"))(image, seed)
    # Between the links a run keeps 8 bits.
    np.testing.assert_allclose(refined.maps, run.read_maps(run.main_maps, item).maps, atol=0.03)
    tried = Trial(run)(image)
    assert list(tried.pictures) == ["photo", "CAM", "ReCAM w′ + AdvCAM", "mask", f"refined ({run.main_maps.title})"]
    assert run.main_maps.title == "ReCAM w′ + AdvCAM + IRN"
    assert not any("instead" in note for note in tried.notes)
    assert run.maps_in(MADE, "w_prime").title == "ReCAM w′ + AdvCAM"


def test_pamr_refines_where_the_chain_has_not_finished(chained, tmp_path):
    root = shutil.copytree(chained, tmp_path / "run", symlinks=True, copy_function=os.link)
    shutil.rmtree(root / ".stages" / "refined")
    tried = Trial(ReviewedRun(root))(np.zeros((48, 64, 3), np.uint8))
    assert "refined (PAMR)" in tried.pictures
    assert "PAMR refines instead of IRN, which has not finished or needs more than a photo." in tried.notes


def test_a_run_without_a_chain_has_none_to_load(tiny_run):
    assert load_chain(RunFolder(tiny_run), torch.device("cpu")) is None


def test_thresholds_of_refined_maps_go_into_a_recipe_that_runs(chained, tmp_path):
    """Also those of maps before them: maker and refiners follow from what their stages were made from."""
    root = shutil.copytree(chained, tmp_path / "run", symlinks=True, copy_function=os.link)
    run = ReviewedRun(root)
    made, refined = run.maps_in(MADE, "w_prime"), run.main_maps
    settings = write_recipe(run, made, 0.4, {}).settings
    assert {name: settings[name] for name in ("refine", "masks.threshold")} == {"refine": [], "masks.threshold": 0.4}
    assert settings.keys().isdisjoint({"maker", "training"})
    plain = write_recipe(run, run.maps_in("maps/cam", "w"), 0.4, {}).settings
    assert [plain[name] for name in ("training", "maker", "refine")] == ["cam", "", []]
    chosen = write_recipe(run, refined, 0.6, {run.classes[0]: 0.3})
    assert "refine" not in chosen.settings
    recipe = recam.load_recipe(chosen.path)
    assert (recipe.maker, recipe.refine) == ("advcam", ("irn",))
    assert recipe.masks.class_thresholds == {name: 0.3 if name == run.classes[0] else 0.6 for name in run.classes}
    summary = recam.run(recipe=chosen.path, output=root, until="masks")
    assert summary.made == ("masks", "scores/masks")
    item = next(item for item in run.items if 0 in item.labels)
    expected = mask_of_maps(run.read_maps(refined, item), item.labels, {0: 0.3}, 0.6)
    assert np.array_equal(read_mask(root / "masks" / f"{item.id}.png"), expected)


def png(image):
    encoded = io.BytesIO()
    image.save(encoded, "PNG")
    return encoded.getvalue()


def test_a_large_photo_is_tried_at_the_size_that_the_networks_need(client, monkeypatch):
    monkeypatch.setattr("recam.review.trial.SIDE", 64)
    tried = client.post("api/try", content=png(PIL.Image.new("L", (640, 320)))).json()
    assert "640×320 pixels was reduced to a longer side of 64" in tried["notes"][0]
    for picture in tried["pictures"].values():
        assert PIL.Image.open(io.BytesIO(base64.b64decode(picture.partition(",")[2]))).size == (64, 32)


def test_one_photo_is_tried_at_a_time_two_wait_and_others_are_refused(client, session, monkeypatch):
    began, go_on, running, most = threading.Semaphore(0), threading.Event(), [], []

    def slow(self, image):
        running.append(1)
        most.append(len(running))
        began.release()
        assert go_on.wait(60)
        running.pop()
        return Tried(())

    monkeypatch.setattr(Trial, "_try", slow)
    photo, answers = png(PIL.Image.new("RGB", (8, 8))), []
    threads = [
        threading.Thread(target=lambda: answers.append(client.post("api/try", content=photo).status_code))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    assert began.acquire(timeout=60)
    for _ in range(1200):  # three are refused at once, while the first is still being tried
        if len(answers) == 3:
            break
        time.sleep(0.05)
    refused = client.post("api/try", content=photo)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
    assert "2 wait already" in refused.json()["detail"]
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert sorted(answers) == [200, 200, 200, 429, 429, 429]
    assert max(most) == 1
    assert client.post("api/try", content=photo).status_code == 200  # the places are free again


def test_jpegs_are_decoded_reduced_and_upright(tmp_path):
    picture = PIL.Image.new("RGB", (800, 400), "white")
    picture.paste("black", (0, 0, 400, 400))  # the left half
    exif = PIL.Image.Exif()
    exif[274] = 6  # shown turned to the right: the left half comes to the top
    encoded = io.BytesIO()
    picture.save(encoded, "JPEG", exif=exif)
    image, size = decode_upload(encoded.getvalue(), tmp_path, 100)
    assert (image.shape, size) == ((100, 50, 3), (400, 800))
    assert image[:45].max() < 30
    assert image[55:].min() > 225
    assert not list(tmp_path.iterdir())


def test_formats_that_are_not_listed_are_not_opened(tmp_path):
    """An EPS would start Ghostscript, whatever its name."""
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    gif = io.BytesIO()
    PIL.Image.new("L", (4, 4)).save(gif, "GIF")
    for content in (eps, gif.getvalue()):
        with pytest.raises(DataError, match="send one of JPEG, PNG"):
            decode_upload(content, tmp_path, 100)


def head_of_png(width, height, depth=8, colour=2):
    """A PNG whose head names a size, without any pixel: what decodes it would fail, what reads the head first need
    not."""
    fields = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunk = b"IHDR" + fields
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + struct.pack(">I", 0)
        + b"IDAT"
        + bytes(4)
    )


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (head_of_png(50_001, 1_000), "50001×1000 pixels, more than the 50,000,000"),
        (head_of_png(60_000, 60_000), "more than the 50,000,000"),
        (
            head_of_png(12_501, 1_000, 16, 0),
            "12501×1000 pixels of 16 or 32 bits or of many bands, more than the 12,500,000",
        ),
    ],
)
def test_pixels_are_bounded_by_the_head(tmp_path, content, told):
    with pytest.raises(DataError, match=told):
        decode_upload(content, tmp_path, 100)


def bomb():
    encoded = io.BytesIO()
    PIL.Image.new("1", (9000, 9000)).save(encoded, "PNG")
    return encoded.getvalue()


def cut_png():
    encoded = io.BytesIO()
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 80, 3), dtype=np.uint8)).save(encoded, "PNG")
    return encoded.getvalue()[:2000]


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"", "no image"), (b"<svg/>", "no image"), (bomb(), "Make it smaller"), (cut_png(), "truncated")],
)
def test_uploads_that_are_no_photo(client, session, content, told):
    answer = client.post("api/try", content=content)
    assert answer.status_code == 422
    assert told in answer.json()["detail"]
    assert not list((session.run.root / "review").glob(".try-*"))
