"""What an index would get: wheel and source archive, built and tried in an environment of their own."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from recam.recipe.toml import recipe_names

pytest.importorskip("hatchling", reason="an extra is not installed: recam[dev]")
ROOT = Path(__file__).parent.parent


def call(*words, **changed):
    ended = subprocess.run([*map(str, words)], capture_output=True, text=True, cwd=ROOT, env=os.environ | changed)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(wheel, source archive)."""
    place = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "hatchling", "build", "-d", place)
    return next(place.glob("*.whl")), next(place.glob("*.tar.gz"))


def test_the_wheel_runs_in_an_environment_of_its_own(built, tmp_path):
    """Packages that it needs are those that are installed here, without our own, which is a link to the sources."""
    call(sys.executable, "-m", "venv", "--without-pip", tmp_path / "clean")
    clean = tmp_path / "clean" / "bin"
    call(
        sys.executable, "-m", "pip", "--python", clean / "python", "install", "-q", "--no-deps", "--no-index", built[0]
    )
    site = call(clean / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    Path(site, "rest.pth").write_text(sysconfig.get_path("purelib"))
    shown = call(clean / "recam", "recipes", PYTHONPATH="")
    assert [line.split()[0] for line in shown.splitlines()] == recipe_names()
    assert call(clean / "python", "-c", "import recam; print(recam.__file__)", PYTHONPATH="").startswith(site)


def test_the_archives_hold_what_they_should(built):
    """All files of the package, its licence, and none of the tests in the wheel."""
    with zipfile.ZipFile(built[0]) as wheel:
        names = set(wheel.namelist())
    own = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src" / "recam").rglob("*") if path.is_file()}
    assert {name for name in own if "__pycache__" not in name} == {name for name in names if name.startswith("recam/")}
    assert "recam/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    with tarfile.open(built[1]) as archive:
        inner = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "src/recam/cli.py", "tests/conftest.py"} <= inner


def test_an_index_would_take_them(built):
    pytest.importorskip("twine", reason="an extra is not installed: recam[dev]")
    assert call(sys.executable, "-m", "twine", "check", "--strict", *built).count("PASSED") == 2
