"""The line on skipped tests names each kind with its way out, and a required kind that was skipped is found."""

import os
import subprocess
import sys

from skipped import BROWSER, GOLDEN, describe, forbidden

REASONS = [
    f"Skipped: {GOLDEN}: set RECAM_GOLDEN",
    f"Skipped: {GOLDEN}: set RECAM_GOLDEN",
    f"Skipped: {BROWSER} (looked for chromium)",
    "Skipped: needs the extra onnx",
    "Skipped: gives back memory that glibc keeps",
]


def test_the_line_counts_by_kind_and_says_how_to_run_them():
    line = describe(REASONS)
    assert line.count("\n") == 0
    assert "2 golden (set RECAM_GOLDEN" in line
    assert "1 browser (install Chromium" in line
    assert "1 extra (pip install" in line
    assert "1 other (gives back memory" in line
    assert describe([]) == ""


def test_what_must_not_be_skipped_is_named():
    assert forbidden(REASONS, "browser,golden") == ["browser", "golden"]
    assert forbidden(REASONS[3:], "browser,golden") == []
    assert forbidden(REASONS, "") == []


def test_a_session_fails_where_a_required_test_was_skipped(tmp_path):
    """pytest itself, with this suite's hooks, on one golden test without its folder."""
    (tmp_path / "test_it.py").write_text(f"import pytest\n\ndef test_it():\n    pytest.skip('{GOLDEN}: none here')\n")
    (tmp_path / "conftest.py").write_text("from skip_hooks import *\n")
    here = str(__file__).rpartition("/")[0]
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    for required, code in (("", 0), ("golden", 1)):
        done = subprocess.run(
            words, env=_environment(here, required), capture_output=True, text=True, check=False, cwd=tmp_path
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "skipped: 1 golden (set RECAM_GOLDEN" in done.stdout


def _environment(path, required):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    return kept | {"PYTHONPATH": os.pathsep.join([path, kept.get("PYTHONPATH", "")]), "RECAM_REQUIRE": required}
