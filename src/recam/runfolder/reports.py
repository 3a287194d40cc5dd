"""Reports that a run writes of itself when it ends: entered by whoever writes them, so that a run need not know any."""

from __future__ import annotations

from collections.abc import Callable

from recam.registry import Registry
from recam.runfolder.store import RunFolder

reports: Registry[Callable[[RunFolder], None]] = Registry("report of a run", "recam.reports", ("recam.report.stage",))
"""Each is called with the run's folder when all stages are done, or those up to --until."""
