"""A run is a folder: killed anywhere it goes on and ends the same; done again it does nothing; changed it redoes what
depends on it."""

import errno
import json
import os

import numpy as np
import pytest
import timm
import torch

import recam
from forked import PATIENCE
from killed_run import kill_when, start_run
from recam import digests
from recam.data.images import write_png
from recam.errors import DataError, StoreError
from recam.runfolder.store import RunFolder, read_json
from recam.tensors import load_tensors

ALL_STAGES = [
    "train/cam", "maps/cam", "scores/cam", "train/recam", "maps/recam", "scores/recam", "masks", "scores/masks",
    "segment/pseudo", "predictions/pseudo", "pictures",
]  # fmt: skip
CAM = {"training": "cam", "compare": ()}
"""One training and no other."""
RECORDS = ("stage.json", "manifest.json")
SETTINGS = ("run.json", "recipe.toml")
"""Of the run: how often it saves, among others, which changes no result."""
NOT_RESULTS = ("run.lock", *SETTINGS, "run.log", "metrics.jsonl", "summary.json", "summary.txt", *RECORDS)


def shown(folder):
    """Files of the stages that the settings in force name, by path in the run's folder; and those beside."""
    run = RunFolder(folder)
    beside = {path.name: path for path in folder.iterdir() if path.is_file()}
    inside = {
        f"{name}/{path.relative_to(run.at(name, key).path).as_posix()}": path
        for name, key in run.keys.items()
        for path in run.at(name, key).path.rglob("*")
        if path.is_file()
    }
    return beside | inside


def artefacts(folder):
    """Content of everything that a run made, by path; of weights the tensors."""
    found = {}
    for name, path in sorted(shown(folder).items()):
        if path.name not in NOT_RESULTS:
            found[name] = path.read_bytes()
            if path.suffix == ".safetensors":
                found[name] = {key: value.numpy().tobytes() for key, value in load_tensors(path)[0].items()}
    return found


def times(folder):
    return {name: path.stat().st_mtime_ns for name, path in shown(folder).items()}


def state(folder, stage):
    record = folder / stage / "stage.json"
    return read_json(record)["state"] if record.is_file() else None


def files(folder, pattern):
    return [path for path in folder.glob(pattern) if not path.name.startswith(".")]


def test_a_run_that_is_killed_again_and_again_ends_like_one_that_was_not(tiny_run, tiny_settings, tmp_path):
    folder = tmp_path / "run"
    settings = tiny_settings | {"compute.save_minutes": 1e-6}  # saved after each step
    moments = {
        "train/cam": lambda: files(folder, "train/cam/*.safetensors"),
        "train/recam": lambda: files(folder, "train/recam/*.safetensors"),
        "maps/recam": lambda: len(files(folder, "maps/recam/w_prime/*.npz")) >= 4,
        "masks": lambda: files(folder, "masks/*.png"),
        "segment/pseudo": lambda: files(folder, "segment/pseudo/*.safetensors"),
        "pictures": lambda: files(folder, "pictures/*.png"),
    }
    cut_short = []
    for stage, reached in moments.items():
        kill_when(start_run(folder, settings), reached)
        if state(folder, stage) == "begun":
            cut_short.append(stage)
    assert cut_short, "where each kill falls depends on the machine, but one in six must fall into its stage"
    process = start_run(folder, settings)
    process.join(PATIENCE)
    assert process.exitcode == 0
    assert artefacts(folder) == artefacts(tiny_run)
    assert not list(folder.rglob("*.tmp"))
    losses = [
        [epoch["loss"] for epoch in read_json(root / "segment/pseudo/stage.json")["results"]["history"]]
        for root in (folder, tiny_run)
    ]
    assert losses[0] == losses[1]


def test_training_goes_on_from_the_last_saved_step(tiny_settings, tmp_path):
    folder = tmp_path / "run"
    settings = tiny_settings | {"compute.save_minutes": 1e-6, "cam.epochs": 50}
    checkpoint = folder / "train/cam" / "training.safetensors"

    def step():
        return load_tensors(checkpoint)[1]["step"] if checkpoint.is_file() else 0

    kill_when(start_run(folder, settings, "train"), lambda: step() >= 5)
    reached = step()
    seen = []

    def moved_on():
        seen.append(step())
        return seen[-1] > reached

    kill_when(start_run(folder, settings, "train"), moved_on)
    assert min(seen) == reached  # never back at the start
    assert read_json(folder / "train/cam" / "stage.json")["resumed"]


def test_the_same_command_again_does_nothing_and_says_so(copy_of_tiny_run, rerun):
    before = times(copy_of_tiny_run)
    summary = rerun(copy_of_tiny_run)
    assert summary.made == ()
    assert list(summary.skipped) == ALL_STAGES
    assert "nothing to do, every stage is up to date" in str(summary)
    after = times(copy_of_tiny_run)
    before.pop("run.lock"), after.pop("run.lock")
    assert after == before


def test_settings_of_the_machine_redo_nothing(copy_of_tiny_run, rerun):
    assert rerun(copy_of_tiny_run, compute__save_minutes=1.0, compute__workers=1, train__cache_gb=1.0).made == ()


def test_a_changed_setting_redoes_what_depends_on_it_and_comes_back_without_work(copy_of_tiny_run, rerun):
    first = artefacts(copy_of_tiny_run)
    before = times(copy_of_tiny_run)
    assert rerun(copy_of_tiny_run, segment__epochs=2).made == ("segment/pseudo", "predictions/pseudo", "pictures")
    after = times(copy_of_tiny_run)
    untouched = [name for name in before if name.startswith(("train", "maps", "scores", "masks"))]
    assert untouched
    assert {name: after[name] for name in untouched} == {name: before[name] for name in untouched}
    second = artefacts(copy_of_tiny_run)
    assert second["segment/pseudo/weights.safetensors"] != first["segment/pseudo/weights.safetensors"]

    assert rerun(copy_of_tiny_run).made == ()
    assert artefacts(copy_of_tiny_run) == first
    assert read_json(copy_of_tiny_run / "run.json")["recipe"]["segment"]["epochs"] == 1
    assert rerun(copy_of_tiny_run, segment__epochs=2).made == ()
    assert artefacts(copy_of_tiny_run) == second


def test_each_setting_reaches_its_stages(copy_of_tiny_run, rerun):
    made = rerun(copy_of_tiny_run, "masks", masks__oracle=False).made
    assert made == ("masks", "scores/masks")
    results = read_json(copy_of_tiny_run / "masks" / "stage.json")["results"]
    assert (results["threshold"], results["threshold_from"]) == (0.21, "recipe")
    # The recipe's threshold is not in force, so nothing is made again, and its score stands in the summary.
    summary = rerun(copy_of_tiny_run, "masks", masks__threshold=0.3)
    assert summary.made == ()
    assert summary.as_dict()["maps"]["cam"]["recipe"]["threshold"] == 0.3
    assert rerun(copy_of_tiny_run, "maps", maps__bits=16).made == (
        "maps/cam",
        "scores/cam",
        "maps/recam",
        "scores/recam",
    )
    both = rerun(copy_of_tiny_run, "maps", maps__compare=["w"])
    assert both.made == ("maps/recam", "scores/recam")
    assert {"recam w_prime", "recam w"} <= set(both.as_dict()["maps"])
    assert (copy_of_tiny_run / "maps/recam/w").is_dir()
    assert rerun(copy_of_tiny_run, "masks", training="cam").made == ("masks", "scores/masks")
    assert read_json(copy_of_tiny_run / "masks" / "stage.json")["results"]["maps"] == "cam"


def test_a_summary_holds_nothing_that_other_settings_made(copy_of_tiny_run, rerun):
    summary = rerun(copy_of_tiny_run, "train", compare=(), training="cam", cam__lr=0.02)
    assert list(summary.records) == ["train/cam"]
    told = json.loads((copy_of_tiny_run / "summary.json").read_text())
    assert told["masks"]["miou"] is None
    assert list(told["stages"]) == ["train/cam"]
    assert list(rerun(copy_of_tiny_run).records) == ALL_STAGES
    assert json.loads((copy_of_tiny_run / "summary.json").read_text())["masks"]["miou"] is not None


def test_what_is_deleted_is_made_again_and_nothing_else(copy_of_tiny_run, rerun):
    first, before = artefacts(copy_of_tiny_run), times(copy_of_tiny_run)
    gone = ["train/cam/weights.safetensors", "segment/pseudo/training.safetensors"]
    gone += [
        f"{files(copy_of_tiny_run, pattern)[0].relative_to(copy_of_tiny_run)}"
        for pattern in ("maps/cam/w/*", "masks/*.png")
    ]
    for name in gone:
        (copy_of_tiny_run / name).unlink()
    assert rerun(copy_of_tiny_run).made == ("train/cam", "maps/cam", "masks", "segment/pseudo")
    assert artefacts(copy_of_tiny_run) == first
    after = times(copy_of_tiny_run)
    kept = [
        name
        for name in before
        if name.startswith(("maps", "masks")) and name not in gone and not name.endswith(RECORDS)
    ]
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}


def test_a_stage_whose_record_is_gone_is_made_anew(copy_of_tiny_run, rerun):
    first = artefacts(copy_of_tiny_run)
    (copy_of_tiny_run / "masks" / "stage.json").unlink()
    stale = files(copy_of_tiny_run, "masks/*.png")[0]
    stale.write_bytes(b"of other settings, for all that anybody knows")
    assert rerun(copy_of_tiny_run, "masks").made == ("masks",)
    assert artefacts(copy_of_tiny_run) == first


def test_a_second_process_is_refused_and_the_first_undisturbed(copy_of_tiny_run, rerun):
    with (
        RunFolder(copy_of_tiny_run).lock(),
        pytest.raises(StoreError, match=rf"another process \(process {os.getpid()}\) is working in .*Wait for it"),
    ):
        rerun(copy_of_tiny_run)
    assert rerun(copy_of_tiny_run).made == ()


def test_a_foreign_folder_is_refused_and_left_as_it_is(rerun, tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"my photo")
    with pytest.raises(StoreError, match=r"holds files that are no run of recam\. Name an empty or a new folder"):
        rerun(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


@pytest.mark.parametrize("room_for", [0, 3])
def test_a_full_disk_damages_nothing(copy_of_tiny_run, rerun, monkeypatch, room_for):
    first = artefacts(copy_of_tiny_run)
    for path in [*files(copy_of_tiny_run, "maps/recam/w_prime/*.npz")[:6], *files(copy_of_tiny_run, "masks/*.png")]:
        path.unlink()
    written = []

    def full(descriptor):
        written.append(descriptor)
        if len(written) > room_for:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match=r"disk full while writing .*free space and run the same command again"):
            rerun(copy_of_tiny_run)
    assert not list(copy_of_tiny_run.rglob("*.tmp"))
    assert rerun(copy_of_tiny_run).made == ("maps/recam", "masks")
    assert artefacts(copy_of_tiny_run) == first


def test_an_image_that_has_gone_is_told_before_anything_is_done(tmp_path, rerun):

    rows = ["image,labels,split"]
    image = recam.open_catalog("scenes:", size=64, train=1, val=0).samples("train")[0].image.read()
    for name, label in (("a", "cat"), ("b", "dog"), ("c", "cat;dog")):
        write_png(tmp_path / "photos" / "images" / f"{name}.png", image)
        rows.append(f"{name},{label},train")
    (tmp_path / "photos" / "labels.csv").write_text("\n".join(rows))
    data = {"data__location": f"folder:{tmp_path / 'photos'}", "data__options": {}, "data__on_problems": "stop", **CAM}
    assert rerun(tmp_path / "run", "train", **data).made == ("train/cam",)
    assert rerun(tmp_path / "run", "train", **data).made == ()
    (tmp_path / "photos" / "images" / "b.png").unlink()
    before = artefacts(tmp_path / "run")
    with pytest.raises(DataError, match=r"(?s)1 problem.*b.*Fix them, or set data\.on_problems=skip"):
        rerun(tmp_path / "run", "train", **data)
    assert artefacts(tmp_path / "run") == before
    write_png(tmp_path / "photos" / "images" / "b.png", image)  # another file that holds the same
    assert rerun(tmp_path / "run", "train", **data).made == ()
    (tmp_path / "photos").rename(tmp_path / "moved")
    data["data__location"] = f"folder:{tmp_path / 'moved'}"
    assert rerun(tmp_path / "run", "train", **data).made == ()
    write_png(tmp_path / "moved" / "images" / "b.png", image[::-1].copy())
    assert rerun(tmp_path / "run", "train", **data).made == ("train/cam",)


def test_files_are_read_once_for_their_keys(tmp_path, rerun, monkeypatch):
    photos = tmp_path / "photos"
    for name in ("cat/a", "cat/b", "dog/c"):
        write_png(photos / f"{name}.png", np.full((40, 40, 3), ord(name[-1]), np.uint8))
    read, digest_file = [], digests.digest_file
    monkeypatch.setattr(digests, "digest_file", lambda path: read.append(path.name) or digest_file(path))
    data = {"data__location": f"folder:{photos}", "data__options": {}, **CAM}
    rerun(tmp_path / "run", "train", **data)
    assert sorted(read) == ["a.png", "b.png", "c.png"]
    rerun(tmp_path / "run", "train", **data)
    assert len(read) == 3
    os.utime(photos / "cat" / "b.png", ns=(1, 1))
    rerun(tmp_path / "run", "train", **data)
    assert read[3:] == ["b.png"]


def test_other_weights_under_the_same_name_train_again(tmp_path, rerun):
    path, other = tmp_path / "weights.pth", tmp_path / "other.pth"
    network = timm.create_model("test_resnet", num_classes=0)
    torch.save(network.state_dict(), path)
    torch.save(
        {name: value * 0.5 if value.is_floating_point() else value for name, value in network.state_dict().items()},
        other,
    )
    settings = {"backbone__name": "test_resnet", "backbone__weights": str(path), **CAM}
    assert rerun(tmp_path / "run", "train", **settings).made == ("train/cam",)
    os.utime(path, ns=(1, 1))
    assert rerun(tmp_path / "run", "train", **settings).made == ()
    other.replace(path)
    assert rerun(tmp_path / "run", "train", **settings).made == ("train/cam",)
