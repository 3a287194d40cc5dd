"""Runs of a folder: listed with their scores, and cleaned of what no settings name, byte by byte."""

import json
import os
import shutil

import pytest

import recam
from recam.errors import StoreError
from recam.files import TEMPORARY_ENDING
from recam.runfolder.runs import size_text
from recam.runfolder.store import RunFolder

KEYS = ("a" * 16, "b" * 16)
LABELS = {
    "maps/x": {"title": "X", "kind": "maps"},
    "scores/x": {
        "title": "X",
        "kind": "scores of maps",
        "sets": [{"name": "x", "title": "X", "threshold": 0.2, "folder": "w"}],
    },
    "masks": {"title": "pseudo masks", "kind": "masks", "from": "X + edges"},
    "scores/masks": {"title": "pseudo masks", "kind": "scores of masks"},
    "predictions/pseudo": {"title": "model", "kind": "predictions"},
}
RESULTS = {
    "maps/x": {"images": 3},
    "scores/x": {"images": 3, "maps": {"x": {"oracle": {"threshold": 0.3, "miou": 0.5}, "otsu": None}}},
    "masks": {"images": 3, "maps": "x", "threshold": 0.3, "threshold_from": "oracle"},
    "scores/masks": {"images": 3, "scores": {"miou": 0.52}, "confusion": [[1, 0, 0], [0, 1, 0]]},
    "predictions/pseudo": {"images": 2, "scores": {"miou": 0.61}, "confusion": [[1, 0, 0], [0, 1, 0]]},
}


def make_stage(run, name, key, content=b"1234"):
    stage = run.open_stage(name, key)
    if not stage.is_done:
        stage.begin({"label": LABELS.get(name, {}), "inputs": {"classes": ["cat"], "inputs": {}}})
        (stage.path / "a.bin").write_bytes(content)
        stage.finish({"seconds": 30.0, "peak_memory_mb": 1.0, "results": RESULTS.get(name, {})})
    return stage


def make_run(root, key=KEYS[0], names=tuple(LABELS)):
    """A run with a file of four bytes in each stage."""
    run = RunFolder(root)
    maps = {
        "stage": "maps/x", "scores": "scores/x", "name": "x", "title": "X + edges", "threshold": 0.2, "folder": "w",
    }  # fmt: skip
    content = {
        "format": 2,
        "recipe": {"data": {"location": "scenes:"}},
        "stages": {name: {"key": key, "label": label} for name, label in LABELS.items()},
        "models": {"classifier": "train/x", "seeds": maps, "maps": maps, "inference": {}, "map_inference": {}},
    }
    root.mkdir(parents=True, exist_ok=True)
    (root / "run.json").write_text(json.dumps(content))
    for name in names:
        make_stage(run, name, key)
    run.link_stages(dict.fromkeys(names, key))
    return run


def test_runs_are_listed_with_their_scores(tmp_path):
    make_run(tmp_path / "one")
    make_run(tmp_path / "two", KEYS[1], ("maps/x", "scores/x"))
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "run.json").write_text("{}")
    (tmp_path / "photos").mkdir()
    listed = recam.list_runs(tmp_path)
    old, one, two = listed.runs
    assert one.problem == ""
    assert (one.data, one.maps, one.maps_miou, one.masks_miou, one.model_miou) == (
        "scenes:",
        "X + edges",
        0.5,
        0.52,
        0.61,
    )
    assert (one.done, one.stages, one.minutes) == (5, 5, 2.5)
    assert (two.done, two.stages, two.masks_miou, two.model_miou) == (2, 5, None, None)
    assert "another version of recam" in old.problem
    lines = str(listed).splitlines()
    assert lines[1].split() == [
        *("one", "scenes:", "X", "+", "edges", "50.00", "52.00", "61.00", "5/5", "2.5"),
        *size_text(one.bytes).split(),
    ]
    assert lines[3].startswith("old: ")
    assert lines[-1].startswith("3 runs, ")
    assert json.loads(json.dumps(listed.as_dict()))["runs"][1]["maps_miou"] == 0.5
    assert [entry.path for entry in recam.list_runs(tmp_path / "one").runs] == [tmp_path / "one"]
    assert str(recam.list_runs(tmp_path / "photos")) == f"no runs in {tmp_path / 'photos'}"
    with pytest.raises(StoreError, match="is no folder"):
        recam.list_runs(tmp_path / "none")


def test_a_file_that_runs_share_counts_once(tmp_path):
    make_run(tmp_path / "one")
    before = recam.list_runs(tmp_path)
    make_run(tmp_path / "two")  # takes all stages over
    after = recam.list_runs(tmp_path)
    assert sum(entry.bytes for entry in after.runs) > 1.5 * before.bytes
    # Records of their own are the run's settings alone.
    assert after.bytes - before.bytes < 2 * (tmp_path / "two" / "run.json").stat().st_size + 200


def test_stages_of_earlier_settings_are_removed(tmp_path):
    run = make_run(tmp_path / "one")
    old = make_stage(run, "maps/x", KEYS[1], b"x" * 1000)
    other = make_stage(run, "maps/y", KEYS[0], b"x" * 500)  # a training that the settings do not name any more
    check = make_stage(run, "check", KEYS[1])
    begun = run.open_stage("irn/x/labels", KEYS[1])  # killed before it wrote a record
    (begun.path / "a.png").write_bytes(b"x" * 100)
    run.link_stages(run.keys)
    kept = {name: run.at(name, key).path for name, key in run.keys.items()}
    size = sum(path.stat().st_size for stage in (old, other, begun) for path in stage.path.rglob("*") if path.is_file())
    rehearsed = recam.clean_runs(tmp_path, dry_run=True)
    assert (rehearsed.bytes, len(rehearsed.stages), rehearsed.leftovers) == (size, 3, ())
    assert old.is_done
    assert "3 stages of earlier settings and 0 leftovers would be removed: " in str(rehearsed)
    cleaned = recam.clean_runs(tmp_path)
    assert cleaned.as_dict() == {**rehearsed.as_dict(), "dry_run": False}
    assert cleaned.stages == (
        f"one/.stages/irn/x/labels/{KEYS[1]}",
        f"one/.stages/maps/x/{KEYS[1]}",
        f"one/.stages/maps/y/{KEYS[0]}",
    )
    assert str(cleaned).endswith(f"removed: {size_text(size)} freed")
    assert not any(stage.path.exists() for stage in (old, other, begun))
    assert sorted(path.name for path in (run.root / ".stages").iterdir()) == [
        "check", "maps", "masks", "predictions", "scores",
    ]  # fmt: skip
    assert check.is_done  # shown by a link, although no plan names it
    assert all(run.stage(name).is_done and path.is_dir() for name, path in kept.items())
    assert recam.clean_runs(run.root).bytes == 0


def test_what_killed_processes_left_is_removed(tmp_path):
    run = make_run(tmp_path / "one")
    stage = run.stage("masks").path
    (stage / f".a.png.0{TEMPORARY_ENDING}").write_bytes(b"x" * 30)
    half = stage.with_name(f".{KEYS[1]}.0{TEMPORARY_ENDING}")
    shutil.copytree(stage, half)
    (run.root / f".masks.0{TEMPORARY_ENDING}").symlink_to(stage, target_is_directory=True)
    cleaned = recam.clean_runs(tmp_path / "one")
    assert len(cleaned.leftovers) == 3
    assert cleaned.bytes >= 60
    assert not half.exists()
    assert run.stage("masks").is_done
    assert [path.name for path in run.root.rglob(f".*{TEMPORARY_ENDING}")] == []


def test_files_that_another_run_uses_free_nothing(tmp_path):
    one = make_run(tmp_path / "one")
    two = make_run(tmp_path / "two")
    for name in ("run.json",):  # the second run goes on with other settings
        (two.root / name).write_text((two.root / name).read_text().replace(KEYS[0], KEYS[1]))
    two.link_stages(two.keys)
    cleaned = recam.clean_runs(tmp_path / "two")
    assert len(cleaned.stages) == len(LABELS)
    assert cleaned.bytes == 0
    assert all(one.stage(name).is_done for name in LABELS)
    assert (one.stage("masks").path / "a.bin").stat().st_nlink == 1


def test_nothing_is_removed_while_a_process_works_in_a_run(tmp_path):
    for name in ("one", "two"):
        make_stage(make_run(tmp_path / name), "maps/y", KEYS[1])
    with (
        RunFolder(tmp_path / "two").lock(),
        pytest.raises(StoreError, match=rf"another process \(process {os.getpid()}\) is working in .*two"),
    ):
        recam.clean_runs(tmp_path)
    assert RunFolder(tmp_path / "one").at("maps/y", KEYS[1]).is_done
    assert len(recam.clean_runs(tmp_path).stages) == 2


def test_a_run_that_cannot_be_read_is_left_alone(tmp_path):
    make_stage(make_run(tmp_path / "one"), "maps/y", KEYS[1])
    (tmp_path / "one" / "run.json").write_text("{}")
    cleaned = recam.clean_runs(tmp_path)
    assert (cleaned.stages, list(cleaned.skipped)) == ((), ["one"])
    assert "left alone: one: " in str(cleaned)
    assert RunFolder(tmp_path / "elsewhere").root.exists() is False


def test_a_run_is_cleaned_and_goes_on(copy_of_tiny_run, rerun):
    """A run that went through two recipes: cleaned, and nothing of the second is made again, not even the check."""
    changed = rerun(copy_of_tiny_run, until="masks", recam__sce_weight=0.5)
    assert "train/recam" in changed.made
    cleaned = recam.clean_runs(copy_of_tiny_run)
    assert any(name.startswith(".stages/train/recam/") for name in cleaned.stages)
    assert not any("check" in name for name in cleaned.stages)
    assert cleaned.bytes > 1_000_000
    before = (copy_of_tiny_run / "check" / "stage.json").stat().st_mtime_ns
    assert rerun(copy_of_tiny_run, until="masks", recam__sce_weight=0.5).made == ()
    assert (copy_of_tiny_run / "check" / "stage.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(("size", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_450_000, "1.4 MB")])
def test_sizes(size, text):
    assert size_text(size) == text
