"""The report as the last stage of a run, written where anything in it has changed."""

from __future__ import annotations

from recam.progress import log_line
from recam.report import page
from recam.report.reading import read_runs
from recam.runfolder.integrity import reopen_damaged
from recam.runfolder.reports import reports
from recam.runfolder.store import RunFolder


@reports.register("report")
def write_report_stage(folder: RunFolder) -> None:
    """Write ``report/report.html`` and its figures into the run."""
    stage = page.open_report(read_runs([folder.root])[0])
    reopen_damaged(folder, {stage.name: stage.key}, False, log_line)
    if not stage.is_done:
        page.write_report(folder.root)
