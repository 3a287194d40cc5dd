"""Nothing stale or damaged passes for a finished result: inputs that changed while a stage ran, results that changed
since."""

import os
import shutil

import numpy as np
import pytest

import recam
from recam.data.images import write_png
from recam.errors import DataError, StoreError
from recam.pipeline.stages import train
from recam.runfolder.store import read_json
from test_resume import CAM, RECORDS, artefacts, files, state, times


@pytest.fixture
def verified(tiny_settings):
    """``verified(folder)``: the stages that the tiny run's command with --verify makes again."""
    return lambda folder: recam.run(recipe="tiny", output=folder, settings=tiny_settings, verify=True).made


@pytest.fixture
def photos(tmp_path):
    """Settings of a data set of three photos, and its folder."""
    root = tmp_path / "photos"
    for index, name in enumerate(("cat/a", "cat/b", "dog/c")):
        write_png(root / f"{name}.png", np.full((40, 40, 3), 60 * index, np.uint8))
    return root, {"data__location": f"folder:{root}", "data__options": {}, **CAM}


def swap(path):
    """Another file in the place of `path`; returns what puts the first one back, with its times."""
    kept = path.rename(path.with_name("kept"))
    write_png(path, np.full((40, 40, 3), 250, np.uint8))
    return lambda: kept.replace(path)


@pytest.mark.parametrize("put_back", [True, False])
def test_a_stage_whose_images_changed_while_it_ran_is_not_finished(tmp_path, rerun, monkeypatch, photos, put_back):
    root, data = photos
    save = train.save_classifier

    def save_late(*arguments):
        undo = swap(root / "cat" / "a.png")
        save(*arguments)
        if put_back:
            undo()

    with monkeypatch.context() as patched:
        patched.setattr(train, "save_classifier", save_late)
        with pytest.raises(
            DataError, match=r"train/cam: 1 file \(.*a\.png\) changed while the stage ran.*run the same command again"
        ):
            rerun(tmp_path / "run", "train", **data)
    assert list((tmp_path / "run/train/cam").iterdir()) == []
    assert rerun(tmp_path / "run", "train", **data).made == ("train/cam",)
    assert not read_json(tmp_path / "run/train/cam/stage.json")["resumed"]
    assert rerun(tmp_path / "run", "train", **data).made == ()


def test_what_a_killed_stage_made_of_other_images_is_thrown_away(tmp_path, rerun, monkeypatch, photos, capfd):
    root, data = photos

    def interrupted(*arguments):
        raise KeyboardInterrupt

    def begin():
        with monkeypatch.context() as patched:
            patched.setattr(train, "save_classifier", interrupted)
            with pytest.raises(KeyboardInterrupt):
                rerun(tmp_path / "run", "train", **data)
        assert state(tmp_path / "run", "train/cam") == "begun"

    begin()
    begin()
    assert read_json(tmp_path / "run/train/cam/stage.json")["resumed"]  # nothing has happened to the images
    swap(root / "cat" / "a.png")()
    rerun(tmp_path / "run", "train", **data)
    assert "train/cam was not finished and begins again: 1 file (" in capfd.readouterr().err
    assert not read_json(tmp_path / "run/train/cam/stage.json")["resumed"]


def test_an_unfinished_stage_resumes_with_a_new_copy_of_the_data(tmp_path, rerun, monkeypatch, photos):
    root, data = photos
    with monkeypatch.context() as patched:
        patched.setattr(train, "save_classifier", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            rerun(tmp_path / "run", "train", **data)
    shutil.copytree(root, tmp_path / "copy")
    shutil.rmtree(root)
    (tmp_path / "copy").rename(root)
    rerun(tmp_path / "run", "train", **data)
    assert read_json(tmp_path / "run/train/cam/stage.json")["resumed"]


def test_damaged_results_are_made_again_and_nothing_else(copy_of_tiny_run, rerun, capfd):
    first, before = artefacts(copy_of_tiny_run), times(copy_of_tiny_run)
    mask = files(copy_of_tiny_run, "masks/*.png")[0]
    mask.write_bytes(mask.read_bytes()[:60])
    assert rerun(copy_of_tiny_run).made == ("masks",)
    told = capfd.readouterr().err
    assert f"masks: 1 of its files cannot be used and are made again: {mask.resolve()} has 60 bytes instead of" in told
    assert artefacts(copy_of_tiny_run) == first
    after = times(copy_of_tiny_run)
    kept = [name for name in before if name.startswith("masks/") and not name.endswith((mask.name, *RECORDS))]
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}


def flip_bit(path):
    """One bit of a file's middle, behind the back of its size and its time."""
    content, status = bytearray(path.read_bytes()), path.stat()
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_flipped_bit_is_found_by_readers_of_weights_and_by_verify(copy_of_tiny_run, rerun, verified):
    first = artefacts(copy_of_tiny_run)
    assert verified(copy_of_tiny_run) == ()
    weights = copy_of_tiny_run / "segment/pseudo/weights.safetensors"
    flip_bit(weights)
    assert rerun(copy_of_tiny_run).made == ()  # which trusts size and time
    for read in (recam.Predictor, lambda run: recam.export_model(run, run / "exported")):
        with pytest.raises(StoreError, match=r"weights\.safetensors is damaged: .*'segment/pseudo' wrote\. .*--verify"):
            read(copy_of_tiny_run)
    flip_bit(files(copy_of_tiny_run, "maps/recam/w_prime/*.npz")[3])
    assert verified(copy_of_tiny_run) == ("maps/recam", "segment/pseudo")
    assert artefacts(copy_of_tiny_run) == first
    recam.Predictor(copy_of_tiny_run)


def test_a_later_stage_refuses_damaged_weights(copy_of_tiny_run, rerun):
    flip_bit(copy_of_tiny_run / "train/cam/weights.safetensors")
    with pytest.raises(StoreError, match=r"train/cam/\w+/weights\.safetensors is damaged"):
        rerun(copy_of_tiny_run, "maps", maps__flip=False)


def test_a_copied_run_is_up_to_date_and_read_once(copy_of_tiny_run, rerun, monkeypatch):
    for path in copy_of_tiny_run.rglob("*"):
        os.utime(path, ns=(1, 1))
    assert rerun(copy_of_tiny_run).made == ()
    monkeypatch.setattr("recam.runfolder.manifest.digest_file", lambda path: 1 / 0)
    assert rerun(copy_of_tiny_run).made == ()


def test_leftovers_and_files_of_systems_are_no_results(copy_of_tiny_run, rerun):
    stray = [
        copy_of_tiny_run / "train/cam" / name
        for name in (".tmpAb3xYz", ".DS_Store", "Thumbs.db", ".weights.safetensors.0.tmp")
    ]
    for path in stray:
        path.write_bytes(b"half a network")
    assert rerun(copy_of_tiny_run).made == ()
    (copy_of_tiny_run / "train/cam/weights.safetensors").unlink()
    assert rerun(copy_of_tiny_run).made == ("train/cam",)
    assert [path.exists() for path in stray] == [False, True, True, False]
    for path in stray[1:3]:
        path.unlink()
    assert rerun(copy_of_tiny_run).made == ()
