"""Prediction of files: how they are named, what is skipped, what is refused, and what probabilities are stored."""

import io
import json
import os
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
        return [target.as_posix() for _, target in find_images(places).images]

    assert names(photos) == ["x/1", "x/2", "y/1"]
    assert names(photos / "x" / "2.png") == ["2"]
    assert names(f"{photos}/*/1.png") == ["x/1", "y/1"]  # from the deepest folder on that they share
    assert names(f"{photos}/x/*") == ["1", "2"]
    assert names(f"{photos}/**/2.*", photos / "y") == ["2", "1"]
    assert names(photos / "x", f"{photos}/x/1.*", photos / "x" / "1.png") == ["1", "2"]  # each once
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
    """A call that was stopped after two images resumes with the third; then there is nothing left to do."""
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


def test_other_inference_settings_are_refused_or_replace(photos, tiny_run, tmp_path):
    recam.predict(tiny_run, photos, tmp_path / "out")
    with pytest.raises(StoreError, match=r"of another model or other settings \(inference differ.*--overwrite"):
        recam.predict(tiny_run, photos, tmp_path / "out", window=32)
    replaced = recam.predict(tiny_run, photos, tmp_path / "out", window=32, overwrite=True)
    assert (replaced.images, replaced.skipped) == (3, 0)
    expected = recam.Predictor(tiny_run, window=32)(picture(1)).mask
    assert np.array_equal(read_mask(tmp_path / "out" / "x" / "2.png"), expected)


def test_masks_without_a_report_do_not_count(photos, tiny_run, tmp_path):
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
    shutil.rmtree(copy_of_tiny_run / ".stages" / "segment")
    with pytest.raises(RecipeError, match="needs a segmentation model"):
        recam.Predictor(copy_of_tiny_run, window=64)
    refined = recam.Predictor(copy_of_tiny_run, refine="pamr", keep_planes=True)(picture())
    assert refined.mask.shape == (40, 50)
    assert refined.planes.shape[0] == len(refined.plane_values)


def test_settings_of_a_run_are_followed(copy_of_tiny_run, rerun):
    """Window and refinement of the recipe make the predictions of the held-out images again, and nothing before
    them."""
    summary = rerun(copy_of_tiny_run, "segment", predict__window=32, predict__refine="pamr")
    assert summary.made == ("predictions/pseudo",)
    assert recam.Predictor(copy_of_tiny_run).settings.window == 32
    assert recam.Predictor(copy_of_tiny_run, window=0, refine="none").settings.window is None
    back = rerun(copy_of_tiny_run)
    assert back.made == ()


def test_what_is_not_predicted_is_reported(photos, tiny_run, tmp_path):
    """Files of systems, other endings, the output in the input: each by its kind, and none of them a problem."""
    for name in ("x/._1.png", ".DS_Store", "Thumbs.db", "@eaDir/1.png", "y/film.mov", "y/sound.mov"):
        (photos / name).parent.mkdir(exist_ok=True)
        (photos / name).write_bytes(bytes(64))
    (photos / "x" / "back").symlink_to(photos)
    first, second = (recam.predict(tiny_run, photos, photos / "out") for _ in range(2))
    assert (first.images, first.problems) == (3, ())
    assert {entry.kind: entry.count for entry in first.passed_over} == {
        "system-file": 4,
        "link": 1,
        "unread-ending": 3,
        "output": 1,
    }
    assert "endings that are not read (.mov 2, .txt 1)" in str(first)
    assert (second.images, second.skipped) == (0, 3)
    assert second.passed_over == first.passed_over
    report = json.loads((photos / "out" / "predict.json").read_text())["report"]
    assert report["passed_over"] == [entry.as_dict() for entry in second.passed_over]
    assert sorted(path.name for path in (photos / "out").iterdir()) == ["predict.json", "x", "y"]


def test_patterns_pass_over_the_same(photos):
    (photos / "x" / "._1.png").write_bytes(bytes(64))
    (photos / "out").mkdir()
    write_png(photos / "out" / "1.png", picture())
    found = find_images([f"{photos}/**/*"], photos / "out")
    assert [target.as_posix() for _, target in found.images] == ["x/1", "x/2", "y/1"]
    assert {entry.kind: entry.count for entry in found.passed_over} == {
        "system-file": 1,
        "unread-ending": 1,
        "output": 1,
    }


def test_places_of_which_some_hold_no_image(photos, tmp_path, tiny_run):
    (tmp_path / "empty").mkdir()
    found = find_images([photos, tmp_path / "empty", f"{photos}/*.jpg"])
    assert [(entry.kind, entry.count) for entry in found.passed_over if entry.kind == "no-image"] == [("no-image", 2)]
    assert str(tmp_path / "empty") in str(found.passed_over[-1])
    with pytest.raises(DataError, match=r"no image in .*endings that are not read \(\.txt 1\)"):
        recam.predict(tiny_run, f"{photos}/*.txt", tmp_path / "out")


def test_output_among_files_given_by_name(photos, tiny_run, tmp_path):
    """A list that names results of an earlier call beside their images: the reason is named, not its consequence."""
    recam.predict(tiny_run, photos / "x", photos / "x" / "out")
    listed = sorted((photos / "x").rglob("1*.png"))
    with pytest.raises(DataError, match=r"the output .*out lies in the input: 2 of the images are files in it"):
        recam.predict(tiny_run, listed, photos / "x" / "out")


def test_names_in_either_spelling(photos):
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    write_png(photos / "z" / decomposed / "1.png", picture())
    assert [target.as_posix() for _, target in find_images([photos / "z" / composed]).images] == ["1"]
    assert [target.as_posix() for _, target in find_images([photos / "z" / composed / "1.png"]).images] == ["1"]


def test_one_name_in_two_spellings_is_one_file(tiny_run, tmp_path):
    for folder, name in (("a", "caf\u00e9"), ("b", "cafe\u0301")):
        write_png(tmp_path / folder / f"{name}.png", picture())
    with pytest.raises(DataError, match="would write the same file"):
        recam.predict(tiny_run, [tmp_path / "a", tmp_path / "b"], tmp_path / "out")


def test_folders_that_may_not_be_read_and_what_is_no_file(photos, tiny_run, tmp_path, monkeypatch):
    os.mkfifo(photos / "x" / "3.png")
    scandir = os.scandir

    def refuse(folder):
        if str(folder).endswith("y"):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr("recam.data.file_tree.os.scandir", refuse)
    report = recam.predict(tiny_run, photos, tmp_path / "out")
    assert report.images == 2
    assert [(problem.kind, problem.where) for problem in report.problems] == [
        ("unreadable-folder", str(photos / "y")),
        ("no-file", str(photos / "x" / "3.png")),
    ]
    with pytest.raises(DataError, match=r"y: may not be read .*Give read permission"):
        recam.predict(tiny_run, photos / "y", tmp_path / "other")


def of_folder(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")}


def test_shares_do_each_image_once_and_the_last_writes_the_report_of_all(photos, tiny_run, tmp_path):
    (photos / "y" / "2.png").write_bytes(b"no image")
    whole = recam.predict(tiny_run, photos, tmp_path / "one")
    out = tmp_path / "shares"
    write_png(out / "x" / "2.png", picture(9))  # nothing records what made it: the first share removes it
    write_png(out / "x" / "2_overlay.png", picture(9))
    first = recam.predict(tiny_run, photos, out, shard="1/2")
    assert (first.images, first.skipped) == (2, 0)
    assert "report" not in json.loads((out / "predict.json").read_text())
    second = recam.predict(tiny_run, photos, out, shard="2/2")
    assert (second.images, len(second.problems)) == (1, 1)
    report = json.loads((out / "predict.json").read_text())["report"]
    assert report.pop("images_per_second") > 0
    assert report == {name: value for name, value in whole.as_dict().items() if name != "images_per_second"}
    assert of_folder(out) == of_folder(tmp_path / "one")
    again = recam.predict(tiny_run, photos, out)  # what shares did counts for everybody
    assert (again.images, again.skipped) == (0, 3)


def test_a_share_overwrites_its_own_images_alone(photos, tiny_run, tmp_path):
    recam.predict(tiny_run, photos, tmp_path / "out")
    assert recam.predict(tiny_run, photos, tmp_path / "out", shard="2/2", overwrite=True).images == 1
    assert recam.predict(tiny_run, photos, tmp_path / "out").skipped == 3


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "1/0", "-1/2", "a/b"])
def test_shares_that_are_none(photos, tiny_run, tmp_path, shard):
    with pytest.raises(RecipeError, match="give I/N with I from 1 to N"):
        recam.predict(tiny_run, photos, tmp_path / "out", shard=shard)
    assert not (tmp_path / "out").exists()


def test_an_engine_that_is_none(photos, tiny_run, tmp_path):
    with pytest.raises(RecipeError, match=r"unknown engine 'rya'\. Did you mean 'ray'"):
        recam.predict(tiny_run, photos, tmp_path / "out", engine="rya")
