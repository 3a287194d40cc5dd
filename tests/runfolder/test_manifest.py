"""The manifest of a stage: what counts as its result, and how damage is found."""

import hashlib
import json
import os

import pytest

from recam.errors import StoreError
from recam.runfolder import manifest
from recam.runfolder.manifest import find_damage, read_manifest, refresh_times, write_manifest
from recam.runfolder.store import StageFolder, check_content


def write(folder, **files):
    for name, content in files.items():
        (folder / name).write_bytes(content)


@pytest.fixture
def reads(monkeypatch):
    """Names of the files whose content was read, in order."""
    read, digest_file = [], manifest.digest_file
    monkeypatch.setattr(manifest, "digest_file", lambda path: read.append(path.name) or digest_file(path))
    return read


def test_it_holds_size_time_and_hash_of_each_file(tmp_path):
    write(tmp_path, a=b"cow", b=b"")
    os.utime(tmp_path / "a", ns=(5, 7))
    os.utime(tmp_path / "b", ns=(5, 8))
    count, recorded = write_manifest(tmp_path)
    assert count == 2
    expected = {
        name: (len(held), time, hashlib.sha256(held).hexdigest()[:32])
        for name, held, time in (("a", b"cow", 7), ("b", b"", 8))
    }
    assert read_manifest(tmp_path, recorded) == expected


def test_only_results_count(tmp_path):
    (tmp_path / "sub" / "@eaDir").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    for name in (
        "a.png",
        ".DS_Store",
        ".tmpAb3xYz",
        ".a.png.0.tmp",
        "Thumbs.db",
        "sub/._b.png",
        "sub/@eaDir/b.png",
        "sub/b.png",
    ):
        (tmp_path / name).write_bytes(b"1")
    for name in (
        "stage.json",
        "manifest.json",
        "other/stage.json",
        "other/c.png",
    ):  # a stage in a sub-folder is another one
        (tmp_path / name).write_text("{}")
    _, recorded = write_manifest(tmp_path)
    assert list(read_manifest(tmp_path, recorded)) == ["a.png", "sub/b.png"]


def test_damage_is_found_and_named(tmp_path, reads):
    write(tmp_path, a=b"cow", b=b"dog", c=b"cat", d=b"hen", e=b"pig")
    _, recorded = write_manifest(tmp_path)
    assert find_damage(tmp_path, recorded) == {}
    assert sorted(reads) == list("abcde")
    reads.clear()
    before = (tmp_path / "d").stat().st_mtime_ns
    (tmp_path / "a").unlink()
    write(tmp_path, b=b"do", c=b"bat", d=b"hat")
    for name, time in (("c", 1), ("d", before), ("e", 2)):
        os.utime(tmp_path / name, ns=(time, time))
    changed = "holds something else than the stage wrote"
    assert find_damage(tmp_path, recorded) == {"a": "is missing", "b": "has 2 bytes instead of 3", "c": changed}
    assert sorted(reads) == ["c", "e"]  # those whose time has changed
    assert find_damage(tmp_path, recorded, verify=True).keys() == {"a", "b", "c", "d"}


def test_a_file_that_has_not_changed_keeps_its_hash_unread(tmp_path, reads):
    write(tmp_path, a=b"cow", b=b"dog")
    write_manifest(tmp_path)
    time = (tmp_path / "a").stat().st_mtime_ns
    write(tmp_path, a=b"bow", c=b"cat")  # damaged, with the old time
    os.utime(tmp_path / "a", ns=(time, time))
    reads.clear()
    _, recorded = write_manifest(tmp_path)
    assert reads == ["c"]
    assert find_damage(tmp_path, recorded, verify=True).keys() == {"a"}


def test_new_times_are_entered_once(tmp_path, reads):
    write(tmp_path, a=b"cow")
    _, recorded = write_manifest(tmp_path)
    assert refresh_times(tmp_path, recorded) is None
    os.utime(tmp_path / "a", ns=(1, 1))
    renewed = refresh_times(tmp_path, recorded)
    reads.clear()
    assert find_damage(tmp_path, renewed) == {}
    assert reads == []


@pytest.mark.parametrize("content", [None, b"", b"{}", b"[]", b"\xff", b'{"a": 3}'])
def test_a_damaged_manifest_is_damage(tmp_path, content):
    write(tmp_path, a=b"cow")
    _, recorded = write_manifest(tmp_path)
    if content is None:
        (tmp_path / "manifest.json").unlink()
    else:
        (tmp_path / "manifest.json").write_bytes(content)
    assert find_damage(tmp_path, recorded).keys() == {"manifest.json"}
    write_manifest(tmp_path)


def test_names_that_lead_out_of_the_folder_are_not_followed(tmp_path):
    (tmp_path / "keep").write_bytes(b"mine")
    stage = StageFolder("masks", tmp_path / "run", "k")
    stage.path.mkdir()
    content = json.dumps({"../keep": [9, 9, "x"]}).encode()
    (stage.path / "manifest.json").write_bytes(content)
    recorded = hashlib.sha256(content).hexdigest()[:32]
    (stage.path / "stage.json").write_text(json.dumps({"key": "k", "state": "done", "manifest": recorded}))
    stage.reopen(stage.find_damage())
    assert (tmp_path / "keep").read_bytes() == b"mine"


def test_the_content_of_a_file_is_checked_where_its_stage_has_finished(tmp_path):
    stage = StageFolder("classify", tmp_path / "classify", "k")
    stage.begin({})
    weights = stage.path / "weights"
    weights.write_bytes(b"cow")
    check_content(weights)
    stage.finish({})
    check_content(weights)
    weights.write_bytes(b"bow")
    with pytest.raises(StoreError, match=r"weights is damaged: .* the stage 'classify' wrote\. .*--verify"):
        check_content(weights)
    (stage.path / "manifest.json").unlink()
    with pytest.raises(StoreError, match=r"weights cannot be checked: .*manifest\.json cannot be used \(No such file"):
        check_content(weights)
    (tmp_path / "alone").write_bytes(b"no stage")
    check_content(tmp_path / "alone")
