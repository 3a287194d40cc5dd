"""Damaged input of every kind, for every reader: it ends in an error of ours or in a right answer, soon, and in little
memory.

Run by itself for more cases, or for another seed: ``python tests/test_mutations.py --seed 7 --times 10 coco voc``.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

import pytest

LEAST_CASES = 3000
SECONDS = 20.0
"""That a case may take."""
MEMORY = 2 * 2**30
"""Bytes that reading may take on top of what Python with all packages takes."""


@pytest.mark.slow
def test_damaged_input_ends_in_our_error_or_in_a_right_answer(tmp_path: Path) -> None:
    for package in ("onnx", "onnxruntime"):
        pytest.importorskip(package, reason="needs the extra onnx")
    words = [sys.executable, __file__, "--report", tmp_path / "report.json", "--work", tmp_path]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ended = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=1200)
    told = f"{ended.stdout[-3000:]}\n{ended.stderr[-3000:]}"
    assert ended.returncode == 0, f"the process that reads ended by {ended.returncode}: {told}"
    report = json.loads((tmp_path / "report.json").read_text())
    failures = [f"{one['reader']} case {one['case']} ({one['file']}): {one['error']}" for one in report["failures"]]
    assert not failures, f"{len(failures)} of {report['cases']} cases:\n" + "\n".join(failures[:40])
    assert report["cases"] >= LEAST_CASES
    assert report["slowest"] < SECONDS
    assert report["memory"] < MEMORY


def run_cases(work: Path, seed: int, times: float, only: list[str]) -> dict[str, object]:
    """Every reader with its damaged files, in this process. A failure of Python itself is left to the caller to see."""
    import mutated_exported_readers  # noqa: F401 (enters readers)
    import mutated_run_readers  # noqa: F401 (enters readers)
    from mutate import mutate_bytes
    from mutated_readers import READERS
    from recam.errors import RecamError

    warnings.simplefilter("ignore")  # of decoders, on damaged files
    failures: list[dict[str, object]] = []
    spent: dict[str, float] = {}
    refused = cases = 0
    slowest, before = 0.0, 0
    for reader in READERS.values():
        if only and reader.name not in only:
            continue
        folder = work / reader.name
        folder.mkdir(parents=True)
        files, read = reader.make(folder)
        read()  # what is intact can be read
        if not before:
            before = _limit_memory()
        intact = {file: file.read_bytes() for file in files}
        begun = time.monotonic()
        for case in range(round(reader.cases * times)):
            rng = random.Random(f"{seed} {reader.name} {case}")
            file = rng.choice(list(files))
            content = reader.mutate.get(file.suffix[1:], mutate_bytes)(intact[file], rng)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
            (work / "now.json").write_text(json.dumps({"reader": reader.name, "case": case, "file": file.name}))
            faulthandler.dump_traceback_later(6 * SECONDS, exit=True)
            start = time.monotonic()
            try:
                read()
            except RecamError as error:
                refused += 1
                if not str(error).strip():
                    failures.append(_failure(reader.name, case, file, error))
            except BaseException as error:  # the point of it all
                failures.append(_failure(reader.name, case, file, error))
            took = time.monotonic() - start
            slowest = max(slowest, took)
            if took > SECONDS:
                failures.append(_failure(reader.name, case, file, TimeoutError(f"{took:.1f} s")))
            cases += 1
            file.write_bytes(intact[file])
        faulthandler.cancel_dump_traceback_later()
        spent[reader.name] = round(time.monotonic() - begun, 2)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    return {
        "cases": cases,
        "refused": refused,
        "slowest": slowest,
        "memory": memory,
        "seconds": spent,
        "failures": failures,
    }


def _failure(reader: str, case: int, file: Path, error: BaseException) -> dict[str, object]:
    ours = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "/recam/" in frame.filename or "/tests/" in frame.filename
    ]
    place = f" at {Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else ""
    return {
        "reader": reader,
        "case": case,
        "file": file.name,
        "error": f"{type(error).__name__}: {str(error)[:200]}{place}",
    }


def _limit_memory() -> int:
    """What this process holds now (bytes); asking for more than `MEMORY` beyond what it has reserved fails from here
    on."""
    if sys.platform == "linux":
        reserved = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (reserved + MEMORY, resource.RLIM_INFINITY))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("readers", nargs="*")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--times", type=float, default=1.0, help="so many times the number of cases")
    parser.add_argument("--report", type=Path)
    parser.add_argument("--work", type=Path)
    words = parser.parse_args()
    faulthandler.enable()
    os.fsync = lambda descriptor: None  # type: ignore[assignment]  # nothing here has to survive a loss of power
    work = Path(tempfile.mkdtemp(dir=words.work))
    report = run_cases(work, words.seed, words.times, words.readers)
    told = json.dumps(report, indent=1)
    if words.report:
        words.report.write_text(told)
    else:
        print(told)


if __name__ == "__main__":
    main()
