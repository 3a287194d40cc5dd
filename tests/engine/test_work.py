"""What a stage is given: images shared among processes."""

import os
import signal
from types import SimpleNamespace

import pytest

from recam.engine.compute import ComputeSettings
from recam.engine.tasks import Plain
from recam.engine.work import Work
from recam.errors import StoreError
from recam.runfolder.store import StageFolder


@pytest.fixture
def work(tmp_path):
    accelerator = SimpleNamespace(process_index=0, num_processes=1, is_main_process=True)
    return Work(None, StageFolder("refined/cam+crf", tmp_path, "key"), {}, accelerator, ComputeSettings(workers=2))


def _never(number):
    return False


def _die_at_three(number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_is_ended_from_outside_is_told_with_a_way_out(work):
    with pytest.raises(
        StoreError, match=r"refined/cam\+crf: one of 2 worker processes was ended .* Set compute\.workers to fewer"
    ):
        work.each(range(8), Plain(_never, _die_at_three), processes=True)


def _interrupt(number):
    os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_is_for_the_process_that_workers_work_for(work):
    work.each(range(4), Plain(_never, _interrupt), processes=True)
