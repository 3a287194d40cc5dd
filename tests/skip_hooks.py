"""pytest's hooks that report what was skipped; see `skipped`."""

import os

import pytest

from skipped import describe, forbidden


def _reasons(config):
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    reports = reporter.stats.get("skipped", []) if reporter else []
    return [report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr) for report in reports]


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter, config):
    """One line at the end: what was skipped, and how to have it run."""
    reasons = _reasons(config)
    if reasons:
        terminalreporter.write_line(f"skipped: {describe(reasons)}")
    missed = forbidden(reasons, os.environ.get("RECAM_REQUIRE", ""))
    if missed:
        terminalreporter.write_line(
            f"FAILED: RECAM_REQUIRE names {', '.join(missed)}, and such tests were skipped", red=True
        )


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session, exitstatus):
    """A session that had to run a kind of test and skipped one of it has failed."""
    if exitstatus == 0 and forbidden(_reasons(session.config), os.environ.get("RECAM_REQUIRE", "")):
        session.exitstatus = 1
