"""Files written whole or not at all: whatever the disk or the path is, the error says so, and nothing is left
behind."""

import errno
import os
from pathlib import Path

import pytest
import torch

from recam.errors import DataError, RecipeError, StoreError
from recam.files import atomic_write, checked_path, expand_home, require_folder, write_bytes
from recam.tensors import save_tensors


def failing(number):
    def fail(descriptor):
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, r"disk full while writing .*a\.bin; nothing was damaged"),
        (errno.EDQUOT, r"disk quota used up while writing .*a\.bin; nothing was damaged"),
        (errno.EFBIG, r"a\.bin is larger than this disk or a limit \(ulimit -f\) allows"),
        (
            errno.EROFS,
            r"may not write .*a\.bin \(Read-only file system\); give write permission or choose another folder",
        ),
        (errno.EIO, r"a\.bin cannot be written \(Input/output error\)"),
    ],
)
def test_what_a_disk_can_answer(tmp_path, monkeypatch, number, message):
    write_bytes(tmp_path / "a.bin", b"old")
    monkeypatch.setattr(os, "fsync", failing(number))
    with pytest.raises(StoreError, match=message):
        write_bytes(tmp_path / "a.bin", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]
    assert (tmp_path / "a.bin").read_bytes() == b"old"


@pytest.mark.parametrize(
    ("number", "word"), [(errno.EFBIG, "larger than"), (errno.EDQUOT, "quota"), (errno.ENOSPC, "disk full")]
)
def test_errors_of_writers_outside_python_are_told_by_their_words(tmp_path, monkeypatch, number, word):
    def save(tensors, path, metadata):
        raise RuntimeError(f"Error while serializing: I/O error: {os.strerror(number)} (os error {number})")

    monkeypatch.setattr("recam.tensors.save_file", save)
    with pytest.raises(StoreError, match=word):
        save_tensors(tmp_path / "a.safetensors", {"x": torch.zeros(1)}, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("inner", ["", "x.csv", "deep/er/x.csv"])
def test_a_place_below_a_file_is_told_before_and_while_writing(tmp_path, inner):
    (tmp_path / "afile").write_text("mine")
    place = tmp_path / "afile" / inner
    with pytest.raises(StoreError, match=r"afile is a file; name a folder\.$"):
        require_folder(place)
    if inner:
        with pytest.raises(StoreError, match=r"afile is a file; name a folder\.$"):
            write_bytes(place, b"x")
    assert (tmp_path / "afile").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["afile"]


def test_a_folder_in_the_place_of_a_file(tmp_path):
    (tmp_path / "x").mkdir()
    with pytest.raises(StoreError, match="x is a folder; name a file"):
        write_bytes(tmp_path / "x", b"")


def test_folders_that_are_still_to_be_made_are_none_of_anybodys_business(tmp_path):
    require_folder(tmp_path / "new" / "er")
    assert not list(tmp_path.iterdir())


def test_long_names(tmp_path):
    write_bytes(tmp_path / ("x" * 250), b"fits")  # although the temporary name beside it would not
    assert [len(path.name) for path in tmp_path.iterdir()] == [250]
    with pytest.raises(StoreError, match="File name too long"):
        write_bytes(tmp_path / ("x" * 300), b"")
    with pytest.raises(StoreError, match="longer than this disk allows"):
        require_folder(tmp_path / ("x" * 300))


def test_names_that_no_file_can_have(tmp_path):
    for name in ("a\0b", "x" * 300, "\ud800"):
        with pytest.raises(DataError, match="cannot be the name of a file"):
            checked_path(tmp_path / name)
        with pytest.raises(StoreError):
            write_bytes(tmp_path / "in" / name / "x", b"")
    with pytest.raises(RecipeError, match="cannot be the name of a file"):
        checked_path("x" * 5000, RecipeError)
    assert checked_path(tmp_path / "missing" / "too") == tmp_path / "missing" / "too"


def test_home_folders():
    assert expand_home("~/x") == Path.home() / "x"
    with pytest.raises(
        DataError, match=r"~nobody-of-that-name/x: no user of that name has a home folder here\. Write the whole path"
    ):
        expand_home("~nobody-of-that-name/x")


def test_an_error_of_another_file_is_not_told_of_this_one(tmp_path):
    with (
        pytest.raises(StoreError, match=r"a\.bin cannot be written, as .*gone\.jpg fails"),
        atomic_write(tmp_path / "a.bin"),
    ):
        (tmp_path / "gone.jpg").read_bytes()


def test_errors_that_are_not_about_writing_pass(tmp_path):
    with pytest.raises(ZeroDivisionError), atomic_write(tmp_path / "a.bin"):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())
