"""Where processes are spawned and not forked (macOS, Windows, Python from 3.14): the README's script runs as it stands.

A worker then imports the script that started it and is sent all that it works with, pickled.
"""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recam.data.images import write_png
from recam.pipeline.refiners.irn_labels import LabelMaker
from recam.runfolder.store import StageFolder
from recam.training.augment import Augment
from recam.training.loader import LabelledImages
from test_readme import blocks

SPAWN = "import multiprocessing\nmultiprocessing.set_start_method('spawn', force=True)\n"
SETTINGS = {
    "compute.workers": 1,
    "compute.report": False,
    "data.on_problems": "skip",
    "train.crop": 32,
    # One training: each begins its workers in the same way, and each worker imports PyTorch anew.
    "training": "cam",
    "segment.enabled": False,
}
SHORT = f'recipe="tiny", settings={SETTINGS}'


def run_script(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "script.py").write_text(text, encoding="utf-8")
    return subprocess.run([sys.executable, "script.py"], cwd=folder, capture_output=True, text=True, timeout=600)


@pytest.fixture
def photos(tmp_path):
    """Photos as the README describes them, and one without labels."""
    draw = np.random.default_rng(0)
    for name in (
        "photos/images/1.png",
        "photos/images/2.png",
        "photos/images/3.png",
        "photos/images/4.png",
        "new-photos/7.jpg",
    ):
        write_png(tmp_path / name, draw.integers(0, 256, (48, 64, 3), dtype=np.uint8))
    labels = "image,labels\n1.png,horse\n2.png,traffic light\n3.png,horse;traffic light\n4.png,horse\n"
    (tmp_path / "photos" / "labels.csv").write_text(labels)
    return tmp_path


def test_the_script_of_the_readme(photos):
    script = next(block for block in blocks("README.md", "python") if "recam.run" in block)
    assert 'if __name__ == "__main__":' in script
    assert 'recipe="auto"' in script
    done = run_script(SPAWN + script.replace('recipe="auto"', SHORT), photos)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith("(48, 64)")


def test_a_script_without_the_guard_is_told_so(photos):
    done = run_script(
        f"{SPAWN}import recam\nrecam.run('folder:photos', output='run', until='train', {SHORT})\n", photos
    )
    assert done.returncode != 0
    assert "a worker process imports the script and would begin the run anew" in done.stderr
    assert 'if __name__ == "__main__":' in done.stderr


def test_what_workers_are_sent_can_be_pickled(tmp_path):
    import recam

    samples = recam.open_catalog("scenes:", seed=6, size=64, train=12, val=4).samples("train")
    images = LabelledImages(samples, Augment(64, (0.5,) * 3, (0.5,) * 3, long_side=(64, 96)), 10, seed=0)
    again = pickle.loads(pickle.dumps(images))
    assert all(bool((again[0, 3][name] == images[0, 3][name]).all()) for name in images[0, 3])
    folder = StageFolder("maps/cam", tmp_path, "key")
    make = LabelMaker(tmp_path / "w", folder, 0.1, 0.3).by_pamr
    assert pickle.loads(pickle.dumps(make)).__self__.folder.path == folder.path
