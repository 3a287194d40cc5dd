"""``predict.json``: which model made the masks of a folder, and what was found; of several shares the sum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recam.engine.shares import Share
from recam.progress import log_line
from recam.runfolder.store import read_json, write_json

REPORT = "predict.json"


def keep_report(root: Path, identity: Mapping[str, Any], report: Mapping[str, Any], share: Share | None) -> None:
    """Write the report; that of a share beside it, and of all shares once all are there.

    Args:
        identity: model and settings.
        report: JSON-ready, as `recam.inference.files.PredictReport.as_dict` has it.
    """
    if share is None:
        write_json(root / REPORT, {**identity, "report": report})
        return
    write_json(share_path(root, share.index, share.count), {**identity, "report": report})
    paths = [share_path(root, index, share.count) for index in range(1, share.count + 1)]
    held = [read_json(path) for path in paths if path.is_file()]
    own = held[0].keys() - {"report"} if held else set()
    # Shares of another model, from before, are none of these.
    now = read_json(share_path(root, share.index, share.count))
    fitting = [each["report"] for each in held if all(each.get(key) == now[key] for key in own)]
    if len(fitting) == share.count:
        write_json(root / REPORT, {**identity, "report": add_reports(fitting)})
    log_line(f"predict: share {share} is done; {len(fitting)} of {share.count} shares are.")


def share_path(root: Path, index: int, count: int) -> Path:
    """Where the report of a share lies."""
    return root / f"predict-{index}-of-{count}.json"


def add_reports(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The report of all shares: counts and speeds are summed; what is wrong with a folder, which each share finds, is
    named once."""
    speeds = [each["images_per_second"] for each in reports if each["images_per_second"] is not None]
    return {
        "images": sum(each["images"] for each in reports),
        "skipped": sum(each["skipped"] for each in reports),
        "images_per_class": {
            name: sum(each["images_per_class"][name] for each in reports) for name in reports[0]["images_per_class"]
        },
        "images_per_second": sum(speeds) if speeds else None,
        "passed_over": reports[0]["passed_over"],
        "problems": list({tuple(entry.items()): entry for each in reports for entry in each["problems"]}.values()),
    }
