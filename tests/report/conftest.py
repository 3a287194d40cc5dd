import json

import pytest


@pytest.fixture
def stop_after():
    """``stop_after(run, "train/cam")``: leave what a run would hold had it been stopped after that stage."""

    def stop(run, last):
        stages = list(json.loads((run / "run.json").read_text())["stages"])
        for name in stages[stages.index(last) + 1 :]:
            (run / name / "stage.json").unlink(missing_ok=True)
        return run

    return stop
