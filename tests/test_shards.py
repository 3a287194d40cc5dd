"""`recam run --shard I/N`: processes that share nothing but the folder make what one makes."""

import pytest

import recam
from recam.engine.shares import TURN, WHOLE, Share
from recam.errors import RecipeError, StoreError
from recam.runfolder.lock import hold_lock
from recam.runfolder.store import RunFolder, open_run, read_json

MADE = ("maps/cam", "scores/cam", "maps/recam", "scores/recam", "masks", "scores/masks")


def files_of(run):
    return {
        f"{stage}/{path.relative_to(run / stage)}": path.read_bytes()
        for stage in MADE
        for path in (run / stage).rglob("*")
        if path.is_file() and path.suffix != ".json"
    }


@pytest.fixture
def trained(copy_of_tiny_run):
    """A run that has trained its classifiers, and nothing after that."""
    run = open_run(copy_of_tiny_run)
    for stage in (*MADE, "segment/pseudo", "predictions/pseudo", "pictures"):
        run.stage(stage).discard()
    return copy_of_tiny_run


@pytest.fixture
def share(trained, tiny_settings, capsys):
    """``share("1/2")`` → what that process says."""

    def do(part, until="masks"):
        summary = recam.run(recipe="tiny", output=trained, settings=tiny_settings, until=until, shard=part)
        said = capsys.readouterr().err
        left = "What is left" in said
        assert ("when all shares have ended" in str(summary)) == left
        assert not (left and "nothing to do" in str(summary))
        return said

    return do


def count(run, stage):
    return len(list((run / stage).rglob("*.npz")))


def test_two_shares_make_what_one_process_makes(share, trained, tiny_run):
    said = share("1/2")
    assert "maps/cam: share 1/2 is done, others are not" in said
    assert "masks: needs maps/recam, scores/recam." in said
    assert [count(trained, f"maps/{name}") for name in ("cam", "recam")] == [6, 6]
    said = share("2/2")  # it ends last, joins the maps and scores them; then masks need the other
    assert "maps/cam" not in said.partition("What is left")[2]
    assert "masks: share 2/2 is done, others are not" in said
    assert "What is left" not in share("1/2")
    assert files_of(trained) == files_of(tiny_run)
    for stage in MADE:
        ours, theirs = (read_json(root / stage / "stage.json") for root in (trained, tiny_run))
        assert (ours["key"], ours["results"]) == (theirs["key"], theirs["results"])
    assert read_json(trained / "maps/cam/stage.json")["processes"] == 2


def test_half_written_files_of_another_share_stay(share, trained):
    share("1/2", until="maps")
    half = trained / "maps" / "cam" / ".x.npz.123456789abc.tmp"
    half.write_bytes(b"")
    share("1/2", until="maps")
    assert half.exists()
    share("2/2", until="maps")  # which finishes the stage, so nobody is at it any more
    assert not half.exists()


def test_what_cannot_be_shared_is_made_by_one_process(share, trained):
    share("1/2", until="maps")
    with hold_lock(trained, WHOLE):
        said = share("2/2", until="maps")
    assert "scores/cam: another process makes it, which does not share it." in said
    assert "What is left" not in share("2/2", until="maps")


def test_shares_and_a_whole_run_keep_each_other_out(trained, tiny_settings):
    with RunFolder(trained).lock(), pytest.raises(StoreError, match="another process"):
        recam.run(recipe="tiny", output=trained, settings=tiny_settings, shard="1/2")
    with RunFolder(trained).lock(shared=True):
        with pytest.raises(StoreError, match="another process"):
            recam.run(recipe="tiny", output=trained, settings=tiny_settings)
        with RunFolder(trained).lock(shared=True):
            pass
    with hold_lock(trained, TURN, waits=True):
        pass


def test_parts_hold_each_image_once():
    parts = [Share(index, 3).of(range(10)) for index in (1, 2, 3)]
    assert [list(part) for part in parts] == [[0, 3, 6, 9], [1, 4, 7], [2, 5, 8]]


def test_a_shard_that_is_none_makes_no_folder(tmp_path):
    with pytest.raises(RecipeError, match=r"--array=1-8"):
        recam.run(recipe="tiny", output=tmp_path / "run", shard="0/8")
    assert not (tmp_path / "run").exists()
