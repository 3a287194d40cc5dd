"""Hashes of what files hold."""

import hashlib
import os

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
