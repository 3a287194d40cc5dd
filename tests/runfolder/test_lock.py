"""One process at a time in a run folder."""

import os

import pytest

from named_stages import name_stages
from recam.errors import StoreError
from recam.runfolder.store import RunFolder


def test_one_process_at_a_time(tmp_path):
    run = RunFolder(tmp_path / "run")
    name_stages(run)
    with run.lock():
        with (
            pytest.raises(StoreError, match=rf"another process \(process {os.getpid()}\) is working in .*run"),
            RunFolder(run.root).lock(),
        ):
            pass
        # A look at the folder is no work in it.
        assert RunFolder(run.root).done_stages() == []
    with RunFolder(run.root).lock():
        pass


def test_a_lock_is_left_when_the_work_fails(tmp_path):
    run = RunFolder(tmp_path / "run")
    with pytest.raises(ZeroDivisionError), run.lock():
        raise ZeroDivisionError
    with run.lock():
        pass
