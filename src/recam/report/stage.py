"""The report as the last stage of a run, written where anything in it has changed."""

from __future__ import annotations

import time

from recam.progress import say
from recam.report.page import NAME, VERSION, write_report
from recam.runfolder.integrity import reopen_damaged
from recam.runfolder.reports import reports
from recam.runfolder.store import REPORT, RunFolder, make_key


@reports.register("report")
def write_report_stage(folder: RunFolder) -> None:
    """Write ``report/report.html`` and its figures into the run."""
    keys = folder.keys
    shown = {name: [keys[name], folder.stage(name).record["seconds"]] for name in folder.done_stages()}
    stage = folder.open_stage(REPORT, make_key({"version": VERSION, "stages": shown, "asked": list(keys)}))
    reopen_damaged(folder, {stage.name: stage.key}, False, say)
    if stage.is_done:
        return
    start = time.monotonic()
    stage.begin({"resumed": False, "label": {"title": "report"}})
    write_report(folder.root, stage.path / NAME)
    stage.finish({"seconds": time.monotonic() - start, "results": {}})
