"""Hashes of what files hold."""

import hashlib
import json
import os
from dataclasses import replace as replace_fields

import pytest

from recam import digests
from recam.digests import FileDigests, digest_each, digest_file
from recam.errors import DataError


@pytest.fixture
def reads(monkeypatch):
    """Names of the files that were read, in order."""
    read = []
    monkeypatch.setattr(digests, "digest_file", lambda path: read.append(path.name) or digest_file(path))
    return read


def test_a_digest_is_of_the_content_alone(tmp_path):
    (tmp_path / "a").write_bytes(b"cow")
    (tmp_path / "b").write_bytes(b"cow")
    assert digest_file(tmp_path / "a") == digest_file(tmp_path / "b") == hashlib.sha256(b"cow").hexdigest()[:32]
    with pytest.raises(DataError, match=r"nothing cannot be read \(No such file"):
        digest_file(tmp_path / "nothing")


def test_a_file_is_read_again_when_its_size_or_time_changes(tmp_path, reads):
    path = tmp_path / "a"
    path.write_bytes(b"cow")
    os.utime(path, ns=(1, 1))
    digest = FileDigests()
    first = digest(path)
    assert digest(path) == first
    assert reads == ["a"]
    path.write_bytes(b"dog")
    os.utime(path, ns=(2, 2))
    second = digest(path)
    assert second != first
    path.write_bytes(b"dogs")
    os.utime(path, ns=(2, 2))
    assert digest(path) != second
    assert len(reads) == 3
    path.unlink()
    with pytest.raises(DataError, match="Put it back"):
        digest(path)


def test_what_was_read_is_remembered(tmp_path, reads, monkeypatch):
    for name in "ab":
        (tmp_path / name).write_text(name)
    memory = tmp_path / "memory.json"
    digest = FileDigests(memory)
    known = [digest(tmp_path / name) for name in "ab"]
    digest.save()
    again = FileDigests(memory)
    monkeypatch.chdir(tmp_path)
    assert [again(path) for path in (tmp_path / "a", tmp_path.joinpath("b").relative_to(tmp_path))] == known
    assert reads == ["a", "b"]
    written = memory.stat().st_mtime_ns
    again.save()
    assert memory.stat().st_mtime_ns == written


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a": 3}', '{"a": [1, 2]}', '{"a": ["x", 2, "y"]}', "\xff"])
def test_a_damaged_memory_is_as_good_as_none(tmp_path, content):
    (tmp_path / "a").write_text("a")
    (tmp_path / "memory.json").write_text(content, encoding="latin-1")
    digest = FileDigests(tmp_path / "memory.json")
    assert digest(tmp_path / "a") == digest_file(tmp_path / "a")
    digest.save()
    assert FileDigests(tmp_path / "memory.json")._known


def test_the_order_of_items_counts():
    assert digest_each("abc", str) == digest_each(iter("abc"), str)
    assert digest_each("abc", str) != digest_each("acb", str)
    assert digest_each("", str) == hashlib.sha256().hexdigest()


def wait_for_a_tick(folder):
    """Until the clock of the disk, which may stand still for some milliseconds, has moved on."""
    probe = folder / "probe"
    probe.write_bytes(b"")
    first = probe.stat().st_ctime_ns
    while probe.stat().st_ctime_ns == first:
        os.utime(probe)


def replace(path, content, time):
    """Another file in the place of `path`."""
    wait_for_a_tick(path.parent)
    other = path.with_name("other")
    other.write_bytes(content)
    os.utime(other, ns=(time, time))
    other.replace(path)


def test_what_changed_since_it_was_asked_for_is_named(tmp_path):
    digest, paths = FileDigests(), [tmp_path / name for name in "abcd"]
    for path in paths:
        path.write_bytes(b"cow")
        os.utime(path, ns=(1, 1))
        digest(path)
    names = [str(path) for path in paths]
    assert digest.changed(names) == []
    wait_for_a_tick(tmp_path)
    paths[0].unlink()
    paths[1].write_bytes(b"cows")
    kept = paths[2].rename(tmp_path / "kept")  # replaced, read, and put back with its time
    replace(paths[2], b"dog", 1)
    kept.replace(paths[2])
    assert digest.changed(names) == names[:3]
    assert digest.changed(names[3:]) == []
    digest(paths[2])
    assert digest.changed(names[2:]) == names[2:3]  # compared with the first look, not with the last


def test_another_inode_alone_is_no_change(tmp_path, monkeypatch):
    path, digest = tmp_path / "a", FileDigests()
    path.write_bytes(b"cow")
    digest(path)
    known = digest._first[str(path)]
    digest._first[str(path)] = replace_fields(known, inode=known.inode + 1)
    assert digest.changed([str(path)]) == []
    digest._first[str(path)] = replace_fields(known, inode=known.inode + 1, digest="of something else")
    assert digest.changed([str(path)]) == [str(path)]


def test_files_asked_for_are_gathered(tmp_path):
    digest = FileDigests()
    for name in "ab":
        (tmp_path / name).write_text(name)
    with digest.collect() as outer:
        digest(tmp_path / "a")
        with digest.collect() as inner:
            digest(tmp_path / "b")
    digest(tmp_path / "a")
    assert (outer, inner) == ({str(tmp_path / "a"), str(tmp_path / "b")}, {str(tmp_path / "b")})


@pytest.mark.parametrize(("again", "touched"), [("", ""), ("a", "a"), ("ab", "")])
def test_some_files_touched_are_told_from_a_new_copy(tmp_path, again, touched):
    memory = tmp_path / "memory.json"
    first = FileDigests(memory)
    for name in "ab":
        (tmp_path / name).write_text(name)
        os.utime(tmp_path / name, ns=(1, 1))
        first(tmp_path / name)
    first.save()
    for name in again:
        replace(tmp_path / name, name.encode(), 1)
    second = FileDigests(memory)
    for name in "ab":
        second(tmp_path / name)
    assert second.take_touched() == [str(tmp_path / name) for name in touched]
    assert second.take_touched() == []
    second.save()
    third = FileDigests(memory)
    for name in "ab":
        third(tmp_path / name)
    assert third.take_touched() == []


def test_a_memory_without_times_of_change_is_still_believed(tmp_path, reads):
    path = tmp_path / "a"
    path.write_bytes(b"cow")
    status = path.stat()
    (tmp_path / "memory.json").write_text(json.dumps({str(path): [status.st_size, status.st_mtime_ns, "0" * 32]}))
    digest = FileDigests(tmp_path / "memory.json")
    assert digest(path) == "0" * 32
    assert (reads, digest.take_touched()) == ([], [])
