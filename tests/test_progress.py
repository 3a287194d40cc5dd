"""What is shown of long work, and when."""

import io

import pytest
from rich.console import Console

from recam import progress
from recam.progress import Overall, Progress, listener, log_line, log_values, minutes_text, track


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
    assert out.getvalue() == "seeds: 60/120 images, 2.0 images/s, 0.5 min left, loss 0.31\n"


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


class Recorder:
    """A listener that keeps what it receives, of work that is the second of four stages."""

    def __init__(self):
        self.texts, self.notes, self.values = [], [], []

    def message(self, text):
        self.texts.append(text)

    def advanced(self, shown, note):
        self.notes.append((shown.done, note))

    def measured(self, what, step, values):
        self.values.append((what, step, dict(values)))

    def overall(self, shown):
        return Overall(2, 4, 900.0)


@pytest.fixture
def received():
    found = Recorder()
    token = listener.set(found)
    yield found
    listener.reset(token)


def test_a_listener_receives_what_is_shown(told, received):
    out, clock = told
    with Progress("seeds", total=120) as shown:
        clock[0] = 20.0
        shown.advance(20, note="loss 0.31")
    log_line("look here")
    log_values("seeds", 3, {"loss": 0.31})
    assert received.notes == [(20, "loss 0.31")]
    assert received.texts == ["look here"]
    assert received.values == [("seeds", 3, {"loss": 0.31})]
    assert out.getvalue() == (
        "seeds: 20/120 images, 1.0 images/s, 1.7 min left, loss 0.31; stage 2 of 4, 15 min left in all\nlook here\n"
    )


def test_quiet_work_is_not_received(told, received):
    with Progress("seeds", total=3, quiet=True) as shown:
        shown.advance(3)
    assert received.notes == []


def test_a_terminal_has_a_bar_for_all_of_the_work(told, received, monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=out, width=200, force_terminal=True))
    with Progress("seeds", total=4) as shown:
        told[1][0] = 2.0
        shown.advance(4)
    assert "1/4" in out.getvalue()  # one stage is done
    assert "15 min left in all" in out.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"), [(24, "0.4 min"), (599, "10.0 min"), (720, "12 min"), (7199, "120 min"), (11160, "3.1 h")]
)
def test_minutes(seconds, text):
    assert minutes_text(seconds) == text
