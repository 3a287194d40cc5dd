"""What a run reports while it works, and its status as other processes read it."""

import json
import multiprocessing
import os
import re

import pytest

from recam.errors import StoreError
from recam.progress import Progress, log_line, log_values
from recam.runfolder import journal
from recam.runfolder.journal import keep_journal
from recam.runfolder.status import read_status
from recam.runfolder.store import RunFolder, write_json

KEY = "a" * 16


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(journal.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def run(tmp_path, tiny_run):
    """A run that names three stages: one finished after a minute, planned to take half of one; two still open."""
    folder = RunFolder(tmp_path / "run")
    settings = json.loads((tiny_run / "run.json").read_text())
    names = ("train/cam", "maps/cam", "masks")
    settings["stages"] = {name: {"key": KEY, "label": {}} for name in names}
    write_json(folder.root / "run.json", settings)
    planned = {name: {"key": KEY, "seconds": 30.0 * (place + 1)} for place, name in enumerate(names)}
    write_json(folder.root / "plan.json", {"stages": planned})
    stage = folder.open_stage("train/cam", KEY)
    stage.begin({})
    stage.finish({"seconds": 60.0, "peak_memory_mb": 1.0, "results": {}})
    return folder


def work(kept, clock):
    """As a run does that has made its first stage and half of its second."""
    kept.expect({"train/cam": 30.0, "maps/cam": 60.0, "masks": 90.0})
    kept.begin("train/cam", False)
    kept.end("train/cam", 60.0)
    kept.begin("maps/cam", True)
    with Progress("maps/cam", total=120) as shown:
        clock[0] += 40.0
        shown.advance(60, note="half")


def test_a_run_that_is_worked_on(run, clock):
    with run.lock(), keep_journal(run.root) as kept:
        work(kept, clock)
        found = read_status(run.root)
    assert (found.state, found.process) == ("works", f"process {os.getpid()}")
    assert found.now == "stage 2 of 3, maps/cam: 60/120 images, 1.5 images/s, 0.7 min left, half"
    # 40 s for the other half, and 90 s that will be 180, since the first stage took twice as long as planned.
    assert found.left == pytest.approx(220)
    assert [(stage.name, stage.state, stage.minutes, stage.planned) for stage in found.stages] == [
        ("train/cam", "finished", 1.0, 0.5),
        ("maps/cam", "works", None, 1.0),
        ("masks", "open", None, 1.5),
    ]
    text = str(found)
    assert "1 of 3 stages are finished" in text
    assert "about 3.7 min left in all" in text


def test_a_run_that_nobody_works_on(run):
    found = read_status(run.root)
    assert (found.state, found.process, found.now, found.left) == ("stopped", "", "", None)
    assert "the same command goes on" in str(found)


def test_a_run_that_was_killed_is_not_worked_on(run):
    (run.root / "run.lock").write_text("process 1")
    assert read_status(run.root).state == "stopped"


def test_a_finished_run(tiny_run):
    found = read_status(tiny_run)
    assert found.state == "finished"
    assert {stage.state for stage in found.stages} == {"finished"}
    assert json.loads(json.dumps(found.as_dict()))["state"] == "finished"


def fail(run, clock):
    with keep_journal(run.root) as kept:
        work(kept, clock)
        log_line("two\nlines")
        log_values("train/cam", 3, {"loss": 0.5})
        raise ValueError("no")


def test_messages_and_losses_are_kept(run, clock):
    with pytest.raises(ValueError, match="no"):
        fail(run, clock)
    time_of_day = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d "
    lines = [re.sub(time_of_day, "", line) for line in (run.root / "run.log").read_text().splitlines()]
    assert lines == [
        f"process {os.getpid()} begins",
        "train/cam",
        "train/cam is finished after 1.00 min",
        "maps/cam resumes",
        "two",
        "    lines",
        "ended by ValueError: no",
    ]
    values = json.loads((run.root / "metrics.jsonl").read_text())
    assert (values["stage"], values["step"], values["loss"]) == ("train/cam", 3, 0.5)
    assert not (run.root / "progress.json").exists()


def test_a_copy_of_the_process_writes_nothing(run):
    with keep_journal(run.root) as kept:
        kept.begin("masks", False)
        child = multiprocessing.get_context("fork").Process(target=kept.message, args=("from a worker",))
        child.start()
        child.join()
    assert "from a worker" not in (run.root / "run.log").read_text()


def test_a_run_that_makes_nothing_leaves_its_folder_as_it_was(run):
    before = sorted(run.root.rglob("*"))
    with keep_journal(run.root) as kept:
        kept.expect({})
        log_line("every stage is up to date")
    assert sorted(run.root.rglob("*")) == before


def test_what_cannot_be_written_stops_nothing(run, monkeypatch):
    def full(*arguments):
        raise StoreError("the disk is full")

    monkeypatch.setattr(journal, "write_json", full)
    (run.root / "run.log").mkdir()
    with keep_journal(run.root) as kept:
        kept.begin("masks", False)
        kept.end("masks", 1.0)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"process": 1, "time": "x", "stage": ""}'])
def test_damaged_progress_is_none(run, content):
    with run.lock():
        (run.root / "progress.json").write_text(content)
        found = read_status(run.root)
    assert (found.state, found.now, found.age) == ("works", "", None)


def test_without_a_plan_the_time_left_is_not_known(run, clock):
    with keep_journal(run.root) as kept:
        kept.expect({"masks": None})
        kept.begin("masks", False)
        assert str(kept.overall(None)) == "stage 1 of 1"


def test_no_run(tmp_path):
    with pytest.raises(StoreError, match="no run folder"):
        read_status(tmp_path)
