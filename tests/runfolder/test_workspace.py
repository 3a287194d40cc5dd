"""Runs beside each other are one workspace: what one has made the others take over, and each is whole by itself."""

import json
import shutil
import subprocess

import pytest

import recam
from recam.errors import StoreError
from recam.runfolder.store import RunFolder, open_run, read_json


def run_tiny(root, tiny_settings, until="masks", **changed):
    settings = tiny_settings | {name.replace("__", "."): value for name, value in changed.items()}
    return recam.run(recipe="tiny", output=root, settings=settings, until=until)


@pytest.fixture(scope="module")
def beside(tiny_run, tiny_settings, tmp_path_factory):
    """(first, second): a copy of the tiny run, and a run beside it with another threshold; and the second's summary."""
    root = tmp_path_factory.mktemp("workspace")
    first = shutil.copytree(tiny_run, root / "first", symlinks=True)
    return first, root / "second", run_tiny(root / "second", tiny_settings, masks__oracle=False)


SHARED = ("train/cam", "maps/cam", "scores/cam", "train/recam", "maps/recam", "scores/recam")


def test_what_another_run_has_made_is_taken_over_by_hard_links(beside):
    first, second, summary = beside
    assert summary.made == ("masks", "scores/masks")
    assert set(summary.skipped) == set(SHARED)
    for stage in SHARED:
        ours, theirs = (
            sorted(path for path in (root / stage).rglob("*") if path.is_file()) for root in (first, second)
        )
        assert [path.name for path in ours] == [path.name for path in theirs]
        assert len(ours) > 1
        assert [path.stat().st_ino for path in ours] == [path.stat().st_ino for path in theirs], stage
        assert read_json(first / stage / "stage.json") == read_json(second / stage / "stage.json")
    assert (first / "masks").resolve().name != (second / "masks").resolve().name


def test_each_folder_is_whole_by_itself(beside, tiny_settings, tmp_path):
    _, second, _ = beside
    alone = shutil.copytree(second, tmp_path / "alone", symlinks=True)  # as if the first were deleted
    assert run_tiny(alone, tiny_settings, masks__oracle=False).made == ()
    assert not [path for path in alone.rglob("*") if path.is_symlink() and not path.resolve().is_relative_to(alone)]


def test_deleting_the_first_leaves_the_second_whole(beside, tiny_settings, tmp_path):
    for root in beside[:2]:
        shutil.copytree(root, tmp_path / root.name, symlinks=True)
    third = run_tiny(tmp_path / "third", tiny_settings, masks__oracle=False)
    assert third.made == ()
    shutil.rmtree(tmp_path / "first")
    shutil.rmtree(tmp_path / "second")
    assert recam.run(recipe="tiny", output=tmp_path / "third", settings=tiny_settings | {"masks.oracle": False},
                     until="masks", verify=True).made == ()  # fmt: skip
    assert open_run(tmp_path / "third").stage("train/cam").weights.is_file()


def test_what_one_run_makes_again_leaves_the_others_alone(beside, tiny_settings, tmp_path):
    first, second = (shutil.copytree(root, tmp_path / root.name, symlinks=True) for root in beside[:2])
    third = tmp_path / "third"
    run_tiny(third, tiny_settings, masks__oracle=False)
    victim = next((third / "maps/cam").rglob("*.npz"))
    name = victim.relative_to(third)
    victim.unlink()
    victim.write_bytes(b"damaged")
    assert (second / name).read_bytes() != b"damaged"
    assert run_tiny(third, tiny_settings, masks__oracle=False).made == ()  # taken over once more
    assert (third / name).read_bytes() == (first / name).read_bytes()


def test_links_show_the_stages_in_force_and_follow_the_settings(beside, tiny_settings, tmp_path):
    root = shutil.copytree(beside[1], tmp_path / "run", symlinks=True)
    run = RunFolder(root)
    shown = (root / "masks").resolve()
    assert (root / "masks").is_symlink()
    assert shown == run.at("masks", run.keys["masks"]).path.resolve()
    assert not (root / "masks").readlink().is_absolute(), "a folder may be moved"
    # Back to the oracle: its masks were made in another run, and are not here.
    assert run_tiny(root, tiny_settings).made == ("masks", "scores/masks")
    assert (root / "masks").resolve() != shown
    assert shown.is_dir()
    assert run_tiny(root, tiny_settings, masks__oracle=False).made == ()
    assert (root / "masks").resolve() == shown
    # A stage of which the settings know nothing is not shown.
    run_tiny(root, tiny_settings, "train", training="cam", compare=())
    assert not (root / "maps/recam").exists()
    assert not (root / "train/recam").exists()
    assert (root / "train/cam").is_dir()
    assert run_tiny(root, tiny_settings, masks__oracle=False).made == ()


@pytest.mark.parametrize("how", ["cp -a", "copytree"])
def test_a_copy_of_a_run_is_a_run(beside, tiny_settings, tmp_path, how):
    if how == "cp -a":
        subprocess.run(["cp", "-a", str(beside[1]), str(tmp_path / "copy")], check=True)
    else:
        shutil.copytree(beside[1], tmp_path / "copy", symlinks=True)
    copy = RunFolder(tmp_path / "copy")
    assert copy.done_stages() == [*SHARED, "masks", "scores/masks"]
    assert run_tiny(copy.root, tiny_settings, masks__oracle=False).made == ()
    assert (copy.root / "masks").resolve().is_relative_to(copy.root.resolve())


def test_an_unfinished_or_damaged_stage_of_another_run_is_not_taken_over(tmp_path):
    key = "a" * 16
    theirs, ours = RunFolder(tmp_path / "theirs"), RunFolder(tmp_path / "ours")
    stage = theirs.open_stage("masks", key)
    stage.begin({})
    (stage.path / "a.png").write_bytes(b"1")
    assert ours.find("masks", key) is None
    stage.finish({})
    assert ours.find("masks", key).path == stage.path.absolute()
    (stage.path / "a.png").write_bytes(b"22")
    assert ours.find("masks", key) is None
    assert not ours.open_stage("masks", key).is_done
    (stage.path / "a.png").write_bytes(b"1")
    assert ours.open_stage("masks", key).is_done
    assert (ours.root / "masks/a.png").read_bytes() == b"1"


def test_folders_of_the_first_format_are_refused_with_one_sentence(tmp_path, tiny_settings):
    root = tmp_path / "run"
    root.mkdir()
    (root / "run.json").write_text(
        json.dumps({"recipe": {"classify": {}}, "packages": {}, "stages": {"classify": "a"}})
    )
    before = sorted(root.iterdir())
    told = []
    for use in (lambda: RunFolder(root), lambda: open_run(root), lambda: run_tiny(root, tiny_settings)):
        with pytest.raises(StoreError, match="was made by another version of recam") as caught:
            use()
        told.append(str(caught.value))
    assert set(told) == {
        f"{root} was made by another version of recam and cannot be read by this one. Name a new folder with -o."
    }
    assert sorted(root.iterdir()) == before
