"""What no net of ours catches: one line, a log with the traceback, and an exit code of its own."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from recam import cli, crash_log


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """``command(error, "recipes")`` → (exit code, standard error), where listing recipes, or a run, raises `error`."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))

    def call(error, *words):
        def fail(*args, **options):
            raise error

        def refuse():
            raise error

        monkeypatch.setattr("recam.cli.recipe_names", refuse)
        monkeypatch.setattr("recam.pipeline.run.open_data", fail)
        monkeypatch.setattr(sys, "argv", ["recam", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, capsys.readouterr().err

    return call


def logs(folder):
    return sorted(Path(folder).glob("recam-error-*.log"))


def test_an_unexpected_error_is_a_line_and_a_log(command, tmp_path):
    code, err = command(LookupError("no such thing\nin two lines"), "recipes")
    assert code == 70
    assert err.startswith(
        "Unexpected error: LookupError: no such thing. recam did not expect this. The traceback is in "
    )
    assert len(err.splitlines()) == 1
    (log,) = logs(tmp_path / "temporary")
    assert str(log) in err
    text = log.read_text()
    assert "Traceback (most recent call last)" in text
    assert "LookupError: no such thing\nin two lines" in text
    assert "command: recam recipes\n" in text
    assert log.stat().st_mode & 0o077 == 0


def test_the_log_lies_in_the_run_where_there_is_one(command, copy_of_tiny_run, tmp_path):
    code, err = command(LookupError("x"), "run", "--data", "scenes:", "--recipe", "tiny", "-o", tmp_path / "new")
    assert code == 70
    assert not logs(tmp_path / "new")  # no run yet
    assert len(logs(tmp_path / "temporary")) == 1
    code, err = command(LookupError("x"), "run", "--data", "scenes:", "--recipe", "tiny", "-o", copy_of_tiny_run)
    assert code == 70
    assert [str(log) in err for log in logs(copy_of_tiny_run)] == [True]
    assert len(logs(tmp_path / "temporary")) == 1


def test_a_log_that_cannot_be_written_is_no_second_error(command, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    code, err = command(LookupError("x"), "recipes")
    assert code == 70
    assert "No log could be written" in err


def test_an_error_that_cannot_be_printed(tmp_path, monkeypatch):
    class Mute(Exception):
        def __str__(self):
            raise ValueError

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(crash_log, "_describe", lambda error: str(error))
    log = crash_log.write_crash_log(Mute())
    assert log is not None
    assert log.read_text() == "Mute (its traceback cannot be formatted)\n"


def test_out_of_memory_has_advice(command):
    code, err = command(MemoryError(), "recipes")
    assert code == 70
    assert "out of memory (MemoryError). Take smaller batches, images or fewer workers." in err


def test_interrupts(command):
    code, err = command(KeyboardInterrupt(), "recipes")
    assert (code, err) == (130, "Interrupted: to resume, run the same command.\n")


def test_a_reader_that_has_gone_is_told_nothing(command):
    code, err = command(BrokenPipeError(32, "Broken pipe"), "recipes")
    assert (code, err) == (1, "")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    code = "import sys, recam.cli; sys.argv[1:] = ['recipes']; recam.cli.main()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""


def test_names_that_are_no_text_are_told(command):
    from recam.errors import DataError

    code, err = command(DataError("photo \udcff.jpg is damaged"), "recipes")
    assert (code, err) == (2, "DataError: photo \\xff.jpg is damaged\n")


def test_numbers_of_the_command_line(command):
    for words in ("nan", "1,inf", "one"):
        code, err = command(None, "predict", "run", "photos", "-o", "out", "--scales", words)
        assert code == 2
        assert err.startswith(f"RecipeError: {words!r}")
