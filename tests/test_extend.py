"""docs/extend.md as it stands: its snippets are a package of somebody's own, entered by its entry points, of which our
files know nothing; and they run in a process that imports them."""

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import recam
from forked import Forked, command
from recam.data.catalog import catalogs
from recam.data.images import write_mask, write_png
from recam.export.formats import formats
from recam.models.backbones import backbones
from recam.models.segmenters import segmenters
from recam.pipeline.maker import makers
from recam.pipeline.refiner import refiner_steps
from recam.pipeline.segment_loss import segment_losses
from recam.pipeline.training import trainings
from recam.recipe.toml import setting_text
from recam.registry import Registry
from recam.settings import sections
from recam.studies.run import run_study
from recam.studies.study import studies
from recam.training.transforms import transforms
from tiny_recipe import TINY

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "extend.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
FILES = {text.partition("\n")[0].removeprefix("# "): text for language, text in BLOCKS if language == "python"}
POINTS = tomllib.loads(next(text for language, text in BLOCKS if language == "toml"))["project"]["entry-points"]
REGISTRIES: tuple[Registry, ...] = (
    trainings, makers, refiner_steps, segment_losses, catalogs, segmenters, backbones, transforms, formats, studies
)  # fmt: skip

SETTINGS = {name: value for name, value in TINY.items() if not name.startswith("data.")} | {
    "training": "twosize",
    "maker": "topscore",
    "refine": ["colourwalk"],
    "twosize.epochs": 1,
    "twosize.lr": 0.01,
    "twosize.head_lr": 0.1,
    "topscore.channels": 4,
    "segment.model": "plain",
    "segment.options": {"width": 8},
    "segment.loss": "focal",
    "focal.gamma": 1.5,
    "backbone.name": "small",
    "train.transforms": ["blur"],
}


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A folder with the package `farm` as pip installs it."""
    place = tmp_path_factory.mktemp("site-packages")
    for name, text in FILES.items():
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text(text)
    lines = [
        line
        for group, points in POINTS.items()
        for line in (f"[{group}]", *(f"{name} = {target}" for name, target in points.items()))
    ]
    facts = place / "farm-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: farm\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("\n".join(lines))
    return place


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Six photos for the catalog `barn`, with true masks."""
    place = tmp_path_factory.mktemp("photos")
    for index in range(6):
        rng = np.random.default_rng(index)
        image, mask = rng.integers(0, 100, (48, 64, 3), dtype=np.uint8), np.zeros((48, 64), np.uint8)
        image[10:30, 20:50] += 100
        mask[10:30, 20:50] = 1 + index % 2
        write_png(place / "raw.png", image)
        (place / "raw.png").rename(place / f"{('cow', 'horse')[index % 2]}-{index}.jpg")
        write_mask(place / "masks" / f"{('cow', 'horse')[index % 2]}-{index}.png", mask)
    return place


def installed(package):
    """The environment of a process where the package is installed."""
    path = [str(package), str(Path(recam.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(path)}


def printed(ended):
    """What a process printed that ended well."""
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-4000:]
    return ended.stdout


def recam_command(package, *words):
    """A command in a process of its own, where the package is installed."""
    return printed(command(*words, environment=installed(package)).wait())


def options(settings):
    return [word for item in settings.items() for word in ("--set", setting_text(*item))]


def test_the_page_shows_every_registry_that_packages_can_enter():
    assert set(POINTS) == {registry.group for registry in REGISTRIES}
    targets = {target for points in POINTS.values() for target in points.values()}
    assert {target.partition(":")[0].replace(".", "/") + ".py" for target in targets} == set(FILES)


@pytest.mark.slow
def test_a_package_of_ones_own_is_there_on_the_command_line(package, photos, tmp_path):
    out = tmp_path / "runs" / "barn"
    words = ["run", "--data", f"barn:{photos}", "--recipe", "tiny", *options(SETTINGS), "-o", out]
    # As a user starts it; the others begin with ours imported, and find the package all the same.
    python = [sys.executable, "-m", "recam", *map(str, words)]
    told = printed(subprocess.run(python, capture_output=True, text=True, env=os.environ | installed(package)))
    assert "twosize + topscore + colourwalk" in told
    written = json.loads((out / "run.json").read_text())
    assert {"train/twosize", "maps/twosize+topscore", "refined/twosize+topscore+colourwalk", "segment/pseudo"} <= set(
        written["stages"]
    )
    assert written["models"]["maps"]["title"] == "Two sizes + Top Score-CAM + Colour walk"
    assert sorted(path.stem for path in (out / "masks").glob("*.png"))[0] == "cow-0"
    assert "nothing to do" in recam_command(package, *words)
    assert "Two sizes + Top Score-CAM + Colour walk" in recam_command(package, "runs", tmp_path / "runs")
    told = recam_command(package, "export", "masks", out, "-o", tmp_path / "exported", "--to", "runs-csv")
    assert "(runs-csv)" in told
    assert (tmp_path / "exported" / "runs.csv").read_text().startswith("image,class,runs\n")


@pytest.mark.slow
def test_its_study_runs_on_the_command_line(package, photos, tmp_path):
    own = {name: value for name, value in TINY.items() if not name.startswith("data.")}
    words = ["--data", f"barn:{photos}", "--recipe", "tiny", *options(own), "-o", tmp_path]
    told = recam_command(package, "study", "scales", *words)
    assert "| 0.5, 1, 1.5 |" in told


def run_pytest(words):
    os.chdir(ROOT)
    sys.exit(pytest.main(words))


@pytest.mark.slow
def test_contract_batteries_run_over_it(package):
    """By entry points alone."""
    named = " or ".join(name for points in POINTS.values() for name in points)
    batteries = [
        str(ROOT / "tests" / name) for name in ("test_contracts.py", "test_loss_contracts.py", "test_data_contracts.py")
    ]
    words = ["-q", "-p", "no:cacheprovider", "-rA", *batteries, "-k", named]
    told = printed(Forked(run_pytest, words, environment=installed(package)).wait())
    for name in ("twosize", "topscore", "colourwalk", "plain", "focal", "runs-csv"):
        assert re.search(rf"PASSED .*\[.*\b{name}\b.*\]", told), f"no test ran over {name}"


@pytest.fixture
def imported(package, monkeypatch):
    """The package's modules, imported; what they enter is forgotten afterwards."""
    for registry in (*REGISTRIES, sections):
        assert len(registry)
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    monkeypatch.syspath_prepend(str(package))
    for name in FILES:
        module = name.removesuffix(".py").replace("/", ".")
        monkeypatch.delitem(sys.modules, module, raising=False)
        import_module(module)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "farm"]:
        del sys.modules[name]


@pytest.mark.slow
def test_the_same_in_a_process_that_imports_it(imported, photos, tmp_path):
    assert recam.check(f"barn:{photos}").ok
    summary = recam.run(f"barn:{photos}", "tiny", tmp_path / "run", SETTINGS)
    assert "twosize + topscore + colourwalk" in str(summary)
    own = {name: value for name, value in TINY.items() if not name.startswith("data.")}
    write_mask(tmp_path / "masks" / "a.png", np.array([[0, 1, 1], [0, 1, 255]], np.uint8))
    recam.export_masks(tmp_path / "masks", tmp_path / "exported", "runs-csv", classes=["cow"])
    assert (tmp_path / "exported" / "runs.csv").read_text() == "image,class,runs\na.jpg,cow,3 3\n"  # down, then right
    result = run_study("scales", f"barn:{photos}", tmp_path / "study", settings=own, recipe="tiny")
    assert "0.5, 1, 1.5" in str(result)
