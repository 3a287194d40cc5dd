"""Each real folder is visited once, and what is left out is counted."""

import os

import pytest

from recam.data.file_tree import is_system_name, read_tree, unread_endings


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.mark.parametrize(
    "name", [".DS_Store", "._x.jpg", "Thumbs.db", "DESKTOP.INI", "@eaDir", "__MACOSX", ".ipynb_checkpoints"]
)
def test_what_systems_leave_behind(tmp_path, name):
    touch(tmp_path, f"cat/{name}/x.jpg", "cat/y.jpg")
    tree = read_tree(tmp_path)
    assert is_system_name(name)
    assert (tree.files, tree.folders, tree.system) == (("cat/y.jpg",), ("cat",), (f"cat/{name}",))
    assert [(kind.kind, kind.count) for kind in tree.passed_over()] == [("system-file", 1)]


def test_links_are_followed_once_and_never_instead_of_the_folder_itself(tmp_path):
    touch(tmp_path / "data", "b/1.jpg", "c/2.jpg")
    touch(tmp_path / "pool", "3.jpg")
    for place, target in {"a": "b", "b/up": "..", "b/self": ".", "pool": "../pool"}.items():
        (tmp_path / "data" / place).symlink_to(target)
    (tmp_path / "pool" / "back").symlink_to("../data")
    tree = read_tree(tmp_path / "data")
    assert tree.files == ("b/1.jpg", "c/2.jpg", "pool/3.jpg")
    assert tree.links == ("a", "b/self", "b/up", "pool/back")
    assert [(kind.kind, kind.count, kind.examples) for kind in tree.passed_over()] == [
        ("link", 4, ("a", "b/self", "b/up"))
    ]


def test_a_link_in_a_circle_is_a_file(tmp_path):
    touch(tmp_path, "1.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    assert read_tree(tmp_path).files == ("1.jpg", "loop.jpg")


def test_a_folder_that_may_not_be_read(tmp_path, monkeypatch):
    touch(tmp_path, "open/1.jpg", "closed/2.jpg")
    scandir = os.scandir

    def guarded(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    tree = read_tree(tmp_path)
    assert tree.files == ("open/1.jpg",)
    assert [(p.kind, p.where) for p in tree.problems] == [("unreadable-folder", str(tmp_path / "closed"))]
    assert "may not be read (Permission denied). Give read permission." in tree.problems[0].message


def test_endings_are_counted():
    (kind,) = unread_endings(["a.GIF", "b.gif", "c.heic", "d", "e.gif"], "Save it.")
    counted = "[unread-ending] 5: endings that are not read (.gif 3, .heic 1, none 1)."
    assert str(kind) == f"{counted} Save it. First: a.GIF, b.gif, c.heic, …"
    assert unread_endings([], "") == []
