"""What a run has to show: finished or half done, with photos and truth or without, CAM only; measures by hand; the
index kept."""

import json
import shutil

import numpy as np
import pytest

from recam.data.images import read_mask, write_mask
from recam.errors import DataError, StoreError
from recam.methods.thresholds import apply_threshold
from recam.review.index import Index, _margins, disagreement
from recam.review.layers import ReviewedRun, mask_of_maps
from recam.runfolder.maps import read_seed, save_seed
from recam.runfolder.store import write_json
from recam.types import SeedMaps


def test_a_finished_run_shows_everything(run):
    view = ReviewedRun(run)
    assert list(view.layers) == ["maps/cam/w", "maps/recam/w_prime", "masks", "predictions/pseudo", "truth"]
    assert (len(view.items), view.no_photos) == (16, "")
    assert [item.split for item in view.items] == ["train"] * 12 + ["val"] * 4
    assert view.main_maps.name == "maps/recam/w_prime"
    made = json.loads((run / "masks" / "stage.json").read_text())["results"]
    assert view.threshold(view.main_maps) == made["threshold"]
    item = view.items[0]
    assert view.size(item) == (64, 64)
    assert np.array_equal(
        mask_of_maps(view.read_maps(view.main_maps, item), item.labels, {}, made["threshold"]),
        view.read_mask(view.layers["masks"], item),
    )


def test_half_done_cam_only_and_without_truth(run):
    for name in ("masks", "segment", "predictions", "pictures", "scores", "train/recam", "maps/recam"):
        shutil.rmtree(run / ".stages" / name)
    record = json.loads((run / "maps" / "cam" / "stage.json").read_text())
    write_json(run / "maps" / "cam" / "stage.json", record | {"state": "begun"})
    (run / "maps" / "cam" / "w" / "train-000003.npz").unlink()
    view = ReviewedRun(run)
    assert list(view.layers) == ["maps/cam/w", "truth"]
    assert len(view.items) == 12
    assert not view.layers["maps/cam/w"].done
    assert view.threshold(view.main_maps) == view.recipe.masks.threshold
    rows = Index(view).build(quiet=True).rows
    assert rows[0].confidence is not None
    assert rows[0].maps_disagreement is None
    assert rows[3].confidence is None
    assert rows[3].height == 64  # from the photo


def test_without_photos_labels_are_those_of_the_maps(run):
    written = json.loads((run / "run.json").read_text())
    written["recipe"]["data"] |= {"location": "folder:gone", "options": {}}
    write_json(run / "run.json", written)
    view = ReviewedRun(run)
    assert "gone is no folder" in view.no_photos
    assert list(view.layers) == ["maps/cam/w", "maps/recam/w_prime", "masks", "predictions/pseudo"]
    assert [item.split for item in view.items] == ["train"] * 12 + ["val"] * 4
    assert view.items[0].labels == tuple(
        read_seed(run / "maps" / "recam" / "w_prime" / "train-000000.npz").class_indices.tolist()
    )
    with pytest.raises(DataError, match="gone is no folder"):
        ReviewedRun(run, "folder:gone")  # named on purpose


def add_stage(run, name, key, label, record):
    """Enters a finished stage into a run's settings and folder; returns where its files go."""
    written = json.loads((run / "run.json").read_text())
    written["stages"][name] = {"key": key, "label": label}
    write_json(run / "run.json", written)
    done = {"stage": name, "key": key, "state": "done", "seconds": 1.0, "peak_memory_mb": 1.0}
    write_json(run / ".stages" / name / key / "stage.json", done | record)
    return run / ".stages" / name / key


def test_refined_maps_are_layers(run):
    """Whatever their names are: labels describe them."""
    sets = [{"name": "some maps", "title": "ReCAM + walk", "threshold": 0.2, "folder": ""}]
    label = {"title": "ReCAM + walk", "kind": "refined maps", "sets": sets}
    made = add_stage(run, "refined/mine", "abc", label, {"results": {"images": 12}})
    for index in range(12):
        seed = read_seed(run / "maps" / "recam" / "w_prime" / f"train-{index:06d}.npz")
        save_seed(made / f"train-{index:06d}.npz", seed)
    scores = {"oracle": {"threshold": 0.7, "miou": 0.5}, "otsu": None, "thresholds": [0.2, 0.7], "curve": [0.4, 0.5]}
    results = {"images": 12, "maps": {"some maps": scores}}
    add_stage(run, "scores/mine", "def", label | {"kind": "scores of maps"}, {"results": results})
    view = ReviewedRun(run)
    layer = view.layers["refined/mine"]
    assert (layer.title, layer.key, view.threshold(layer)) == ("ReCAM + walk", "abc", 0.7)
    assert layer.scores["recipe"] == {"threshold": 0.2, "miou": 0.4}
    assert view.read_maps(layer, view.items[0]).maps.shape[0] == len(view.items[0].labels)
    assert view.main_maps.name == "maps/recam/w_prime"  # what the masks are made from


def test_what_is_no_run_and_a_run_with_nothing(tmp_path, run):
    with pytest.raises(StoreError, match=r"holds no run\.json"):
        ReviewedRun(tmp_path)
    written = json.loads((run / "run.json").read_text())
    written["recipe"]["data"] |= {"location": "folder:gone", "options": {}}
    for name in ("masks", "segment", "predictions", "maps"):
        shutil.rmtree(run / ".stages" / name)
    write_json(run / "run.json", written)
    with pytest.raises(StoreError, match="no image to review yet"):
        ReviewedRun(run)


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
    view, item = session.run, session.run.items[0]
    row = session.index.rows[0]
    mask = read_mask(view.root / "masks" / f"{item.id}.png")
    assert row.area == pytest.approx((mask > 0).mean())
    seed = view.read_maps(view.main_maps, item)
    assert row.confidence == pytest.approx((np.abs(seed.maps.max(0) - view.threshold(view.main_maps)) > 0.1).mean())
    cam = view.layers["maps/cam/w"]
    planes = [
        apply_threshold(view.read_maps(layer, item).maps, item.labels, view.threshold(layer))
        for layer in (cam, view.main_maps)
    ]
    assert row.maps_disagreement == pytest.approx(disagreement(*planes))
    assert (row.height, row.width, row.model_disagreement) == (64, 64, None)


def test_the_index_is_kept_and_only_what_changed_is_measured_again(run, monkeypatch):
    measured = []
    measure = Index.measure
    monkeypatch.setattr(Index, "measure", lambda self, item: measured.append(item.id) or measure(self, item))
    first = Index(ReviewedRun(run)).build(quiet=True)
    assert measured == []  # made by the first start
    write_mask(run / "masks" / "train-000002.png", np.full((64, 64), 1, np.uint8))
    again = Index(ReviewedRun(run)).build(quiet=True)
    assert measured == ["train-000002"]
    assert again.rows[2].area == 1
    assert again.rows[:2] == first.rows[:2]
    (run / "review" / "index.json").unlink()
    (run / "review" / "index.json").write_text("damaged")
    assert Index(ReviewedRun(run)).build(quiet=True).rows == again.rows
    assert len(measured) == 17


def test_a_damaged_file_is_reported_and_stops_nothing(run):
    damaged = run / "maps" / "cam" / "w" / "train-000001.npz"
    damaged.unlink()
    damaged.write_bytes(b"damaged")
    rows = Index(ReviewedRun(run)).build(quiet=True).rows
    assert "train-000001.npz cannot be read" in rows[1].damaged
    assert not rows[0].damaged


def test_maps_of_labels_that_were_removed_do_not_take_part():
    seed = SeedMaps(np.array([[[0.9, 0.2]], [[0.5, 0.3]]], np.float32), np.array([0, 3]), (1, 2))
    assert mask_of_maps(seed, (0, 3), {}, 0.25).tolist() == [[1, 4]]
    assert mask_of_maps(seed, (3,), {3: 0.4}, 0.25).tolist() == [[4, 0]]
    assert mask_of_maps(seed, (), {}, 0.25).tolist() == [[0, 0]]


def test_without_a_background_the_largest_map_of_the_labels_counts():
    maps = np.array([[[0.9, 0.0]], [[0.1, 0.0]], [[0.0, 0.5]]], np.float32)
    seed = SeedMaps(np.repeat(np.repeat(maps, 4, 1), 4, 2), np.array([0, 1, 4]), (4, 8))
    assert np.unique(mask_of_maps(seed, (0, 1, 4), {}, None)).tolist() == [1, 5]
    assert np.unique(mask_of_maps(seed, (1,), {}, None)).tolist() == [2]  # the others were removed by a person
    assert np.unique(mask_of_maps(seed, (1,), {}, 0.0)).tolist() == [0, 2]
    assert np.unique(mask_of_maps(seed, (), {}, None)).tolist() == [255]


def test_confidence_is_the_margin_where_there_is_no_threshold():
    maps = np.array([[[0.9, 0.5]], [[0.1, 0.45]]], np.float32)
    assert np.allclose(_margins(maps, None), [[0.8, 0.05]])
    assert np.allclose(_margins(maps, [0.3, 0.2]), [[0.6, 0.2]])
    assert np.allclose(_margins(maps[:1], None), 1)
