"""The log: what is acknowledged is kept, what is torn is not, order decides, and undo goes by tab."""

import json

import pytest

from recam.errors import StoreError
from recam.review.decisions import Decisions, State, UndoError, only_reviewer

SET_A = '{"time": 1, "tab": "x", "ids": ["a"], "set": '
"""How a line begins that sets something of image a."""


def test_states_follow_from_the_lines(tmp_path):
    log = Decisions(tmp_path)
    assert log.add("one", ["a", "b"], verdict="accepted", source={"layer": "masks", "key": "k"}) == 1
    assert log.add("two", ["b"], verdict="rejected") == 2
    log.add("two", ["b"], labels=["cow"])
    assert (log.state("a").verdict, log.state("a").source.layer, log.state("a").tab) == ("accepted", "masks", "one")
    assert (log.state("b").verdict, log.state("b").labels, log.state("b").tab) == ("rejected", ("cow",), "two")
    assert log.state("c") == State()
    again = Decisions(tmp_path)
    assert again.decided() == log.decided()
    assert again.latest == 3
    assert [json.loads(line)["n"] for line in log.path.read_text().splitlines()] == [1, 2, 3]


def test_undo_goes_by_tab_and_gives_back_what_was_before(tmp_path):
    log = Decisions(tmp_path)
    log.add("one", ["a", "b"], verdict="accepted")
    log.add("one", ["a"], verdict="rejected")
    log.add("two", ["b"], verdict="rejected")
    assert [line.n for line in log.undo("one")] == [2]
    assert log.state("a").verdict == "accepted"
    assert [line.n for line in log.undo("one")] == [1]
    assert log.state("a") == State()
    assert log.state("b").verdict == "rejected"  # the other tab's line still counts
    with pytest.raises(UndoError, match="nothing to undo"):
        log.undo("one")
    assert Decisions(tmp_path).decided() == log.decided()


def test_redo_takes_back_undo_until_something_new_is_decided(tmp_path):
    log = Decisions(tmp_path)
    log.add("one", ["a"], verdict="accepted")
    log.add("one", ["b"], verdict="accepted")
    log.undo("one")
    log.undo("one")
    assert [line.n for line in log.redo("one")] == [1]
    assert set(log.changes(4)) == {"a"}
    assert [line.n for line in log.redo("one")] == [2]
    assert (log.state("a").verdict, log.state("b").verdict) == ("accepted", "accepted")
    assert [line.n for line in log.undo("one")] == [2]  # as if nothing had been undone
    assert Decisions(tmp_path).decided() == log.decided()
    with pytest.raises(UndoError, match="nothing to redo"):
        log.redo("two")
    log.add("one", ["c"], verdict="rejected")
    with pytest.raises(UndoError, match="nothing to redo"):
        log.redo("one")


def test_decisions_that_are_one_are_undone_and_redone_as_one(tmp_path):
    log = Decisions(tmp_path)
    log.add("one", ["a"], verdict="rejected")
    log.add_together("one", [(["a", "b"], {"verdict": "accepted"}), (["c"], {"verdict": "rejected"})])
    assert [line.n for line in log.undo("one")] == [2, 3]
    assert {name: state.verdict for name, state in log.decided().items()} == {"a": "rejected", "b": "open", "c": "open"}
    log.redo("one")
    again = Decisions(tmp_path)
    assert again.damaged == 0
    assert {name: state.verdict for name, state in again.decided().items()} == {
        "a": "accepted",
        "b": "accepted",
        "c": "rejected",
    }


@pytest.mark.parametrize(
    "line",
    [
        {"n": 2, "time": 1, "tab": "one", "ids": ["a"], "set": {"verdict": "rejected"}, "first": 9},
        {"n": 2, "time": 1, "tab": "one", "redo": 2},
        {"n": 2, "time": 1, "tab": "one", "redo": -5},
        {"n": 2, "time": 1, "tab": "one", "undo": 77},
    ],
)
def test_lines_that_name_no_line_count_for_nothing(tmp_path, line):
    log = Decisions(tmp_path)
    log.add("one", ["a"], verdict="accepted")
    with log.path.open("a") as file:
        file.write(json.dumps(line) + "\n")
    again = Decisions(tmp_path)
    assert again.state("a").verdict == "accepted"
    with pytest.raises(UndoError, match="nothing to redo"):
        again.redo("one")
    assert [each.n for each in again.undo("one")] == [1]
    assert again.state("a") == State()


def test_changes_name_what_was_decided_and_undone_since(tmp_path):
    log = Decisions(tmp_path)
    log.add("one", ["a"], verdict="accepted")
    log.add("one", ["b"], verdict="accepted")
    assert set(log.changes(0)) == {"a", "b"}
    assert set(log.changes(1)) == {"b"}
    log.undo("one")
    log.undo("one")
    assert {name: state.verdict for name, state in log.changes(2).items()} == {"a": "open", "b": "open"}
    assert log.changes(4) == {}


def test_a_torn_last_line_is_cut_off_and_damage_in_the_middle_is_left_out(tmp_path):
    log = Decisions(tmp_path)
    log.add("one", ["a"], verdict="accepted")
    whole = log.path.read_bytes()
    log.path.write_bytes(whole + b'{"n": 2, "time": 1.0, "tab": "one", "ids": ["a"], "set": {"verd')
    again = Decisions(tmp_path)
    assert (again.latest, again.damaged, again.state("a").verdict) == (1, 0, "accepted")
    assert log.path.read_bytes() != whole  # reading changes nothing: a server may be writing beside
    again.add("one", ["b"], verdict="rejected")
    lines = log.path.read_bytes().splitlines()
    assert lines[0] + b"\n" == whole
    assert json.loads(lines[1])["ids"] == ["b"]
    log.path.write_bytes(
        whole
        + b"no json\n"
        + b'{"n": 3, "time": 1.0, "tab": "x", "ids": ["c"], "set": {"verdict": "perhaps"}}\n'
        + lines[1]
        + b"\n"
    )
    edited = Decisions(tmp_path)
    assert (edited.damaged, edited.latest) == (2, 4)
    assert (edited.state("a").verdict, edited.state("b").verdict, edited.state("c").verdict) == (
        "accepted",
        "rejected",
        "open",
    )


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "null",
        "1",
        '"text"',
        "NaN",
        "[" * 50_000,
        '{"a":' * 50_000,
        '{"time": 1, "tab": "x", "ids": ["a"], "set": []}',
        '{"time": 1, "tab": "x", "ids": "a", "set": {"verdict": "rejected"}}',
        '{"time": 1, "tab": "x", "ids": ["a"], "set": {"verdict": "rejected", "mask": "../../../secret.png"}}',
        '{"time": 1, "tab": "x", "ids": ["a"], "set": {"verdict": "rejected", "mask": "/secret.png"}}',
        SET_A + '{"verdict": "rejected", "source": {"layer": "../../secret", "key": "k"}}}',
        SET_A + '{"verdict": "rejected", "source": {"layer": "/etc", "key": "k"}}}',
        '{"time": 1, "tab": "x", "ids": ["a"], "set": {"source": {"layer": "m", "class_thresholds": {"cow": NaN}}}}',
        '{"time": 1, "tab": "x", "ids": ["a"], "set": {"labels": [null]}}',
    ],
    ids=range(15),
)
def test_lines_that_are_no_decision_count_for_nothing_and_are_counted(tmp_path, line):
    log = Decisions(tmp_path)
    log.add("one", ["a"], verdict="accepted")
    with log.path.open("a") as file:
        file.write(f"{line}\n")
    again = Decisions(tmp_path)
    assert (again.damaged, again.latest, again.state("a")) == (1, 2, log.state("a"))
    assert again.add("one", ["b"], verdict="rejected") == 3
    assert Decisions(tmp_path).state("b").verdict == "rejected"


def test_labels_since_a_mask_was_saved(tmp_path):
    """None stands for the labels of the data set; a new mask begins anew, undo takes a line out of it."""
    log = Decisions(tmp_path)
    log.add("t", ["a"], labels=["cow"])
    assert log.state("a").earlier == ()  # there is no mask yet
    log.add("t", ["a"], mask="one.png", verdict="accepted")
    log.add("t", ["a"], labels=["cow", "dog"])
    log.add("t", ["a"], labels=[])
    assert log.state("a").earlier == (("cow",), ("cow", "dog"))
    log.undo("t")
    assert log.state("a").earlier == (("cow",),)
    log.add("t", ["a"], mask="two.png", verdict="accepted")
    assert log.state("a").earlier == ()
    log.add("t", ["b"], mask="three.png")
    log.add("t", ["b"], labels=["cow"])
    assert log.state("b").earlier == (None,)
    assert "earlier" not in log.state("b").model_dump(mode="json")
    assert Decisions(tmp_path).decided() == log.decided()


def test_what_cannot_be_written_is_not_acknowledged(tmp_path, monkeypatch):
    log = Decisions(tmp_path)
    log.add("one", ["a"], verdict="accepted")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreError, match="No space left on device"):
        log.add("one", ["b"], verdict="accepted")
    assert log.state("b").verdict == "open"
    assert len(log.path.read_bytes().splitlines()) == 1


def test_one_server_a_run(tmp_path):
    with only_reviewer(tmp_path), pytest.raises(StoreError, match="open in another"), only_reviewer(tmp_path):
        pass
    with only_reviewer(tmp_path):
        pass


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "null",
        '"x"',
        "7",
        "[" * 50_000,
        "\\ud800",
        '{"n": 1, "time": 0, "tab": "one", "ids": ["a"], "set": {"mask": "../../weights.png"}}',
        SET_A + '{"source": {"layer": "x", "class_thresholds": {"cat": NaN}}}}',
    ],
)
def test_lines_that_are_no_decisions_count_for_nothing(tmp_path, line):
    Decisions(tmp_path).add("one", ["a"], verdict="accepted")
    with (tmp_path / "decisions.jsonl").open("a") as log:
        log.write(f"{line}\n")
    Decisions(tmp_path).add("one", ["b"], verdict="rejected")
    found = Decisions(tmp_path)
    assert (found.damaged, found.latest) == (1, 3)
    assert [found.state(name).verdict for name in "ab"] == ["accepted", "rejected"]
