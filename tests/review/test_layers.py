"""What a run has to show: finished or half done, with photos and truth or without, CAM only; measures by hand; the
index kept."""

import json
import shutil

import numpy as np
import pytest

from recam.data.images import read_mask, write_mask
from recam.errors import DataError, StoreError
from recam.methods.thresholds import apply_threshold
from recam.review.index import Index, disagreement
from recam.review.layers import RunView, mask_of_maps
from recam.runfolder.store import read_seed, save_seed, write_json
from recam.types import SeedMaps


def test_a_finished_run_shows_everything(run):
    view = RunView(run)
    assert list(view.layers) == ["seeds/cam/w", "seeds/recam/w_prime", "masks", "model", "truth"]
    assert (len(view.items), view.no_photos) == (16, "")
    assert [item.split for item in view.items] == ["train"] * 12 + ["val"] * 4
    assert view.main_maps.name == "seeds/recam/w_prime"
    made = json.loads((run / "masks" / "stage.json").read_text())["results"]
    assert view.threshold(view.main_maps) == made["threshold"]
    item = view.items[0]
    assert view.size(item) == (64, 64)
    assert np.array_equal(
        mask_of_maps(view.read_maps(view.main_maps, item), item.labels, {}, made["threshold"]),
        view.read_mask(view.layers["masks"], item),
    )


def test_half_done_cam_only_and_without_truth(run):
    for name in ("masks", "segment", "predictions", "pictures", "scores", "reactivate", "seeds/recam"):
        shutil.rmtree(run / name)
    record = json.loads((run / "seeds" / "cam" / "stage.json").read_text())
    write_json(run / "seeds" / "cam" / "stage.json", record | {"state": "begun"})
    (run / "seeds" / "cam" / "w" / "train-000003.npz").unlink()
    view = RunView(run)
    assert list(view.layers) == ["seeds/cam/w", "truth"]
    assert len(view.items) == 12
    assert not view.layers["seeds/cam/w"].done
    assert view.threshold(view.main_maps) == view.recipe.masks.threshold
    rows = Index(view).build(quiet=True).rows
    assert rows[0].confidence is not None
    assert rows[0].cam_recam is None
    assert rows[3].confidence is None
    assert rows[3].height == 64  # from the photo


def test_without_photos_maps_tell_the_labels(run):
    written = json.loads((run / "run.json").read_text())
    written["recipe"]["data"] |= {"location": "folder:gone", "options": {}}
    write_json(run / "run.json", written)
    view = RunView(run)
    assert "gone is no folder" in view.no_photos
    assert list(view.layers) == ["seeds/cam/w", "seeds/recam/w_prime", "masks", "model"]
    assert [item.split for item in view.items] == ["train"] * 12 + ["val"] * 4
    assert view.items[0].labels == tuple(
        read_seed(run / "seeds" / "recam" / "w_prime" / "train-000000.npz").class_indices.tolist()
    )
    with pytest.raises(DataError, match="gone is no folder"):
        RunView(run, "folder:gone")  # named on purpose


def test_refined_maps_are_layers(run):
    for index in range(12):
        seed = read_seed(run / "seeds" / "recam" / "w_prime" / f"train-{index:06d}.npz")
        save_seed(run / "refined" / "recam+irn" / f"train-{index:06d}.npz", seed)
    write_json(
        run / "refined" / "recam+irn" / "stage.json", {"stage": "refined/recam+irn", "key": "abc", "state": "done"}
    )
    scores = {
        "oracle": {"threshold": 0.7, "miou": 0.5},
        "recipe": {"threshold": 0.2, "miou": 0.4},
        "thresholds": [0.7],
        "curve": [0.5],
    }
    write_json(
        run / "scores" / "recam+irn" / "stage.json",
        {"state": "done", "results": {"seeds": {"recam w_prime + irn": scores}}},
    )
    view = RunView(run)
    layer = view.layers["refined/recam+irn"]
    assert (layer.title, layer.key, view.threshold(layer)) == ("ReCAM + irn", "abc", 0.7)
    assert view.read_maps(layer, view.items[0]).maps.shape[0] == len(view.items[0].labels)


def test_what_is_no_run_and_a_run_with_nothing(tmp_path, run):
    with pytest.raises(StoreError, match=r"holds no run\.json"):
        RunView(tmp_path)
    written = json.loads((run / "run.json").read_text())
    written["recipe"]["data"] |= {"location": "folder:gone", "options": {}}
    for name in ("masks", "segment", "predictions", "seeds"):
        shutil.rmtree(run / name)
    write_json(run / "run.json", written)
    with pytest.raises(StoreError, match="no image to review yet"):
        RunView(run)


def test_disagreement_by_hand():
    one = np.array([[0, 1, 1, 2, 255]], np.uint8)
    other = np.array([[0, 1, 2, 0, 1]], np.uint8)
    assert disagreement(one, other) == pytest.approx(
        1 - 1 / 3
    )  # one of the three counted pixels that show a class agrees
    assert disagreement(one, one) == 0
    assert disagreement(np.zeros((1, 2), np.uint8), np.zeros((1, 2), np.uint8)) == 0
    assert disagreement(one, np.zeros((2, 2), np.uint8)) is None


def test_measures_of_an_image(session):
    view, item = session.view, session.view.items[0]
    row = session.index.rows[0]
    mask = read_mask(view.root / "masks" / f"{item.id}.png")
    assert row.area == pytest.approx((mask > 0).mean())
    seed = view.read_maps(view.main_maps, item)
    assert row.confidence == pytest.approx((np.abs(seed.maps.max(0) - view.threshold(view.main_maps)) > 0.1).mean())
    cam = view.layers["seeds/cam/w"]
    planes = [
        apply_threshold(view.read_maps(layer, item).maps, item.labels, view.threshold(layer))
        for layer in (cam, view.main_maps)
    ]
    assert row.cam_recam == pytest.approx(disagreement(*planes))
    assert (row.height, row.width, row.mask_model) == (64, 64, None)


def test_the_index_is_kept_and_only_what_changed_is_measured_again(run, monkeypatch):
    measured = []
    measure = Index.measure
    monkeypatch.setattr(Index, "measure", lambda self, item: measured.append(item.id) or measure(self, item))
    first = Index(RunView(run)).build(quiet=True)
    assert measured == []  # made by the first start
    write_mask(run / "masks" / "train-000002.png", np.full((64, 64), 1, np.uint8))
    again = Index(RunView(run)).build(quiet=True)
    assert measured == ["train-000002"]
    assert again.rows[2].area == 1
    assert again.rows[:2] == first.rows[:2]
    (run / "review" / "index.json").unlink()
    (run / "review" / "index.json").write_text("damaged")
    assert Index(RunView(run)).build(quiet=True).rows == again.rows
    assert len(measured) == 17


def test_a_damaged_file_is_told_and_stops_nothing(run):
    damaged = run / "seeds" / "cam" / "w" / "train-000001.npz"
    damaged.unlink()
    damaged.write_bytes(b"damaged")
    rows = Index(RunView(run)).build(quiet=True).rows
    assert "train-000001.npz cannot be read" in rows[1].damaged
    assert not rows[0].damaged


def test_maps_of_labels_that_were_removed_do_not_take_part():
    seed = SeedMaps(np.array([[[0.9, 0.2]], [[0.5, 0.3]]], np.float32), np.array([0, 3]), (1, 2))
    assert mask_of_maps(seed, (0, 3), {}, 0.25).tolist() == [[1, 4]]
    assert mask_of_maps(seed, (3,), {3: 0.4}, 0.25).tolist() == [[4, 0]]
    assert mask_of_maps(seed, (), {}, 0.25).tolist() == [[0, 0]]
