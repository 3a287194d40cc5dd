"""What is tried of a stage's work, and what that comes to: seconds of a clock that the turns themselves move."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from recam.engine import forecast as module
from recam.engine.amount import Amount
from recam.engine.bench import Bench
from recam.engine.compute import ComputeSettings
from recam.engine.forecast import EACH, Trials
from recam.types import Sample


class Clock:
    now = 100.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    monkeypatch.setattr(module, "count_cores", lambda: 4)
    monkeypatch.setattr(module, "count_pool", lambda compute, processes: 4 // processes)
    return made


@pytest.fixture
def trials(tmp_path, clock):
    accelerator = SimpleNamespace(device=SimpleNamespace(type="cpu"), num_processes=1)
    samples = [Sample(str(index), (0,), None) for index in range(3)]
    return Trials(Bench(None, None, samples, accelerator, ComputeSettings(workers=0), tmp_path))


def amount(clock, turns, seconds, begin=0.0, part=None, what="turn", **more):
    """Work of which setting up takes `begin` seconds, and each turn the next of `seconds`, the last one again and
    again."""
    left = list(seconds)
    done = []

    def set_up(bench):
        clock.now += begin

        def turn(sample):
            clock.now += left.pop(0) if len(left) > 1 else left[0]
            done.append(sample.id)
            return part

        return turn

    return replace(Amount(what, turns, set_up, **more), given=more.get("given", what)), done


def test_turns_times_seconds_of_one_without_the_first(trials, clock):
    work, done = amount(clock, 10, [1.0, 0.25], begin=2.0)
    found = trials.forecast([work], memory=5)
    assert found.seconds == pytest.approx(2.0 + 10 * 0.25)
    assert (found.work[0].what, found.work[0].turns, found.work[0].seconds) == ("turn", 10, pytest.approx(0.25))
    assert done[:4] == ["0", "1", "2", "0"]  # one image after the other
    assert 0.25 * (len(done) - 1) >= EACH
    assert found.memory >= 5


def test_a_slow_first_turn_stands_for_all(trials, clock):
    work, done = amount(clock, 10, [1.6])
    assert trials.forecast([work], 0).seconds == pytest.approx(16)
    assert len(done) == 1


def test_on_a_gpu_a_slow_first_turn_loads_kernels_and_stands_for_none(trials, clock):
    trials.bench.accelerator.device.type = "cuda"
    trials.bench.sync = trials.bench.forget_gpu_peak = lambda: None
    trials.bench.gpu_peak = lambda: 0.0
    work, _ = amount(clock, 10, [9.0, 0.5])
    assert trials.forecast([work], 0).seconds == pytest.approx(5)
    trials.budget = 0.0
    work, done = amount(clock, 10, [9.0, 0.25, 7.0], what="after the time for trials")
    assert trials.forecast([work], 0).seconds == pytest.approx(2.5)
    assert len(done) == 2


def test_part_of_a_turn_counts_as_that(trials, clock):
    work, _ = amount(clock, 3, [2.0], part=0.25)
    assert trials.forecast([work], 0).seconds == pytest.approx(3 * 2.0 / 0.25)


@pytest.mark.parametrize(("spread", "seconds"), [("", 8.0), ("pool", 2.0), ("threads", 2.0)])
def test_work_is_shared_among_four_cores(trials, clock, spread, seconds):
    assert trials.forecast([amount(clock, 16, [0.5], spread=spread)[0]], 0).seconds == pytest.approx(seconds)


@pytest.mark.parametrize(("workers", "loading", "seconds"), [(0, 0.1, 10 + 4), (2, 0.1, 10), (2, 0.6, 12)])
def test_batches_are_loaded_beside_the_steps(trials, clock, workers, loading, seconds):
    """Ten steps of a second each, forty images: the processes that load them have a second for each step."""
    trials.bench.compute = ComputeSettings(workers=workers)
    step, _ = amount(clock, 10, [1.0], what="step")
    load, _ = amount(clock, 40, [loading], what="load", spread="loader")
    assert trials.forecast([step, load], 0).seconds == pytest.approx(seconds)


def test_processes_share_a_run(trials, clock):
    trials.bench.accelerator.num_processes = 2
    assert trials.forecast([amount(clock, 10, [0.5])[0]], 0).seconds == pytest.approx(2.5)


def test_equal_work_is_tried_once(trials, clock):
    first, done = amount(clock, 2, [0.5], given={"a": 1})
    again, not_done = amount(clock, 8, [9.0], given={"a": 1})
    assert trials.forecast([first], 0).seconds == pytest.approx(1)
    assert trials.forecast([again], 0).seconds == pytest.approx(4)
    assert done
    assert not not_done


def test_when_the_time_for_trials_is_used_up_a_single_turn_is_taken(trials, clock):
    trials.budget = 1.0
    trials.forecast([amount(clock, 1, [0.9], what="first")[0]], 0)
    work, done = amount(clock, 3, [0.5], what="second")
    assert trials.forecast([work], 0).seconds == pytest.approx(1.5)
    assert len(done) == 1


def test_no_turn_is_tried_of_work_that_is_not_there(trials, clock):
    work, done = amount(clock, 0, [1.0], begin=1.0)
    assert trials.forecast([work], 7) == module.Forecast(0, 7, 0, 0, (module.Piece("turn", 0, 0.0),))
    assert not done


def test_what_cannot_be_tried_is_reported_with_the_rest(trials, clock):
    def fails(bench):
        raise ValueError("no such network\nat all")

    good, _ = amount(clock, 4, [0.5], what="good")
    found = trials.forecast([Amount("broken", 3, fails), good], 0)
    assert found.seconds == pytest.approx(2)
    assert found.problem == "broken: ValueError: no such network"


def test_disk_is_what_a_turn_writes_times_the_turns_whose_files_stay(trials, clock):
    def writes(size):
        def set_up(bench):
            bench.folder.mkdir(parents=True)

            def turn(sample):
                clock.now += 1
                (bench.folder / "file").write_bytes(b"x" * size)

            return turn

        return set_up

    every, last = Amount("image", 30, writes(100)), Amount("checkpoint", 5, writes(1000), files=1)
    assert trials.forecast([every, last], 0).disk == 30 * 100 + 1000


def test_memory_of_a_turn_is_seen(trials, clock):
    def set_up(bench):
        def turn(sample):
            clock.now += 1
            bytearray(300 * 2**20)[::4096]

        return turn

    found = trials.forecast([Amount("large", 1, set_up, holds=2**20)], 0)
    assert 290 < found.memory / 2**20 < 420
