"""Prediction of files: how they are named, what is skipped, what is refused, and what probabilities are stored."""

import io
import json
import shutil

import numpy as np
import pytest

import recam
from recam.data.found_images import find_images
from recam.data.images import read_mask, write_png
from recam.errors import DataError, RecipeError, StoreError
from recam.inference import files as predict_files


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (40, 50, 3), dtype=np.uint8)


@pytest.fixture
def photos(tmp_path):
    for seed, name in enumerate(("x/1", "x/2", "y/1")):
        write_png(tmp_path / "in" / f"{name}.png", picture(seed))
    (tmp_path / "in" / "notes.txt").write_text("no image")
    return tmp_path / "in"


def test_names_of_files_folders_and_patterns(photos):
    def names(*places):
        return [target.as_posix() for _, target in find_images(places)]

    assert names(photos) == ["x/1", "x/2", "y/1"]
    assert names(photos / "x" / "2.png") == ["2"]
    assert names(f"{photos}/*/1.png") == ["x/1", "y/1"]  # from the deepest folder on that they share
    assert names(f"{photos}/x/*") == ["1", "2"]
    assert names(f"{photos}/**/2.*", photos / "y") == ["2", "1"]
    assert names(f"{photos}/*.txt") == []
    with pytest.raises(DataError, match="neither a file nor a folder"):
        names(photos / "none.png")


def test_a_list_on_standard_input(photos, monkeypatch, tiny_run, tmp_path):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{photos}/x/1.png\n\n  {photos}/y/1.png  \n{photos}/gone.png\n"))
    report = recam.predict(tiny_run, "-", tmp_path / "out")
    assert report.images == 2
    assert [problem.where for problem in report.problems] == [f"{photos}/gone.png"]
    assert sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("1.png")) == [
        "x/1.png",
        "y/1.png",
    ]


def test_what_is_done_is_skipped(photos, tiny_run, tmp_path, monkeypatch):
    """A call that was stopped after two images goes on with the third; then there is nothing left to do."""
    written = []

    def stop_after_two(path, mask):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path)
        write(path, mask)

    write = predict_files.write_mask
    monkeypatch.setattr(predict_files, "write_mask", stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        recam.predict(tiny_run, photos, tmp_path / "out")
    monkeypatch.setattr(predict_files, "write_mask", write)
    stamps = {path: path.stat().st_mtime_ns for path in written}
    report = recam.predict(tiny_run, photos, tmp_path / "out")
    assert (report.images, report.skipped) == (1, 2)
    assert {path: path.stat().st_mtime_ns for path in written} == stamps
    again = recam.predict(tiny_run, photos, tmp_path / "out")
    assert (again.images, again.skipped, again.images_per_second) == (0, 3, None)
    assert "3 were there already" in str(again)
    more = recam.predict(tiny_run, photos, tmp_path / "out", probabilities=True)  # these were not there yet
    assert (more.images, more.skipped) == (3, 0)
    assert more.images_per_second > 0
    assert json.loads((tmp_path / "out" / "predict.json").read_text())["report"] == more.as_dict()


def test_another_way_of_seeing_is_refused_or_replaces(photos, tiny_run, tmp_path):
    recam.predict(tiny_run, photos, tmp_path / "out")
    with pytest.raises(StoreError, match=r"made in another way \(asking differ.*--overwrite"):
        recam.predict(tiny_run, photos, tmp_path / "out", window=32)
    replaced = recam.predict(tiny_run, photos, tmp_path / "out", window=32, overwrite=True)
    assert (replaced.images, replaced.skipped) == (3, 0)
    expected = recam.Predictor(tiny_run, window=32)(picture(1)).mask
    assert np.array_equal(read_mask(tmp_path / "out" / "x" / "2.png"), expected)


def test_masks_of_nobody_knows_what_do_not_count(photos, tiny_run, tmp_path):
    write_png(tmp_path / "out" / "x" / "1.png", picture(9))
    write_png(tmp_path / "out" / "x" / "1_overlay.png", picture(9))
    assert recam.predict(tiny_run, photos, tmp_path / "out").images == 3


def test_probabilities_are_what_the_mask_was_chosen_by(photos, tiny_run, tmp_path):
    recam.predict(tiny_run, photos / "x", tmp_path / "out", probabilities=True)
    with np.load(tmp_path / "out" / "1_probabilities.npz", allow_pickle=False) as stored:
        planes, values, names = stored["probabilities"], stored["values"], stored["names"]
    assert (planes.shape, planes.dtype) == ((11, 40, 50), np.uint8)
    assert values.tolist() == list(range(11))
    assert names[:2].tolist() == ["background", "cow"]
    assert np.abs(planes.astype(int).sum(0) - 255).max() <= 6  # eleven values, each rounded
    mask = read_mask(tmp_path / "out" / "1.png")
    chosen = np.take_along_axis(planes, mask[None].astype(np.int64), 0)[0]
    assert (chosen == planes.max(0)).all()


def test_a_window_needs_a_segmentation_model(copy_of_tiny_run, photos, tmp_path):
    shutil.rmtree(copy_of_tiny_run / "segment")
    with pytest.raises(RecipeError, match="needs a segmentation model"):
        recam.Predictor(copy_of_tiny_run, window=64)
    refined = recam.Predictor(copy_of_tiny_run, refine="pamr", keep_planes=True)(picture())
    assert refined.mask.shape == (40, 50)
    assert refined.planes.shape[0] == len(refined.plane_values)


def test_settings_of_a_run_are_asked(copy_of_tiny_run, rerun):
    """Window and refinement of the recipe make the predictions of the held-out images again, and nothing before
    them."""
    summary = rerun(copy_of_tiny_run, predict__window=32, predict__refine="pamr")
    assert set(summary.made) == {"predictions/pseudo", "pictures"}
    assert recam.Predictor(copy_of_tiny_run).asking.window == 32
    assert recam.Predictor(copy_of_tiny_run, window=0, refine="none").asking.window is None
    back = rerun(copy_of_tiny_run)
    assert back.made == ()
