"""What is shown of long work, and when."""

import io

import pytest
from rich.console import Console

from recam import progress
from recam.progress import Progress, track


@pytest.fixture
def told(monkeypatch):
    """A log, not a terminal, and a clock that a test sets."""
    out, clock = io.StringIO(), [0.0]
    monkeypatch.setattr(progress, "console", Console(file=out, width=200))
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    return out, clock


def test_a_log_gets_a_line_now_and_then(told):
    out, clock = told
    with Progress("seeds", total=120, done=20) as shown:
        clock[0] = 10.0
        shown.advance(20)
        assert out.getvalue() == ""
        clock[0] = 20.0
        shown.advance(20, note="loss 0.31")
    assert out.getvalue() == "seeds: 60/120 images, 2.0 images/s, 0.5 min left loss 0.31\n"


def test_quiet_work_shows_nothing(told):
    out, clock = told
    for _ in track(range(3), "seeds", 3, quiet=True):
        clock[0] += 60
    assert out.getvalue() == ""


def test_a_bar_that_waits_is_not_shown_for_what_is_over_at_once(told, monkeypatch):
    _, clock = told
    out = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=out, width=200, force_terminal=True))
    assert list(track("abc", "files", 3, after=1.0)) == list("abc")
    assert out.getvalue() == ""
    for _ in track("abc", "files", 3, after=1.0):
        clock[0] += 0.6
    assert "files" in out.getvalue()
    assert "3/3" in out.getvalue()
