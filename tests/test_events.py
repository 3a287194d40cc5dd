"""What a function receives of long work, and how several listeners share it."""

import pytest

import recam
from recam import progress as progress_module
from recam.events import Caller, Event, Several
from recam.progress import Overall, Progress, listener, log_line, log_values


class Knowing(Caller):
    """Knows the stage."""

    def __init__(self):
        super().__init__(lambda event: None)

    def overall(self, progress):
        return Overall(2, 4, 90)


@pytest.fixture
def heard():
    """Events of this thread's work."""
    events = []
    token = listener.set(Several([Caller(events.append), Knowing()]))
    yield events
    listener.reset(token)


def test_events_of_all_kinds_print_themselves(heard, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: clock[0])
    with Progress("maps/cam", total=8) as shown:
        clock[0] = 10.0
        shown.advance(2, note="loss 0.3")
    log_values("train/cam", 5, {"loss": 0.25, "epoch": 1})
    log_line("look here")
    progress, values, message = heard
    assert (progress.kind, progress.what, progress.done, progress.total, progress.unit) == (
        "progress", "maps/cam", 2, 8, "images",
    )  # fmt: skip
    assert (progress.speed, progress.left) == (0.2, 30.0)
    assert (progress.overall, values.step, dict(values.values)) == (Overall(2, 4, 90), 5, {"loss": 0.25, "epoch": 1})
    assert str(progress) == "maps/cam: 2/8 images, 0.5 min left, loss 0.3; stage 2 of 4, 1.5 min left in all"
    assert str(values) == "train/cam, step 5: loss 0.25, epoch 1"
    assert str(message) == "look here"


def test_of_several_listeners_the_first_that_knows_reports_the_stage(heard):
    with Progress("maps/cam", total=8) as shown:
        assert listener.get().overall(shown) == Overall(2, 4, 90)
        assert Several([]).overall(shown) is None
    event = Event("progress", "maps/cam", 2, 8, overall=Overall(2, 4, 90))
    assert str(event) == "maps/cam: 2/8 images; stage 2 of 4, 1.5 min left in all"


def test_a_run_reports_to_a_function_and_is_stopped_by_what_it_raises(tiny_settings, tmp_path):
    events = []

    def stop(event):
        events.append(event)
        if event.kind == "values":
            raise KeyboardInterrupt

    settings = {"recipe": "tiny", "output": tmp_path / "run", "settings": tiny_settings, "until": "train"}
    with pytest.raises(KeyboardInterrupt):
        recam.run(**settings, progress=stop)
    assert (events[-1].what, set(events[-1].values)) == ("train/cam", {"epoch", "loss", "images_per_second"})
    trained = [event for event in events if event.what == "train/cam" and event.kind == "progress"]
    assert {(event.overall.stage, event.overall.stages) for event in trained} == {(1, 2)}
    assert "KeyboardInterrupt" in (tmp_path / "run" / "run.log").read_text()
    assert listener.get() is None
    assert recam.run(**settings).made == ("train/cam", "train/recam")
