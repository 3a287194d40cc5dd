"""Images by Ray's actors: what one process makes, each image once, whoever is killed."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from recam.engine import cluster as engine
from recam.engine.cluster import Cluster, open_cluster, require_ray
from recam.errors import DataError, RecipeError
from recam.files import write_bytes
from recam.runfolder.store import open_run, read_json


@pytest.fixture(scope="module")
def ray():
    """Ray on this machine, with two actors' room."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'recam[ray]'")
    ray = require_ray()
    options = {"include_dashboard": False, "log_to_driver": False, "_node_ip_address": "127.0.0.1"}
    ray.init("local", num_cpus=2, object_store_memory=2**27, logging_level="ERROR", **options)
    yield ray
    ray.shutdown()


@pytest.fixture(scope="module")
def crew(ray):
    made = Cluster(actors=2)
    yield made
    made.close()


@dataclass(frozen=True)
class WriteSquares:
    """Writes the square of each number, unless it is there; notes each writing, and which processes have begun."""

    folder: Path
    seconds: float = 0.0
    deadly: int = -1
    bad: int = -1

    def start(self) -> Callable[[Sequence[int]], list[int]]:
        write_bytes(self.folder / "pids" / str(os.getpid()), b"")
        return self.do

    def do(self, numbers: Sequence[int]) -> list[int]:
        for number in numbers:
            path = self.folder / "squares" / str(number)
            if number == self.deadly:
                os.kill(os.getpid(), signal.SIGKILL)
            if number == self.bad:
                raise DataError("seven is no number")
            if not path.is_file():
                time.sleep(self.seconds)
                write_bytes(path, str(number**2).encode())
        return [number**2 for number in numbers]


def kill_some(folder: Path, kills: int, stop: threading.Event) -> None:
    """Kill actors that have begun, one after the other."""
    killed: set[str] = set()
    while len(killed) < kills and not stop.wait(0.05):
        for pid in [each.name for each in (folder / "pids").glob("[0-9]*")]:
            if pid not in killed and len(killed) < kills and any((folder / "squares").glob("[0-9]*")):
                os.kill(int(pid), signal.SIGKILL)
                killed.add(pid)


def test_each_item_once_while_actors_are_killed(crew, tmp_path):
    stop = threading.Event()
    killer = threading.Thread(target=kill_some, args=(tmp_path, 3, stop), daemon=True)
    killer.start()
    try:
        portions = list(crew.each(WriteSquares(tmp_path, seconds=0.02), range(120), on_gpu=False))
    finally:
        stop.set()
        killer.join()
    results = {index: value for each in portions for index, value in zip(each.indices, each.result, strict=True)}
    assert Counter(index for each in portions for index in each.indices) == dict.fromkeys(range(120), 1)
    assert results == {number: number**2 for number in range(120)}
    assert {int(path.name): int(path.read_text()) for path in (tmp_path / "squares").glob("[0-9]*")} == results
    assert len(list((tmp_path / "pids").iterdir())) >= 4, "no actor was killed"


def test_an_image_that_ends_its_process_is_given_up_and_no_other(crew, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "LIVES", 2)
    portions = list(crew.each(WriteSquares(tmp_path, deadly=3), range(8), on_gpu=False))
    assert [each.indices for each in portions if each.result is None] == [(3,)]
    assert sorted(index for each in portions for index in each.indices) == list(range(8))


def test_an_error_of_ours_arrives_as_it_is(crew, tmp_path):
    with pytest.raises(DataError, match=r"^seven is no number$"):
        list(crew.each(WriteSquares(tmp_path, bad=7), range(8), on_gpu=False))


def test_torchrun_and_ray_together_are_refused():
    with pytest.raises(RecipeError, match="without torchrun"), open_cluster("ray", 0, processes=2):
        pass


def files_of(run: Path, stages: Sequence[str]) -> dict[str, bytes]:
    return {
        f"{stage}/{path.relative_to(run / stage)}": path.read_bytes()
        for stage in stages
        for path in (run / stage).rglob("*")
        if path.is_file() and path.suffix != ".json"
    }


def test_two_actors_make_the_bytes_of_one_process(crew, tiny_run, copy_of_tiny_run, rerun):
    crew.close()
    made = ("maps/recam", "scores/recam", "masks", "scores/masks")
    for stage in made:
        open_run(copy_of_tiny_run).stage(stage).discard()
    summary = rerun(copy_of_tiny_run, until="masks", compute__engine="ray", compute__actors=2)
    assert summary.made == made
    assert files_of(copy_of_tiny_run, made) == files_of(tiny_run, made)
    for stage in made:
        ours, theirs = (read_json(root / stage / "stage.json")["results"] for root in (copy_of_tiny_run, tiny_run))
        assert ours == theirs
