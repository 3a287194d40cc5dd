"""Studies of the paper, run whole at tiny size in one workspace, so that they share what they have in common."""

import json

import pytest

from recam.studies.run import run_study
from recam.studies.study import studies
from tiny_recipe import TINY

SHARED = {**TINY, "maps.scales": [1.0]}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return tmp_path_factory.mktemp("studies")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["losses", "errors"])
def test_a_study_runs_to_its_page(name, workspace):
    found = run_study(name, output=workspace, settings=SHARED, recipe="tiny")
    assert found.is_complete
    study = studies[name]()
    assert all(0 <= number <= 100 for numbers in found.values.values() for number in numbers)
    files = {path.name for path in found.output.iterdir()}
    assert files >= {"study.md", "study.csv", "study.json", "figure.svg", "figure.png", "figure.csv"}
    written = json.loads((found.output / "study.json").read_text())
    assert list(written["rows"]) == list(study.rows)
    page = (found.output / "study.md").read_text()
    assert all(heading in page for heading in ("- data:", "- seeds:", "- compute time:", "published"))
