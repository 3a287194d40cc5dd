"""Actors of Ray on this machine: what kill -9 loses (nothing), and how much faster two are than one.

    python benchmarks/actors.py kills --actors 8 --kills 30
    python benchmarks/actors.py speed
    python benchmarks/actors.py speed --wait 0.05        # images that take time and no processor: on a busy machine

Each image is drawn, smoothed and written as a PNG; results are held against those of one process, byte by byte.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from recam.data.images import write_png
from recam.engine.cluster import Cluster


@dataclass(frozen=True)
class Smooth:
    """Writes image NUMBER.png, unless it is there: a `recam.engine.cluster.PortionTask`."""

    folder: Path
    turns: int
    wait: float = 0.0

    def start(self) -> Callable[[Sequence[int]], list[int]]:
        return lambda numbers: [self.write(number) for number in numbers]

    def write(self, number: int) -> int:
        path = self.folder / f"{number}.png"
        if not path.is_file():
            time.sleep(self.wait)
            image = np.random.default_rng(number).random((256, 256, 3) if self.turns else (1, 1, 3))
            for _ in range(self.turns):
                image = (image + np.roll(image, 1, 0) + np.roll(image, 1, 1)) / 3
            write_png(path, (255 * image).astype(np.uint8))
        return number


def contents(folder: Path, images: int) -> list[bytes]:
    return [(folder / f"{number}.png").read_bytes() for number in range(images)]


def actors_here() -> list[psutil.Process]:
    """Processes that actors of this one run in."""
    return [each for each in psutil.Process().children(recursive=True) if each.name().startswith("ray::_Actor")]


def kill_at_random(kills: int, done: threading.Event, killed: list[float]) -> None:
    """End one actor after the other, as ``kill -9``, half a second to a second and a half apart."""
    draw = random.Random(0)
    while len(killed) < kills and not done.wait(draw.uniform(0.5, 1.5)):
        alive = actors_here()
        if alive:
            os.kill(draw.choice(alive).pid, signal.SIGKILL)
            killed.append(time.monotonic())


def measure_kills(actors: int, kills: int, images: int, turns: int) -> dict[str, object]:
    """All images while actors are killed; refuses to end before enough were."""
    with tempfile.TemporaryDirectory() as place:
        spread, alone = Path(place, "spread"), Path(place, "alone")
        done, killed = threading.Event(), list[float]()
        killer = threading.Thread(target=kill_at_random, args=(kills, done, killed), daemon=True)
        cluster = Cluster(actors)
        counted: Counter[int] = Counter()
        begun = time.monotonic()
        killer.start()
        for portion in cluster.each(Smooth(spread, turns), range(images), on_gpu=False):
            counted.update(portion.result or ())
        seconds = time.monotonic() - begun
        done.set()
        killer.join()
        cluster.close()
        for number in range(images):
            Smooth(alone, turns).write(number)
        return {
            "actors": actors,
            "kills": len(killed),
            "images": images,
            "reported once": sum(count == 1 for count in counted.values()),
            "reported more than once": sum(count > 1 for count in counted.values()),
            "lost": images - len(counted),
            "equal to one process": contents(spread, images) == contents(alone, images),
            "seconds": round(seconds, 1),
        }


def measure_speed(images: int, turns: int, wait: float) -> dict[str, object]:
    """Seconds of one actor and of two, without the time in which they begin."""
    found = {}
    for actors in (1, 2):
        cluster = Cluster(actors)
        with tempfile.TemporaryDirectory() as place:
            list(cluster.each(Smooth(Path(place), 1), range(8 * actors), on_gpu=False))
            begun = time.monotonic()
            list(cluster.each(Smooth(Path(place) / "timed", turns, wait), range(images), on_gpu=False))
            found[actors] = time.monotonic() - begun
        cluster.close()
    load = round(os.getloadavg()[0], 1)
    return {
        "seconds of 1": round(found[1], 1),
        "of 2": round(found[2], 1),
        "ratio": round(found[1] / found[2], 2),
        "load": load,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("kills", "speed"))
    parser.add_argument("--actors", type=int, default=8)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--turns", type=int, default=12, help="Work per image: passes of a filter.")
    parser.add_argument("--wait", type=float, default=0.0, help="Seconds per image that take no processor.")
    own = parser.parse_args()
    if own.what == "kills":
        print(json.dumps(measure_kills(own.actors, own.kills, own.images, own.turns), indent=2))
    else:
        print(json.dumps(measure_speed(own.images, own.turns, own.wait), indent=2))


if __name__ == "__main__":
    main()
