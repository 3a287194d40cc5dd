"""What a stage is given: images shared among processes."""

import os
import signal
from types import SimpleNamespace

import pytest

from recam.engine.compute import ComputeSettings
from recam.engine.tasks import Pace, Plain
from recam.engine.work import Work
from recam.errors import DataError, StoreError
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


def _refuse_odd(number):
    if number % 2:
        raise DataError(f"{number} is odd")
    _DONE.append(number)


_DONE = []


@pytest.mark.parametrize("processes", [False, True])
def test_bad_images_hold_up_none_of_the_others_and_are_all_named(work, processes):
    _DONE.clear()
    with pytest.raises(DataError, match=r"(?s)refined/cam\+crf: 2 images cannot be used.*1 is odd\n  3 is odd$"):
        work.each(range(5), Plain(_never, _refuse_odd), processes)
    assert ([] if processes else [0, 2, 4]) == _DONE  # done in processes of their own
    with pytest.raises(DataError, match=r"^1 is odd$"):
        work.each(range(3), Plain(_never, _refuse_odd), processes)


def test_where_all_images_are_bad_it_does_not_try_them_all(work):
    tried = []

    def refuse(number):
        tried.append(number)
        raise DataError("bad")

    with pytest.raises(DataError, match="100 images cannot be used"):
        work.each(range(1000), Plain(_never, refuse))
    assert len(tried) == 100


def test_portions_take_about_as_long_as_is_wanted_and_are_few_at_the_end():
    pace = Pace(hands=2)
    assert pace.size(left=1000) == 1  # nothing is known
    pace.note(items=1, seconds=0.5)
    assert pace.size(left=1000) == 10  # of half a second each: five seconds
    assert pace.size(left=12) == 3  # a quarter of what is left
    pace.note(items=99, seconds=0.0)
    assert pace.size(left=1000) == 64
    assert Pace(hands=4).size(left=1) == 1
